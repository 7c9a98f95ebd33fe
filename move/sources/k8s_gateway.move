/// Seal tokens, which workers show to masters, and the directory of masters.
///
/// A `SealToken` names a stake. It is no secret and no bearer's right: the node proves by its key
/// that the token is its own, and the token is worth what its record is worth.
module k3s_daas::k8s_gateway;

use k3s_daas::{
    enclave::{EnclaveConfig, Enclave},
    pool::{Pool, AdminCap},
    staking::{Self, StakeRecord},
    version
};
use std::string::String;
use sui::{clock::Clock, event};

#[error(code = 0)]
const ENotStaker: vector<u8> = b"Only the staker may take the seal token";
#[error(code = 1)]
const ERecordNotActive: vector<u8> = b"The stake is not active";
#[error(code = 2)]
const EWrongRecord: vector<u8> = b"The seal token names another record";
#[error(code = 3)]
const EBelowMinimumStake: vector<u8> = b"The stake is below the pool's minimum";
#[error(code = 4)]
const EWrongPool: vector<u8> = b"The object belongs to another pool";
#[error(code = 5)]
const EInvalidUrl: vector<u8> = b"The URL is not https, or longer than 256 bytes";
#[error(code = 6)]
const ETooManyMasters: vector<u8> = b"The directory is full: 64 masters";
#[error(code = 7)]
const EAlreadyListed: vector<u8> = b"The enclave is in the directory already";
#[error(code = 8)]
const ENotListed: vector<u8> = b"The enclave is not in the directory";
#[error(code = 9)]
const EStillCurrent: vector<u8> = b"The enclave is current; only the administrator may remove it";
#[error(code = 10)]
const ESupersededToken: vector<u8> = b"The seal token is not the one that counts";

/// Most masters in a directory, so that it can always be read whole.
const MOST_MASTERS: u64 = 64;
/// Most bytes of a URL.
const LONGEST_URL: u64 = 256;

/// Names an active stake. Soulbound: without `store` it stays with its staker.
public struct SealToken has key {
    id: UID,
    record: ID,
    /// The node key, as in the record.
    node_key: vector<u8>,
    issued_at_ms: u64,
    expires_at_ms: u64,
}

/// Where the masters of a pool are. Public: no secret is in it.
public struct MasterDirectory has key {
    id: UID,
    version: u64,
    pool: ID,
    masters: vector<MasterInfo>,
}

/// A master. A worker still checks that the enclave is current.
public struct MasterInfo has copy, drop, store {
    url: String,
    enclave: ID,
    /// Flag byte and public key, as registered.
    public_key: vector<u8>,
    /// SHA-256 of the public key (SubjectPublicKeyInfo) that the master shows in TLS.
    tls_key_sha256: vector<u8>,
}

public struct SealTokenIssued has copy, drop { record: ID, token: ID, expires_at_ms: u64 }
public struct SealTokenBurnt has copy, drop { record: ID, token: ID }
public struct DirectoryCreated has copy, drop { directory: ID, pool: ID }
public struct MasterListed has copy, drop {
    directory: ID,
    enclave: ID,
    url: String,
    public_key: vector<u8>,
    tls_key_sha256: vector<u8>,
}
public struct MasterRemoved has copy, drop { directory: ID, enclave: ID }

/// Gives the staker a token for an active stake that holds the minimum. Any older token is
/// worthless from now on.
public fun create_worker_seal_token(
    pool: &Pool,
    record: &mut StakeRecord,
    clock: &Clock,
    ctx: &mut TxContext,
) {
    record.assert_own(pool);
    assert!(record.staker() == ctx.sender(), ENotStaker);
    assert!(record.is_active(), ERecordNotActive);
    assert!(staking::counts(pool, record, clock), EBelowMinimumStake);
    let (_, lifetime_ms, _) = pool.rules(clock);
    let token = SealToken {
        id: object::new(ctx),
        record: object::id(record),
        node_key: record.node_key(),
        issued_at_ms: clock.timestamp_ms(),
        expires_at_ms: clock.timestamp_ms() + lifetime_ms,
    };
    record.set_seal_token(object::id(&token));
    event::emit(SealTokenIssued {
        record: token.record,
        token: object::id(&token),
        expires_at_ms: token.expires_at_ms,
    });
    transfer::transfer(token, ctx.sender());
}

/// Burns a token, expired or not, for a new one.
public fun renew_worker_seal_token(
    pool: &Pool,
    record: &mut StakeRecord,
    token: SealToken,
    clock: &Clock,
    ctx: &mut TxContext,
) {
    assert!(token.record == object::id(record), EWrongRecord);
    burn_seal_token(token);
    create_worker_seal_token(pool, record, clock, ctx);
}

/// Burns the token that counts, and requests the unstake.
public fun request_unstake(
    pool: &Pool,
    record: &mut StakeRecord,
    token: SealToken,
    clock: &Clock,
    ctx: &mut TxContext,
) {
    assert!(token.record == object::id(record), EWrongRecord);
    assert!(record.seal_token() == option::some(object::id(&token)), ESupersededToken);
    burn_seal_token(token);
    record.request_unstake(pool, clock, ctx);
}

