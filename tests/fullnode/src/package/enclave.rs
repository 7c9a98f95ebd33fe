//! Module `enclave`, without documents of AWS Nitro: nothing here can read one.

use chain::abi::abort::Abort;
use chain::abi::enclave::{DIGEST_LENGTH, PCR_LENGTH};
use chain::abi::{
    self, AdminCap, Clock, Enclave, EnclaveConfig, EnclaveConfigChanged, EnclaveRegistered,
    EnclaveRetired, MoveType, Pool, RegistrarCap,
};

use super::{
    assert_admin, assert_current, assert_version, authority, emit, object, require, staking, wrong,
};
use crate::execution::{Arg, Place, Scope, Stop, Value};

/// How long after its registration a key counts, once the pool is open
/// (`bounds::registration_ms`).
const REGISTRATION_MS: u64 = 24 * 60 * 60 * 1000;

pub(super) fn update_pcrs(scope: &mut Scope<'_, '_>, arguments: &mut [Arg]) -> Result<(), Stop> {
    let mut config: EnclaveConfig = object(arguments, 0)?.read()?;
    let pool: Pool = object(arguments, 1)?.read()?;
    let cap: AdminCap = object(arguments, 2)?.read()?;
    let clock: Clock = object(arguments, 6)?.read()?;
    let [
        _,
        _,
        _,
        Arg::Bytes(pcr0),
        Arg::Bytes(pcr1),
        Arg::Bytes(pcr2),
        _,
    ] = &*arguments
    else {
        return Err(wrong(3));
    };
    assert_config_admin(&config, &pool, &cap)?;
    for pcr in [pcr0, pcr1, pcr2] {
        require(pcr.len() == PCR_LENGTH, &Abort::ENCLAVE_INVALID_PCRS)?;
        require(
            pcr.iter().any(|byte| *byte != 0),
            &Abort::ENCLAVE_DEBUG_MODE,
        )?;
    }
    config.pcr0.clone_from(pcr0);
    config.pcr1.clone_from(pcr1);
    config.pcr2.clone_from(pcr2);
    config.config_version += 1;
    config.effective_from_ms = authority::begins_ms(&pool, &clock);
    object(arguments, 0)?.write(&config)?;
    emit_change(scope, &config)
}

pub(super) fn set_minimum_config_version(
    scope: &mut Scope<'_, '_>,
    arguments: &mut [Arg],
) -> Result<(), Stop> {
    let mut config: EnclaveConfig = object(arguments, 0)?.read()?;
    let pool: Pool = object(arguments, 1)?.read()?;
    let cap: AdminCap = object(arguments, 2)?.read()?;
    let successor: Enclave = object(arguments, 4)?.read()?;
    let clock: Clock = object(arguments, 5)?.read()?;
    let [_, _, _, Arg::U64(minimum), ..] = &*arguments else {
        return Err(wrong(3));
    };
    assert_config_admin(&config, &pool, &cap)?;
    require(
        *minimum > config.minimum_config_version && *minimum <= config.config_version,
        &Abort::ENCLAVE_VERSION_NOT_AHEAD,
    )?;
    assert_own(&config, &successor)?;
    require(
        !successor.retired
            && successor.config_version >= *minimum
            && successor.effective_from_ms <= clock.timestamp_ms,
        &Abort::ENCLAVE_NO_SUCCESSOR,
    )?;
    config.minimum_config_version = *minimum;
    object(arguments, 0)?.write(&config)?;
    emit_change(scope, &config)
}

pub(super) fn retire(scope: &mut Scope<'_, '_>, arguments: &mut [Arg]) -> Result<(), Stop> {
    let config: EnclaveConfig = object(arguments, 0)?.read()?;
    let pool: Pool = object(arguments, 1)?.read()?;
    let cap: AdminCap = object(arguments, 2)?.read()?;
    let mut enclave: Enclave = object(arguments, 3)?.read()?;
    assert_config_admin(&config, &pool, &cap)?;
    assert_own(&config, &enclave)?;
    require(!enclave.retired, &Abort::ENCLAVE_RETIRED)?;
    enclave.retired = true;
    object(arguments, 3)?.write(&enclave)?;
    emit(
        scope,
        &EnclaveRetired {
            config: enclave.config,
            enclave: enclave.id,
        },
    )
}

pub(super) fn revoke_registrar_cap(
    scope: &mut Scope<'_, '_>,
    arguments: &mut [Arg],
) -> Result<(), Stop> {
    let config: EnclaveConfig = object(arguments, 0)?.read()?;
    let pool: Pool = object(arguments, 1)?.read()?;
    let cap: AdminCap = object(arguments, 2)?.read()?;
    let [_, _, _, Arg::Address(registrar)] = &*arguments else {
        return Err(wrong(3));
    };
    assert_config_admin(&config, &pool, &cap)?;
    authority::revoke(scope, config.id, *registrar)
}

