/// The registry of masters' keys.
///
/// A master runs in an enclave, or beside a TPM, and makes its key there: a flag byte and a public
/// key, like a node's (a TPM has no ed25519). A registrar, who holds a capability, registers it. An
/// attestation document of AWS Nitro says what software holds the key, but not whose instance it is:
/// anybody can run the same image on inputs of their own, so a document alone registers nothing. The
/// evidence of another TEE or of a TPM is verified by the registrar, as Move cannot (SEV-SNP and TDX
/// reports are signed on P-384, or by a chain of RSA keys); the registrar names the digest of that
/// evidence. A key is retired with its configuration's version, or alone.
module k3s_daas::enclave;

use k3s_daas::{authority, bounds, node_key, pool::{Pool, AdminCap}, version};
use sui::{clock::Clock, derived_object, event, nitro_attestation::NitroAttestationDocument};

#[error(code = 0)]
const EWrongPool: vector<u8> = b"The object belongs to another pool";
#[error(code = 1)]
const EWrongConfig: vector<u8> = b"The object belongs to another enclave configuration";
#[error(code = 2)]
const EDebugMode: vector<u8> = b"All-zero PCRs: the enclave runs in debug mode";
#[error(code = 3)]
const EInvalidPcrs: vector<u8> = b"Each of PCR 0, 1 and 2 is a digest of 48 bytes";
#[error(code = 4)]
const EWrongPcrs: vector<u8> = b"The document's PCRs are not the configuration's";
#[error(code = 5)]
const EDocumentTooOld: vector<u8> =
    b"The attestation document is older than the configuration allows";
#[error(code = 6)]
const EDocumentFromFuture: vector<u8> = b"The attestation document is of the future";
#[error(code = 7)]
const EInvalidPublicKey: vector<u8> = b"The public key is not a flag byte and a key";
#[error(code = 8)]
const EInvalidTlsKeyDigest: vector<u8> = b"The digest of the TLS key is not 32 bytes";
#[error(code = 9)]
const ERetired: vector<u8> = b"The enclave is retired";
#[error(code = 10)]
const EVersionNotAhead: vector<u8> = b"The minimum version only rises, and not above the current";
#[error(code = 11)]
const EOutOfBounds: vector<u8> = b"The value lies outside the published bounds";
#[error(code = 12)]
const EAlreadyRegistered: vector<u8> = b"This key was registered before";
#[error(code = 13)]
const EInvalidEvidence: vector<u8> = b"The evidence's digest is not 32 bytes";
#[error(code = 14)]
const ENoSuccessor: vector<u8> =
    b"No key of that version is effective: until then the former ones stay";

/// Bytes of a Nitro PCR: SHA-384
/// (<https://docs.aws.amazon.com/enclaves/latest/user/set-up-attestation.html>).
const PCR: u64 = 48;
/// Bytes of a SHA-256 digest.
const DIGEST: u64 = 32;
/// By how much an enclave's clock may be ahead of the chain's.
const CLOCK_TOLERANCE_MS: u64 = 10_000;

/// What masters must run, and how old their words may be.
public struct EnclaveConfig has key {
    id: UID,
    version: u64,
    pool: ID,
    /// Of the PCRs below. Rises with each change of them.
    config_version: u64,
    /// Keys that were registered under an earlier version are retired.
    minimum_config_version: u64,
    /// The enclave image, its kernel and its application (SHA-384 each).
    pcr0: vector<u8>,
    pcr1: vector<u8>,
    pcr2: vector<u8>,
    /// Greatest age of a document at registration.
    document_age_ms: u64,
    /// Greatest age of what an enclave signed.
    evidence_age_ms: u64,
    /// From when on keys of this version that Nitro attests may bring evidence against stakes.
    effective_from_ms: u64,
}

/// A master's key. Its id is derived from the configuration's and the key, so a key that was retired
/// cannot come back.
public struct Enclave has key {
    id: UID,
    version: u64,
    config: ID,
    /// The configuration's version under which it was registered.
    config_version: u64,
    /// Flag byte and public key, made in the enclave or the TPM.
    public_key: vector<u8>,
    /// SHA-256 of the public key (SubjectPublicKeyInfo) that the master shows in TLS.
    tls_key_sha256: vector<u8>,
    /// SHA-256 of the evidence that a registrar verified; empty: a Nitro document, verified here.
    evidence: vector<u8>,
    registered_at_ms: u64,
    /// From when on it may bring evidence against stakes.
    effective_from_ms: u64,
    retired: bool,
}

/// From what an enclave's id is derived: the public key.
public struct EnclaveKey(vector<u8>) has copy, drop, store;

/// The right to register keys, as long as it is listed.
public struct RegistrarCap has key, store { id: UID, config: ID }