/// Requests the unstake without the token, which may be lost or burnt. It is worthless then. Staker
/// and beneficiary may.
public fun request_unstake_without_token(
    pool: &Pool,
    record: &mut StakeRecord,
    clock: &Clock,
    ctx: &mut TxContext,
) {
    record.request_unstake(pool, clock, ctx);
}

/// Takes the request back, at any time before the withdrawal: the beneficiary, and the staker unless
/// the beneficiary asked. The stake is active again; it needs a new token.
public fun cancel_unstake(
    pool: &Pool,
    record: &mut StakeRecord,
    clock: &Clock,
    ctx: &mut TxContext,
) {
    record.cancel_unstake(pool, clock, ctx);
}

/// Burns a token, whatever its record is.
public fun burn_seal_token(token: SealToken) {
    let SealToken { id, record, .. } = token;
    event::emit(SealTokenBurnt { record, token: id.to_inner() });
    id.delete();
}

/// Whether the token counts now: it is the record's one token, not expired, and the record is
/// this pool's, active, and holds the minimum.
public fun is_valid(pool: &Pool, record: &StakeRecord, token: &SealToken, clock: &Clock): bool {
    staking::counts(pool, record, clock) && token.record == object::id(record) &&
        record.seal_token() == option::some(object::id(token)) &&
        token.node_key == record.node_key() && clock.timestamp_ms() < token.expires_at_ms
}

/// Makes a directory for a pool and shares it.
public fun new_directory(pool: &Pool, cap: &AdminCap, ctx: &mut TxContext) {
    pool.assert_admin(cap);
    let directory = MasterDirectory {
        id: object::new(ctx),
        version: version::current(),
        pool: object::id(pool),
        masters: vector[],
    };
    event::emit(DirectoryCreated { directory: object::id(&directory), pool: directory.pool });
    transfer::share_object(directory);
}

/// Where the current masters are.
public fun get_nautilus_info_for_worker(directory: &MasterDirectory): vector<MasterInfo> {
    directory.masters
}

/// Lists a master whose enclave is current.
public fun list_master(
    directory: &mut MasterDirectory,
    pool: &Pool,
    cap: &AdminCap,
    config: &EnclaveConfig,
    enclave: &Enclave,
    url: String,
) {
    directory.assert_admin(pool, cap);
    assert!(config.pool() == directory.pool, EWrongPool);
    config.assert_current(enclave);
    let bytes = url.as_bytes();
    let prefix = b"https://";
    assert!(bytes.length() > prefix.length() && bytes.length() <= LONGEST_URL, EInvalidUrl);
    prefix.length().do!(|index| assert!(bytes[index] == prefix[index], EInvalidUrl));
    assert!(directory.masters.length() < MOST_MASTERS, ETooManyMasters);
    let id = object::id(enclave);
    assert!(directory.find(id).is_none(), EAlreadyListed);
    let (public_key, tls_key_sha256) = (enclave.public_key(), enclave.tls_key_sha256());
    directory.masters.push_back(MasterInfo { url, enclave: id, public_key, tls_key_sha256 });
    event::emit(MasterListed {
        directory: object::id(directory),
        enclave: id,
        url,
        public_key,
        tls_key_sha256,
    });
}

/// Removes a master.
public fun remove_master(
    directory: &mut MasterDirectory,
    pool: &Pool,
    cap: &AdminCap,
    enclave: ID,
) {
    directory.assert_admin(pool, cap);
    directory.remove(enclave);
}

/// Removes a master whose enclave is retired. Anybody may.
public fun remove_retired_master(
    directory: &mut MasterDirectory,
    config: &EnclaveConfig,
    enclave: &Enclave,
) {
    version::assert_current(directory.version);
    assert!(config.pool() == directory.pool, EWrongPool);
    config.assert_own(enclave);
    assert!(!config.is_current(enclave), EStillCurrent);
    directory.remove(object::id(enclave));
}

/// Takes a directory of an earlier version of this package over to this one, once its pool is.
/// Anybody may.
public fun migrate(directory: &mut MasterDirectory, pool: &Pool) {
    pool.assert_version();
    assert!(directory.pool == object::id(pool), EWrongPool);
    version::migrate(object::id(directory), &mut directory.version);
}

fun find(directory: &MasterDirectory, enclave: ID): Option<u64> {
    directory.masters.find_index!(|master| master.enclave == enclave)
}

fun remove(directory: &mut MasterDirectory, enclave: ID) {
    let index = directory.find(enclave);
    assert!(index.is_some(), ENotListed);
    directory.masters.remove(index.destroy_some());
    event::emit(MasterRemoved { directory: object::id(directory), enclave });
}

fun assert_admin(directory: &MasterDirectory, pool: &Pool, cap: &AdminCap) {
    pool.assert_admin(cap);
    version::assert_current(directory.version);
    assert!(directory.pool == object::id(pool), EWrongPool);
}

#[test_only]
public fun set_version_for_testing(directory: &mut MasterDirectory, version: u64) {
    directory.version = version
}
