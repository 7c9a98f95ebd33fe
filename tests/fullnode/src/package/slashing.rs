//! Slashing: by capability (`staking::slash_stake`), and by the verdict of an enclave (module
//! `slashing`).

use chain::abi::abort::Abort;
use chain::abi::authority::SLASH_INTENT;
use chain::abi::enclave::{CLOCK_TOLERANCE_MS, DOMAIN};
use chain::abi::{
    self, Clock, Coin, EVIDENCE_LENGTH, Enclave, EnclaveConfig, Field, IntentMessage, Pool,
    SlasherCap, StakeRecord, Verdict, status,
};
use sui_crypto::Verifier;
use sui_crypto::ed25519::Ed25519VerifyingKey;
use sui_sdk_types::{Address, Ed25519PublicKey, Ed25519Signature, Identifier, StructTag, TypeTag};

use super::{assert_own, authority, emit, enclave, object, require, wrong};
use crate::execution::{Arg, Place, Scope, Stop, Value};

/// What is to be taken, why, and who gets a share of it.
struct Slash {
    basis_points: u64,
    reason: u16,
    evidence: Vec<u8>,
    /// Zero: nobody.
    reporter: Address,
}

pub(super) fn slash_stake(scope: &mut Scope<'_, '_>, arguments: &mut [Arg]) -> Result<(), Stop> {
    let mut pool: Pool = object(arguments, 0)?.read()?;
    let cap: SlasherCap = object(arguments, 1)?.read()?;
    let mut record: StakeRecord = object(arguments, 2)?.read()?;
    let clock: Clock = object(arguments, 6)?.read()?;
    let [
        _,
        _,
        _,
        Arg::U64(basis_points),
        Arg::U16(reason),
        Arg::Bytes(evidence),
        _,
    ] = &*arguments
    else {
        return Err(wrong(3));
    };
    let slash = Slash {
        basis_points: *basis_points,
        reason: *reason,
        evidence: evidence.clone(),
        reporter: Address::ZERO,
    };
    require(cap.pool == pool.id, &Abort::WRONG_POOL)?;
    let effective_from_ms = authority::effective_from_ms(scope, pool.id, cap.id)?;
    authority::assert_effective(effective_from_ms, &clock)?;
    // by capability: nobody is rewarded
    let _nothing = apply(scope, &mut pool, &mut record, slash)?;
    object(arguments, 0)?.write(&pool)?;
    object(arguments, 2)?.write(&record)
}

pub(super) fn slash_with_evidence(
    scope: &mut Scope<'_, '_>,
    arguments: &mut [Arg],
) -> Result<(), Stop> {
    let mut pool: Pool = object(arguments, 0)?.read()?;
    let config: EnclaveConfig = object(arguments, 1)?.read()?;
    let mut enclave: Enclave = object(arguments, 2)?.read()?;
    let mut record: StakeRecord = object(arguments, 3)?.read()?;
    let clock: Clock = object(arguments, 11)?.read()?;
    let [
        _,
        _,
        _,
        _,
        Arg::U64(basis_points),
        Arg::U16(reason),
        Arg::Bytes(evidence),
        Arg::Address(reporter),
        Arg::U64(nonce),
        Arg::U64(timestamp_ms),
        Arg::Bytes(signature),
        _,
    ] = &*arguments
    else {
        return Err(wrong(4));
    };
    let slash = Slash {
        basis_points: *basis_points,
        reason: *reason,
        evidence: evidence.clone(),
        reporter: *reporter,
    };
    require(config.pool == pool.id, &Abort::SLASHING_WRONG_POOL)?;
    require(
        evidence.len() == EVIDENCE_LENGTH,
        &Abort::SLASHING_NO_EVIDENCE,
    )?;
    let message = IntentMessage {
        domain: DOMAIN.to_vec(),
        intent: SLASH_INTENT,
        enclave: enclave.id,
        config_version: enclave.config_version,
        nonce: *nonce,
        timestamp_ms: *timestamp_ms,
        data: Verdict {
            pool: pool.id,
            record: record.id,
            basis_points: slash.basis_points,
            reason: slash.reason,
            evidence: slash.evidence.clone(),
            reporter: slash.reporter,
        },
    };
    verify(&config, &enclave, &message, signature, &clock)?;
    enclave.nonce = *nonce;
    authority::assert_effective(enclave.effective_from_ms, &clock)?;
    let reporter = slash.reporter;
    let reward = apply(scope, &mut pool, &mut record, slash)?;
    if reward > 0 {
        let coin = Coin {
            id: scope.new_id(),
            balance: reward,
        };
        let coin = Value::new(StructTag::gas_coin(), true, &coin)?;
        scope.made.placed.push((coin, Place::Account(reporter)));
    }
    object(arguments, 0)?.write(&pool)?;
    object(arguments, 2)?.write(&enclave)?;
    object(arguments, 3)?.write(&record)
}