public struct EnclaveConfigChanged has copy, drop {
    config: ID,
    pool: ID,
    config_version: u64,
    minimum_config_version: u64,
    pcr0: vector<u8>,
    pcr1: vector<u8>,
    pcr2: vector<u8>,
    document_age_ms: u64,
    evidence_age_ms: u64,
    effective_from_ms: u64,
}
public struct EnclaveRegistered has copy, drop {
    config: ID,
    enclave: ID,
    config_version: u64,
    public_key: vector<u8>,
    tls_key_sha256: vector<u8>,
    /// Whose capability registered it.
    registrar: ID,
    /// SHA-256 of the evidence that the registrar verified; empty: a Nitro document, verified here.
    evidence: vector<u8>,
    /// From when on it may bring evidence against stakes.
    effective_from_ms: u64,
}
public struct EnclaveRetired has copy, drop { config: ID, enclave: ID }

/// Makes a configuration and shares it. Ages as `bounds` publishes them.
public fun new_config(
    pool: &Pool,
    cap: &AdminCap,
    pcr0: vector<u8>,
    pcr1: vector<u8>,
    pcr2: vector<u8>,
    document_age_ms: u64,
    evidence_age_ms: u64,
    clock: &Clock,
    ctx: &mut TxContext,
) {
    pool.assert_admin(cap);
    assert_pcrs(&pcr0, &pcr1, &pcr2);
    assert_ages(document_age_ms, evidence_age_ms);
    let config = EnclaveConfig {
        id: object::new(ctx),
        version: version::current(),
        pool: object::id(pool),
        config_version: 1,
        minimum_config_version: 1,
        pcr0,
        pcr1,
        pcr2,
        document_age_ms,
        evidence_age_ms,
        effective_from_ms: pool.effective_from_ms(clock),
    };
    config.emit_change();
    transfer::share_object(config);
}

/// Expects another image from now on. Keys of the earlier ones count until their version is
/// retired, which waits for a key of the new one (`set_minimum_config_version`).
public fun update_pcrs(
    config: &mut EnclaveConfig,
    pool: &Pool,
    cap: &AdminCap,
    pcr0: vector<u8>,
    pcr1: vector<u8>,
    pcr2: vector<u8>,
    clock: &Clock,
) {
    config.assert_admin(pool, cap);
    assert_pcrs(&pcr0, &pcr1, &pcr2);
    config.pcr0 = pcr0;
    config.pcr1 = pcr1;
    config.pcr2 = pcr2;
    config.config_version = config.config_version + 1;
    config.effective_from_ms = pool.effective_from_ms(clock);
    config.emit_change();
}

/// Sets the greatest ages.
public fun set_ages(
    config: &mut EnclaveConfig,
    pool: &Pool,
    cap: &AdminCap,
    document_age_ms: u64,
    evidence_age_ms: u64,
) {
    config.assert_admin(pool, cap);
    assert_ages(document_age_ms, evidence_age_ms);
    config.document_age_ms = document_age_ms;
    config.evidence_age_ms = evidence_age_ms;
    config.emit_change();
}

/// Retires every key of a version below the minimum. It never falls again. `successor` is a key
/// that stays, and may bring evidence by now: without one there would be a time in which no
/// evidence counts, long enough for an unbonding.
public fun set_minimum_config_version(
    config: &mut EnclaveConfig,
    pool: &Pool,
    cap: &AdminCap,
    minimum: u64,
    successor: &Enclave,
    clock: &Clock,
) {
    config.assert_admin(pool, cap);
    assert!(
        minimum > config.minimum_config_version && minimum <= config.config_version,
        EVersionNotAhead,
    );
    config.assert_own(successor);
    assert!(
        !successor.retired && successor.config_version >= minimum &&
            successor.effective_from_ms <= clock.timestamp_ms(),
        ENoSuccessor,
    );
    config.minimum_config_version = minimum;
    config.emit_change();
}

/// Retires one key.
public fun retire(config: &EnclaveConfig, pool: &Pool, cap: &AdminCap, enclave: &mut Enclave) {
    config.assert_admin(pool, cap);
    config.assert_own(enclave);
    assert!(!enclave.retired, ERetired);
    enclave.retired = true;
    event::emit(EnclaveRetired { config: enclave.config, enclave: object::id(enclave) });
}

/// Makes a capability to register keys. Keys that it registers may bring evidence against stakes
/// after the notice (`bounds::notice_ms`), and a day after their registration
/// (`bounds::registration_ms`).
public fun new_registrar_cap(
    config: &mut EnclaveConfig,
    pool: &Pool,
    cap: &AdminCap,
    clock: &Clock,
    ctx: &mut TxContext,
): RegistrarCap {
    config.assert_admin(pool, cap);
    let registrar = RegistrarCap { id: object::new(ctx), config: object::id(config) };
    let effective_from_ms = pool.effective_from_ms(clock);
    authority::list(&mut config.id, object::id(&registrar), effective_from_ms);
    registrar
}

