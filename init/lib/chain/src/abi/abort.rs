//! Why the package's functions abort. Declared in Move as `#[error(code = N)] const NAME`.

use super::{GATEWAY, STAKING};

/// One reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abort {
    /// The module that declares it.
    pub module: &'static str,
    /// Its code.
    pub code: u8,
    /// The constant's name.
    pub name: &'static str,
    /// The constant's text.
    pub text: &'static str,
}

macro_rules! aborts {
    ($($constant:ident = $module:expr, $code:literal, $name:literal, $text:literal;)+) => {
        impl Abort {
            $(#[doc = $text] pub const $constant: Abort =
                Abort { module: $module, code: $code, name: $name, text: $text };)+
        }

        /// All of them.
        pub const ALL: &[Abort] = &[$(Abort::$constant),+];
    };
}

aborts! {
    BELOW_MINIMUM_STAKE = STAKING, 0, "EBelowMinimumStake", "The stake is below the pool's minimum";
    WRONG_POOL = STAKING, 1, "EWrongPool", "The object belongs to another pool";
    WRONG_VERSION = STAKING, 2, "EWrongVersion", "The shared object is of another version";
    NOT_ACTIVE = STAKING, 3, "ENotActive", "The stake is not active";
    NOT_OWNER = STAKING, 4, "ENotOwner", "Only the staker may do this";
    STILL_LOCKED = STAKING, 5, "EStillLocked", "The unbonding time has not passed";
    NOT_UNBONDING = STAKING, 6, "ENotUnbonding", "The stake was not asked back";
    SETTLED = STAKING, 7, "ESettled", "The stake is already slashed or withdrawn";
    INVALID_BASIS_POINTS = STAKING, 8, "EInvalidBasisPoints", "Basis points go from 1 to 10000";
    INVALID_NODE_KEY = STAKING, 9, "EInvalidNodeKey", "The node key is not a flag byte and a public key";
    INVALID_NODE_ID = STAKING, 10, "EInvalidNodeId", "The node id is empty or longer than 63 bytes";
    NAME_TAKEN = STAKING, 11, "ENameTaken", "The node id is taken by another record";
    ALREADY_STAKED = STAKING, 12, "EAlreadyStaked", "This node key already has a stake record";
    NOT_WITHDRAWN = STAKING, 13, "ENotWithdrawn", "Only a withdrawn stake can be staked anew";
    OUT_OF_BOUNDS = STAKING, 14, "EOutOfBounds", "The value lies outside the pool's published bounds";
    INVALID_EVIDENCE = STAKING, 15, "EInvalidEvidence", "The evidence is neither empty nor a digest of 32 bytes";
    NOT_NODE_KEY = STAKING, 16, "ENotNodeKey", "The sender is not the node key's account; its proof is needed";
    EMPTY_COIN = STAKING, 17, "EEmptyCoin", "The coin holds nothing";
    NOT_STAKER = GATEWAY, 0, "ENotStaker", "Only the staker may take the seal token";
    RECORD_NOT_ACTIVE = GATEWAY, 1, "ERecordNotActive", "The stake is not active";
    WRONG_RECORD = GATEWAY, 2, "EWrongRecord", "The seal token names another record";
    TOKEN_BELOW_MINIMUM_STAKE = GATEWAY, 3, "EBelowMinimumStake", "The stake is below the pool's minimum";
    DIRECTORY_WRONG_POOL = GATEWAY, 4, "EWrongPool", "The object belongs to another pool";
    INVALID_URL = GATEWAY, 5, "EInvalidUrl", "The URL is not https, or longer than 256 bytes";
    TOO_MANY_MASTERS = GATEWAY, 6, "ETooManyMasters", "The directory is full: 64 masters";
    ALREADY_LISTED = GATEWAY, 7, "EAlreadyListed", "The enclave is in the directory already";
    NOT_LISTED = GATEWAY, 8, "ENotListed", "The enclave is not in the directory";
    STILL_CURRENT = GATEWAY, 9, "EStillCurrent", "The enclave is current; only the administrator may remove it";
    SUPERSEDED_TOKEN = GATEWAY, 10, "ESupersededToken", "The seal token is not the one that counts";
    ADMINISTRATION_EMPTY_WITHDRAWAL = "administration", 0, "EEmptyWithdrawal", "Nothing was asked for";
    ADMINISTRATION_TREASURY_SHORT = "administration", 1, "ETreasuryShort", "The treasury holds less than that";
    ADMINISTRATION_NOT_SLASHED = "administration", 2, "ENotSlashed", "Only a slashed node's id can be released";
    AUTHORITY_REVOKED = "authority", 0, "ERevoked", "The capability is not, or no longer, on the object's list";
    AUTHORITY_NOT_YET_EFFECTIVE = "authority", 1, "ENotYetEffective", "The authority does not count before its notice is over";
    DELEGATION_INVALID_PROOF = "delegation", 0, "EInvalidProof", "The proof is no signature of the node key over this stake";
    ENCLAVE_WRONG_POOL = "enclave", 0, "EWrongPool", "The object belongs to another pool";
    ENCLAVE_WRONG_CONFIG = "enclave", 1, "EWrongConfig", "The object belongs to another enclave configuration";
    ENCLAVE_DEBUG_MODE = "enclave", 2, "EDebugMode", "All-zero PCRs: the enclave runs in debug mode";
    ENCLAVE_INVALID_PCRS = "enclave", 3, "EInvalidPcrs", "Each of PCR 0, 1 and 2 is a digest of 48 bytes";
    ENCLAVE_WRONG_PCRS = "enclave", 4, "EWrongPcrs", "The document's PCRs are not the configuration's";
    ENCLAVE_DOCUMENT_TOO_OLD = "enclave", 5, "EDocumentTooOld", "The attestation document is older than the configuration allows";
    ENCLAVE_DOCUMENT_FROM_FUTURE = "enclave", 6, "EDocumentFromFuture", "The attestation document is of a time to come";
    ENCLAVE_INVALID_PUBLIC_KEY = "enclave", 7, "EInvalidPublicKey", "The public key is not an ed25519 key of 32 bytes";
    ENCLAVE_INVALID_TLS_KEY_DIGEST = "enclave", 8, "EInvalidTlsKeyDigest", "The digest of the TLS key is not 32 bytes";
    ENCLAVE_RETIRED = "enclave", 9, "ERetired", "The enclave is retired";
    ENCLAVE_VERSION_NOT_AHEAD = "enclave", 10, "EVersionNotAhead", "The minimum version only rises, and not above the current";
    ENCLAVE_OUT_OF_BOUNDS = "enclave", 11, "EOutOfBounds", "The value lies outside the published bounds";
    ENCLAVE_NONCE_NOT_HIGHER = "enclave", 12, "ENonceNotHigher", "The nonce is not higher than the last: a replay";
    ENCLAVE_TOO_OLD = "enclave", 13, "ETooOld", "What the enclave signed is older than the configuration allows";
    ENCLAVE_FROM_FUTURE = "enclave", 14, "EFromFuture", "What the enclave signed is of a time to come";
    ENCLAVE_INVALID_SIGNATURE = "enclave", 15, "EInvalidSignature", "The signature is not the enclave's over this message";
    ENCLAVE_ALREADY_REGISTERED = "enclave", 16, "EAlreadyRegistered", "This key was registered before";
    EVIDENCE_USED = "evidence", 0, "EEvidenceUsed", "This evidence was already counted against this record";
    RELEASES_WRONG_POOL = "releases", 0, "EWrongPool", "The object belongs to another pool";
    RELEASES_WRONG_REGISTRY = "releases", 1, "EWrongRegistry", "The capability belongs to another registry";
    RELEASES_INVALID_DIGEST = "releases", 2, "EInvalidDigest", "Root hash and PCR 11 are digests of 32 bytes, not all zero";
    RELEASES_INVALID_MEASUREMENT = "releases", 3, "EInvalidMeasurement", "The launch measurement is of no known TEE or length";
    RELEASES_ALREADY_APPROVED = "releases", 4, "EAlreadyApproved", "This version was approved before";
    RELEASES_UNKNOWN_RELEASE = "releases", 5, "EUnknownRelease", "No release has this version";
    RELEASES_ALREADY_REVOKED = "releases", 6, "EAlreadyRevoked", "The release is revoked already";
    RELEASES_VERSION_NOT_AHEAD = "releases", 7, "EVersionNotAhead", "The minimum version only rises, and to a release that counts";
    RELEASES_TOO_MANY_RELEASES = "releases", 8, "ETooManyReleases", "The registry is full: 128 releases; remove some that do not count";
    RELEASES_STILL_TRUSTED = "releases", 9, "EStillTrusted", "The release still counts";
    RELEASES_TOO_MANY_MEASUREMENTS = "releases", 10, "ETooManyMeasurements", "More than 8 launch measurements";
    SLASHING_WRONG_POOL = "slashing", 0, "EWrongPool", "The enclave configuration belongs to another pool";
    SLASHING_NO_EVIDENCE = "slashing", 1, "ENoEvidence", "A verdict names the digest of its evidence, 32 bytes";
    VERSION_ALREADY_MIGRATED = "version", 0, "EAlreadyMigrated", "The shared object is of this version already";
    VERSION_WRONG_VERSION = "version", 1, "EWrongVersion", "The shared object is of another version";
}

/// The reason behind a module's code, if the package declares it.
pub fn named(module: &str, code: u64) -> Option<&'static Abort> {
    ALL.iter()
        .find(|abort| abort.module == module && u64::from(abort.code) == code)
}

/// The code that a contract's author gave an abort, taken out of the code on the chain.
///
/// The Move compiler writes an `#[error(code = N)]` abort as 0b1100 in the top four bits, four
/// bits unused, the code (8 bits), and the line, identifier and constant (16 bits each); 0xff
/// stands for no code. Plain codes are small numbers and stay what they are.
pub fn authored_code(code: u64) -> u64 {
    const VERSION: u64 = 0b1100;
    const NONE: u64 = 0xff;
    match (code >> 60, code >> 48 & 0xff) {
        (VERSION, NONE) => code,
        (VERSION, authored) => authored,
        _ => code,
    }
}