/// `config.verify(enclave, …)`, which counts the nonce besides.
fn verify(
    config: &EnclaveConfig,
    enclave: &Enclave,
    message: &IntentMessage<Verdict>,
    signature: &[u8],
    clock: &Clock,
) -> Result<(), Stop> {
    enclave::assert_counts(config, enclave)?;
    require(
        message.nonce > enclave.nonce,
        &Abort::ENCLAVE_NONCE_NOT_HIGHER,
    )?;
    let now_ms = clock.timestamp_ms;
    // a sum that does not fit aborts in Move too, by arithmetic
    let oldest = message.timestamp_ms.checked_add(config.evidence_age_ms);
    require(
        message.timestamp_ms <= now_ms.saturating_add(CLOCK_TOLERANCE_MS),
        &Abort::ENCLAVE_FROM_FUTURE,
    )?;
    require(
        oldest.is_some_and(|oldest| now_ms <= oldest),
        &Abort::ENCLAVE_TOO_OLD,
    )?;
    let bytes = bcs::to_bytes(message).map_err(|error| Stop::Broken(error.to_string()))?;
    require(
        signed(&enclave.public_key, &bytes, signature),
        &Abort::ENCLAVE_INVALID_SIGNATURE,
    )
}

/// `ed25519::ed25519_verify`: `false` for anything that is no key or no signature, too.
fn signed(public_key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let (Ok(public_key), Ok(signature)) = (public_key.try_into(), signature.try_into()) else {
        return false;
    };
    let key = Ed25519VerifyingKey::new(&Ed25519PublicKey::new(public_key));
    key.is_ok_and(|key| {
        key.verify(message, &Ed25519Signature::new(signature))
            .is_ok()
    })
}

/// `pool.slash(record, …)`: takes the share, and tells what of it is the reporter's.
fn apply(
    scope: &mut Scope<'_, '_>,
    pool: &mut Pool,
    record: &mut StakeRecord,
    slash: Slash,
) -> Result<u64, Stop> {
    assert_own(pool, record)?;
    require(
        (1..=abi::WHOLE_BASIS_POINTS).contains(&slash.basis_points),
        &Abort::INVALID_BASIS_POINTS,
    )?;
    require(
        matches!(record.status, status::ACTIVE | status::UNBONDING),
        &Abort::SETTLED,
    )?;
    count_evidence(scope, record, &slash.evidence)?;
    let amount = share(record.balance, slash.basis_points)?;
    record.balance -= amount;
    record.slashed += amount;
    pool.staked -= amount;
    if record.balance == 0 {
        record.status = status::SLASHED;
        record.unbonding_until_ms = None;
    }
    let reward = if slash.reporter == Address::ZERO {
        0
    } else {
        share(amount, pool.reporter_basis_points)?
    };
    pool.treasury += amount - reward;
    emit(
        scope,
        &abi::Slashed {
            pool: pool.id,
            record: record.id,
            amount,
            remaining: record.balance,
            reason: slash.reason,
            evidence: slash.evidence,
            reporter: slash.reporter,
            reward,
        },
    )?;
    Ok(reward)
}

/// `basis_points::share`.
fn share(of: u64, basis_points: u64) -> Result<u64, Stop> {
    let share = u128::from(of) * u128::from(basis_points) / u128::from(abi::WHOLE_BASIS_POINTS);
    u64::try_from(share).map_err(|error| Stop::Broken(error.to_string()))
}

/// The same evidence does not punish twice: the record keeps it as a dynamic field.
fn count_evidence(
    scope: &mut Scope<'_, '_>,
    record: &StakeRecord,
    evidence: &[u8],
) -> Result<(), Stop> {
    if evidence.is_empty() {
        return Ok(());
    }
    require(evidence.len() == EVIDENCE_LENGTH, &Abort::INVALID_EVIDENCE)?;
    let key = TypeTag::Struct(Box::new(StructTag::new(
        scope.package(),
        Identifier::from_static("evidence"),
        Identifier::from_static("EvidenceKey"),
        Vec::new(),
    )));
    let bytes = bcs::to_bytes(evidence).map_err(|error| Stop::Broken(error.to_string()))?;
    let id = record.id.derive_dynamic_child_id(&key, &bytes);
    require(scope.child(id).is_none(), &Abort::EVIDENCE_USED)?;
    let entry = Field {
        id,
        name: evidence.to_vec(),
        value: true,
    };
    let tag = StructTag::new(
        Address::TWO,
        Identifier::from_static("dynamic_field"),
        Identifier::from_static("Field"),
        vec![key, TypeTag::Bool],
    );
    let value = Value::new(tag, false, &entry)?;
    scope.add_child(record.id, value);
    Ok(())
}