pub(super) fn register_by_capability(
    scope: &mut Scope<'_, '_>,
    arguments: &mut [Arg],
) -> Result<(), Stop> {
    let config: EnclaveConfig = object(arguments, 0)?.read()?;
    let pool: Pool = object(arguments, 1)?.read()?;
    let cap: RegistrarCap = object(arguments, 2)?.read()?;
    let clock: Clock = object(arguments, 6)?.read()?;
    let [
        _,
        _,
        _,
        Arg::Bytes(public_key),
        Arg::Bytes(tls_key_sha256),
        Arg::Bytes(evidence),
        _,
    ] = &*arguments
    else {
        return Err(wrong(3));
    };
    assert_version(&pool)?;
    assert_current(config.version)?;
    require(config.pool == pool.id, &Abort::ENCLAVE_WRONG_POOL)?;
    require(cap.config == config.id, &Abort::ENCLAVE_WRONG_CONFIG)?;
    let listed_from_ms = authority::effective_from_ms(scope, config.id, cap.id)?;
    let delay_ms = if pool.open { REGISTRATION_MS } else { 0 };
    let effective_from_ms = listed_from_ms.max(clock.timestamp_ms + delay_ms);
    require(
        evidence.len() == DIGEST_LENGTH,
        &Abort::ENCLAVE_INVALID_EVIDENCE,
    )?;
    require(
        staking::key_is_valid(public_key),
        &Abort::ENCLAVE_INVALID_PUBLIC_KEY,
    )?;
    require(
        tls_key_sha256.len() == DIGEST_LENGTH,
        &Abort::ENCLAVE_INVALID_TLS_KEY_DIGEST,
    )?;
    let id = abi::enclave_id(scope.package(), config.id, public_key);
    require(scope.claim(id), &Abort::ENCLAVE_ALREADY_REGISTERED)?;
    let enclave = Enclave {
        id,
        version: abi::VERSION,
        config: config.id,
        config_version: config.config_version,
        public_key: public_key.clone(),
        tls_key_sha256: tls_key_sha256.clone(),
        evidence: evidence.clone(),
        registered_at_ms: clock.timestamp_ms,
        effective_from_ms,
        retired: false,
    };
    emit(
        scope,
        &EnclaveRegistered {
            config: config.id,
            enclave: id,
            config_version: enclave.config_version,
            public_key: enclave.public_key.clone(),
            tls_key_sha256: enclave.tls_key_sha256.clone(),
            registrar: cap.id,
            evidence: enclave.evidence.clone(),
            effective_from_ms,
        },
    )?;
    let value = Value::new(Enclave::tag(scope.package()), false, &enclave)?;
    scope.made.placed.push((value, Place::Shared));
    Ok(())
}

/// `config.is_current(enclave)`.
pub(super) fn is_current(config: &EnclaveConfig, enclave: &Enclave) -> bool {
    enclave.config == config.id
        && !enclave.retired
        && enclave.config_version >= config.minimum_config_version
}

/// `config.assert_own(enclave)`.
pub(super) fn assert_own(config: &EnclaveConfig, enclave: &Enclave) -> Result<(), Stop> {
    assert_current(config.version)?;
    assert_current(enclave.version)?;
    require(enclave.config == config.id, &Abort::ENCLAVE_WRONG_CONFIG)
}

/// `config.assert_current(enclave)`.
pub(super) fn assert_counts(config: &EnclaveConfig, enclave: &Enclave) -> Result<(), Stop> {
    assert_own(config, enclave)?;
    require(is_current(config, enclave), &Abort::ENCLAVE_RETIRED)
}

fn assert_config_admin(config: &EnclaveConfig, pool: &Pool, cap: &AdminCap) -> Result<(), Stop> {
    assert_admin(pool, cap)?;
    assert_current(config.version)?;
    require(config.pool == pool.id, &Abort::ENCLAVE_WRONG_POOL)
}

fn emit_change(scope: &mut Scope<'_, '_>, config: &EnclaveConfig) -> Result<(), Stop> {
    emit(
        scope,
        &EnclaveConfigChanged {
            config: config.id,
            pool: config.pool,
            config_version: config.config_version,
            minimum_config_version: config.minimum_config_version,
            pcr0: config.pcr0.clone(),
            pcr1: config.pcr1.clone(),
            pcr2: config.pcr2.clone(),
            document_age_ms: config.document_age_ms,
            evidence_age_ms: config.evidence_age_ms,
            effective_from_ms: config.effective_from_ms,
        },
    )
}