/// Takes a registrar's capability off the list. Keys that it registered stay; retire those that
/// must not.
public fun revoke_registrar_cap(
    config: &mut EnclaveConfig,
    pool: &Pool,
    cap: &AdminCap,
    registrar: ID,
) {
    config.assert_admin(pool, cap);
    authority::revoke(&mut config.id, registrar);
}

/// Takes a configuration of an earlier version of this package over to this one, once its pool is.
/// Anybody may.
public fun migrate(config: &mut EnclaveConfig, pool: &Pool) {
    pool.assert_version();
    assert!(config.pool == object::id(pool), EWrongPool);
    version::migrate(object::id(config), &mut config.version);
}

/// Takes a key of an earlier version of this package over to this one, once its configuration is.
/// Anybody may.
public fun migrate_enclave(config: &EnclaveConfig, enclave: &mut Enclave) {
    config.assert_version();
    assert!(enclave.config == object::id(config), EWrongConfig);
    version::migrate(object::id(enclave), &mut enclave.version);
}

/// Registers the key that a document of AWS Nitro names, and shares it. The document says what
/// software holds the key, the capability that the instance is one of the pool's. The document comes
/// from `0x2::nitro_attestation::load_nitro_attestation` in the same transaction, which has verified
/// its signature up to AWS's root. The key may bring evidence once the configuration's and the
/// capability's notices are over, and a day after now (`bounds::registration_ms`).
public fun register_nitro(
    config: &mut EnclaveConfig,
    pool: &Pool,
    cap: &RegistrarCap,
    document: NitroAttestationDocument,
    clock: &Clock,
) {
    let mut pcrs = vector[vector[], vector[], vector[]];
    document.pcrs().do_ref!(|entry| if (entry.index() < 3) {
        *&mut pcrs[entry.index() as u64] = *entry.value();
    });
    config.register_attested(
        pool,
        cap,
        *document.timestamp(),
        pcrs,
        document.public_key().get_with_default(vector[]),
        document.user_data().get_with_default(vector[]),
        clock,
    );
}

/// Registers a key whose evidence the registrar has verified, and shares it. `evidence` is the
/// SHA-256 of that evidence, which the registrar publishes. The key may bring evidence once the
/// capability's notice is over, and a day after now (`bounds::registration_ms`).
public fun register_by_capability(
    config: &mut EnclaveConfig,
    pool: &Pool,
    cap: &RegistrarCap,
    public_key: vector<u8>,
    tls_key_sha256: vector<u8>,
    evidence: vector<u8>,
    clock: &Clock,
) {
    let effective_from_ms = config.registrable_from_ms(pool, cap, clock);
    assert!(evidence.length() == DIGEST, EInvalidEvidence);
    config.register(cap, public_key, tls_key_sha256, evidence, effective_from_ms, clock);
}

/// What is asked of a document, apart from how its bytes are read.
fun register_attested(
    config: &mut EnclaveConfig,
    pool: &Pool,
    cap: &RegistrarCap,
    timestamp_ms: u64,
    pcrs: vector<vector<u8>>,
    public_key: vector<u8>,
    user_data: vector<u8>,
    clock: &Clock,
) {
    let effective_from_ms = config.registrable_from_ms(pool, cap, clock);
    assert_pcrs(&pcrs[0], &pcrs[1], &pcrs[2]);
    assert!(pcrs == vector[config.pcr0, config.pcr1, config.pcr2], EWrongPcrs);
    let now_ms = clock.timestamp_ms();
    assert!(timestamp_ms <= now_ms + CLOCK_TOLERANCE_MS, EDocumentFromFuture);
    assert!(now_ms <= timestamp_ms + config.document_age_ms, EDocumentTooOld);
    let effective_from_ms = effective_from_ms.max(config.effective_from_ms);
    config.register(cap, public_key, user_data, b"", effective_from_ms, clock);
}

/// From when on a key may bring evidence if this capability, which is the configuration's and
/// listed, registers it now.
fun registrable_from_ms(
    config: &EnclaveConfig,
    pool: &Pool,
    cap: &RegistrarCap,
    clock: &Clock,
): u64 {
    pool.assert_version();
    config.assert_version();
    assert!(config.pool == object::id(pool), EWrongPool);
    assert!(cap.config == object::id(config), EWrongConfig);
    let listed_from_ms = authority::effective_from_ms(&config.id, object::id(cap));
    let now_ms = clock.timestamp_ms();
    let delay_ms = if (pool.is_open()) bounds::registration_ms() else 0;
    listed_from_ms.max(now_ms + delay_ms)
}

fun register(
    config: &mut EnclaveConfig,
    cap: &RegistrarCap,
    public_key: vector<u8>,
    tls_key_sha256: vector<u8>,
    evidence: vector<u8>,
    effective_from_ms: u64,
    clock: &Clock,
) {
    assert!(node_key::is_valid(&public_key), EInvalidPublicKey);
    assert!(tls_key_sha256.length() == DIGEST, EInvalidTlsKeyDigest);
    let key = EnclaveKey(public_key);
    assert!(!derived_object::exists(&config.id, key), EAlreadyRegistered);
    let enclave = Enclave {
        id: derived_object::claim(&mut config.id, key),
        version: version::current(),
        config: object::id(config),
        config_version: config.config_version,
        public_key,
        tls_key_sha256,
        evidence,
        registered_at_ms: clock.timestamp_ms(),
        effective_from_ms,
        retired: false,
    };
    event::emit(EnclaveRegistered {
        config: enclave.config,
        enclave: object::id(&enclave),
        config_version: enclave.config_version,
        public_key,
        tls_key_sha256,
        registrar: object::id(cap),
        evidence,
        effective_from_ms,
    });
    transfer::share_object(enclave);
}

/// Whether the key is this configuration's, and neither it nor its version is retired.
public fun is_current(config: &EnclaveConfig, enclave: &Enclave): bool {
    enclave.config == object::id(config) && !enclave.retired &&
        enclave.config_version >= config.minimum_config_version
}

public(package) fun assert_current(config: &EnclaveConfig, enclave: &Enclave) {
    config.assert_own(enclave);
    assert!(config.is_current(enclave), ERetired);
}

public fun pool(config: &EnclaveConfig): ID { config.pool }

public fun evidence_age_ms(config: &EnclaveConfig): u64 { config.evidence_age_ms }

public fun public_key(enclave: &Enclave): vector<u8> { enclave.public_key }

public fun config_version(enclave: &Enclave): u64 { enclave.config_version }

public fun tls_key_sha256(enclave: &Enclave): vector<u8> { enclave.tls_key_sha256 }

public fun effective_from_ms(enclave: &Enclave): u64 { enclave.effective_from_ms }

fun emit_change(config: &EnclaveConfig) {
    event::emit(EnclaveConfigChanged {
        config: object::id(config),
        pool: config.pool,
        config_version: config.config_version,
        minimum_config_version: config.minimum_config_version,
        pcr0: config.pcr0,
        pcr1: config.pcr1,
        pcr2: config.pcr2,
        document_age_ms: config.document_age_ms,
        evidence_age_ms: config.evidence_age_ms,
        effective_from_ms: config.effective_from_ms,
    });
}

fun assert_version(config: &EnclaveConfig) {
    version::assert_current(config.version);
}

fun assert_admin(config: &EnclaveConfig, pool: &Pool, cap: &AdminCap) {
    pool.assert_admin(cap);
    config.assert_version();
    assert!(config.pool == object::id(pool), EWrongPool);
}

public(package) fun assert_own(config: &EnclaveConfig, enclave: &Enclave) {
    config.assert_version();
    version::assert_current(enclave.version);
    assert!(enclave.config == object::id(config), EWrongConfig);
}

fun assert_pcrs(pcr0: &vector<u8>, pcr1: &vector<u8>, pcr2: &vector<u8>) {
    vector[*pcr0, *pcr1, *pcr2].do!(|pcr| {
        assert!(pcr.length() == PCR, EInvalidPcrs);
        assert!(pcr.any!(|byte| *byte != 0), EDebugMode);
    });
}

fun assert_ages(document_age_ms: u64, evidence_age_ms: u64) {
    assert!(bounds::document_age_ms().contain(document_age_ms), EOutOfBounds);
    assert!(bounds::evidence_age_ms().contain(evidence_age_ms), EOutOfBounds);
}

/// Stands in for a document: the test VM cannot load one.
#[test_only]
public fun register_attested_for_testing(
    config: &mut EnclaveConfig,
    pool: &Pool,
    cap: &RegistrarCap,
    timestamp_ms: u64,
    pcrs: vector<vector<u8>>,
    public_key: vector<u8>,
    user_data: vector<u8>,
    clock: &Clock,
) {
    config.register_attested(pool, cap, timestamp_ms, pcrs, public_key, user_data, clock);
}

#[test_only]
public fun set_version_for_testing(enclave: &mut Enclave, version: u64) {
    enclave.version = version;
}

#[test_only]
public fun set_versions_for_testing(config: &mut EnclaveConfig, enclave: &mut Enclave, v: u64) {
    config.version = v;
    enclave.version = v;
}
