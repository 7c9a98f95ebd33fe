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
    WRONG_VERSION = STAKING, 2, "EWrongVersion", "The record is of another version";
    NOT_ACTIVE = STAKING, 3, "ENotActive", "The stake is not active";
    NOT_OWNER = STAKING, 4, "ENotOwner", "Neither the staker nor the beneficiary, or not the one that may";
    STILL_LOCKED = STAKING, 5, "EStillLocked", "The unbonding time has not passed";
    NOT_UNBONDING = STAKING, 6, "ENotUnbonding", "No unstake was requested";
    SETTLED = STAKING, 7, "ESettled", "The stake is already slashed or withdrawn";
    INVALID_BASIS_POINTS = STAKING, 8, "EInvalidBasisPoints", "Basis points go from 1 to 10000";
    INVALID_NODE_KEY = STAKING, 9, "EInvalidNodeKey", "The node key is not a flag byte and a public key";
    INVALID_NODE_ID = STAKING, 10, "EInvalidNodeId", "The node id is empty or longer than 50 bytes";
    ALREADY_STAKED = STAKING, 11, "EAlreadyStaked", "This node key already has a stake record";
    NOT_WITHDRAWN = STAKING, 12, "ENotWithdrawn", "Only a withdrawn stake can be staked anew";
    INVALID_EVIDENCE = STAKING, 13, "EInvalidEvidence", "The evidence is neither empty nor a digest of 32 bytes";
    NOT_NODE_KEY = STAKING, 14, "ENotNodeKey", "The sender is not the node key's account";
    EMPTY_COIN = STAKING, 15, "EEmptyCoin", "The coin holds nothing";
    INVALID_BENEFICIARY = STAKING, 16, "EInvalidBeneficiary", "The beneficiary is 0x0, the pool or the record: no account";
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
    AUTHORITY_REVOKED = "authority", 0, "ERevoked", "The capability is not, or no longer, on the object's list";
    AUTHORITY_NOT_YET_EFFECTIVE = "authority", 1, "ENotYetEffective", "The authority does not count before its notice is over";
    BENEFICIARY_NOT_BENEFICIARY = "beneficiary", 0, "ENotBeneficiary", "Only the beneficiary may name another";
    ENCLAVE_WRONG_POOL = "enclave", 0, "EWrongPool", "The object belongs to another pool";
    ENCLAVE_WRONG_CONFIG = "enclave", 1, "EWrongConfig", "The object belongs to another enclave configuration";
    ENCLAVE_DEBUG_MODE = "enclave", 2, "EDebugMode", "All-zero PCRs: the enclave runs in debug mode";
    ENCLAVE_INVALID_PCRS = "enclave", 3, "EInvalidPcrs", "Each of PCR 0, 1 and 2 is a digest of 48 bytes";
    ENCLAVE_WRONG_PCRS = "enclave", 4, "EWrongPcrs", "The document's PCRs are not the configuration's";
    ENCLAVE_DOCUMENT_TOO_OLD = "enclave", 5, "EDocumentTooOld", "The attestation document is older than the configuration allows";
    ENCLAVE_DOCUMENT_FROM_FUTURE = "enclave", 6, "EDocumentFromFuture", "The attestation document is of the future";
    ENCLAVE_INVALID_PUBLIC_KEY = "enclave", 7, "EInvalidPublicKey", "The public key is not a flag byte and a key";
    ENCLAVE_INVALID_TLS_KEY_DIGEST = "enclave", 8, "EInvalidTlsKeyDigest", "The digest of the TLS key is not 32 bytes";
    ENCLAVE_RETIRED = "enclave", 9, "ERetired", "The enclave is retired";
    ENCLAVE_VERSION_NOT_AHEAD = "enclave", 10, "EVersionNotAhead", "The minimum version only rises, and not above the current";
    ENCLAVE_OUT_OF_BOUNDS = "enclave", 11, "EOutOfBounds", "The value lies outside the published bounds";
    ENCLAVE_ALREADY_REGISTERED = "enclave", 12, "EAlreadyRegistered", "This key was registered before";
    ENCLAVE_INVALID_EVIDENCE = "enclave", 13, "EInvalidEvidence", "The evidence's digest is not 32 bytes";
    ENCLAVE_NO_SUCCESSOR = "enclave", 14, "ENoSuccessor", "No key of that version is effective: until then the former ones stay";
    EVIDENCE_USED = "evidence", 0, "EEvidenceUsed", "This evidence was already counted against this record";
    EVIDENCE_NONCE_USED = "evidence", 1, "ENonceUsed", "The enclave's verdict of this nonce was counted against this record: a replay";
    MAINTENANCE_IN_MAINTENANCE = "maintenance", 0, "EInMaintenance", "The node is in maintenance already: end it first";
    MAINTENANCE_NOT_IN_MAINTENANCE = "maintenance", 1, "ENotInMaintenance", "The node is not in maintenance";
    MAINTENANCE_NOT_AHEAD = "maintenance", 2, "ENotAhead", "Maintenance ends later than now, and within three days";
    MAINTENANCE_TOO_MUCH = "maintenance", 3, "ETooMuch", "More than three days of maintenance within thirty days";
    MAINTENANCE_TOO_OFTEN = "maintenance", 4, "ETooOften", "More than 16 times of maintenance within thirty days";
    MAINTENANCE_NOT_ACTIVE = "maintenance", 5, "ENotActive", "The stake is not active";
    MINIMUM_STAKE_OUT_OF_BOUNDS = "minimum_stake", 0, "EOutOfBounds", "The minimum lies outside its published bounds";
    MINIMUM_STAKE_CHANGE_PENDING = "minimum_stake", 1, "EChangePending", "A rise is ahead or in its grace: cancel it, or wait until it is over";
    OFFENCES_OUT_OF_BOUNDS = "offences", 0, "EOutOfBounds", "The share is 1 to 10000 basis points, and the daily cap no less than it and no more than 10000";
    OFFENCES_TOO_MANY_OFFENCES = "offences", 1, "ETooManyOffences", "The table is full: 32 offences";
    OFFENCES_UNKNOWN_OFFENCE = "offences", 2, "EUnknownOffence", "The table has no such reason";
    OFFENCES_NOT_IN_FORCE = "offences", 3, "ENotInForce", "The offence is not in force";
    POOL_WRONG_POOL = "pool", 0, "EWrongPool", "The capability belongs to another pool";
    POOL_WRONG_VERSION = "pool", 1, "EWrongVersion", "The pool is of another version";
    POOL_OUT_OF_BOUNDS = "pool", 2, "EOutOfBounds", "The value lies outside the pool's published bounds";
    POOL_NOT_OPEN = "pool", 3, "ENotOpen", "The pool is not open for stakes yet";
    POOL_ALREADY_OPEN = "pool", 4, "EAlreadyOpen", "The pool is open already";
    RELEASES_WRONG_POOL = "releases", 0, "EWrongPool", "The object belongs to another pool";
    RELEASES_WRONG_REGISTRY = "releases", 1, "EWrongRegistry", "The capability belongs to another registry";
    RELEASES_INVALID_DIGEST = "releases", 2, "EInvalidDigest", "Root hash, PCR 11 and manifest are digests of 32 bytes, not all zero";
    RELEASES_INVALID_MEASUREMENT = "releases", 3, "EInvalidMeasurement", "The launch measurement is of no known TEE or length";
    RELEASES_ALREADY_APPROVED = "releases", 4, "EAlreadyApproved", "This version was approved before";
    RELEASES_UNKNOWN_RELEASE = "releases", 5, "EUnknownRelease", "No release has this version";
    RELEASES_ALREADY_REVOKED = "releases", 6, "EAlreadyRevoked", "The release is revoked already, by no later a deadline";
    RELEASES_VERSION_NOT_AHEAD = "releases", 7, "EVersionNotAhead", "The version is below the minimum; or the minimum would not rise to a release that counts";
    RELEASES_TOO_MANY_RELEASES = "releases", 8, "ETooManyReleases", "The registry is full: 32 releases; remove some whose deadline is over";
    RELEASES_STILL_TRUSTED = "releases", 9, "EStillTrusted", "The release still counts";
    RELEASES_TOO_MANY_MEASUREMENTS = "releases", 10, "ETooManyMeasurements", "More than 4 launch measurements of an image";
    RELEASES_INVALID_IMAGES = "releases", 11, "EInvalidImages", "A release has 1 to 8 images, each of another kind";
    RELEASES_INVALID_NAME = "releases", 12, "EInvalidName", "Target, architecture or phases are longer than allowed, or empty";
    RELEASES_INVALID_PHASES = "releases", 13, "EInvalidPhases", "An image has 1 to 4 values of PCR 11, the first of the boot stub, each of other phases";
    RELEASES_MEASUREMENT_USED = "releases", 14, "EMeasurementUsed", "This value of PCR 11 was approved before";
    RELEASES_INVALID_PLACES = "releases", 15, "EInvalidPlaces", "A release has at most 4 URLs, https, of at most 256 bytes";
    RELEASES_DEADLINE_TOO_FAR = "releases", 16, "EDeadlineTooFar", "The deadline is more than 90 days ahead";
    RELEASES_DEADLINE_TOO_SOON = "releases", 17, "EDeadlineTooSoon", "A higher minimum's deadline is at least a day ahead";
    RELEASES_NOT_LOWER = "releases", 18, "ENotLower", "The administrator only lowers the minimum";
    REWARDS_WRONG_POOL = "rewards", 0, "EWrongPool", "The object belongs to another pool";
    REWARDS_WRONG_VAULT = "rewards", 1, "EWrongVault", "The epoch belongs to another vault";
    REWARDS_OUT_OF_BOUNDS = "rewards", 2, "EOutOfBounds", "The value lies outside the published bounds";
    REWARDS_EMPTY_COIN = "rewards", 3, "EEmptyCoin", "The coin holds nothing";
    REWARDS_NOT_OVER = "rewards", 4, "ENotOver", "The epoch is not over";
    REWARDS_TOO_LATE = "rewards", 5, "ETooLate", "The epoch ended more than 31 days ago";
    REWARDS_ALREADY_PUBLISHED = "rewards", 6, "EAlreadyPublished", "The epoch has a root already";
    REWARDS_INVALID_ROOT = "rewards", 7, "EInvalidRoot", "The root is not 32 bytes, or has no points or no budget";
    REWARDS_BUDGET_TOO_HIGH = "rewards", 8, "EBudgetTooHigh", "The budget is higher than the vault's for an epoch";
    REWARDS_VAULT_SHORT = "rewards", 9, "EVaultShort", "The vault holds less than the budget";
    REWARDS_WINDOW_OPEN = "rewards", 10, "EWindowOpen", "Objections are still possible";
    REWARDS_WINDOW_CLOSED = "rewards", 11, "EWindowClosed", "Objections are not possible any more";
    REWARDS_SAME_ENCLAVE = "rewards", 12, "ESameEnclave", "An enclave does not object to its own root";
    REWARDS_SAME_ROOT = "rewards", 13, "ESameRoot", "Root, total and number of leaves are the published ones";
    REWARDS_NOT_OPEN = "rewards", 14, "ENotOpen", "The epoch is void or closed";
    REWARDS_DEADLINE_PASSED = "rewards", 15, "EDeadlinePassed", "The time to claim is over";
    REWARDS_ALREADY_CLAIMED = "rewards", 16, "EAlreadyClaimed", "The record's reward of this epoch is paid already";
    REWARDS_SLASHED = "rewards", 17, "ESlashed", "The record was slashed in this epoch";
    REWARDS_NOTHING = "rewards", 18, "ENothing", "The points are worth nothing";
    REWARDS_STILL_OPEN = "rewards", 19, "EStillOpen", "The time to claim is not over";
    SLASHING_WRONG_POOL = "slashing", 0, "EWrongPool", "The enclave configuration belongs to another pool";
    SLASHING_NO_EVIDENCE = "slashing", 1, "ENoEvidence", "A verdict names the digest of its evidence, 32 bytes";
    SLASHING_DAILY_CAP = "slashing", 2, "EDailyCap", "The offence's daily cap of this record is used up";
    STATEMENT_TOO_OLD = "statement", 0, "ETooOld", "What the enclave signed is older than the configuration allows";
    STATEMENT_FROM_FUTURE = "statement", 1, "EFromFuture", "What the enclave signed is of the future";
    STATEMENT_INVALID_SIGNATURE = "statement", 2, "EInvalidSignature", "The signature is not the enclave's over this message";
    SUM_TREE_INVALID_SIZE = "sum_tree", 0, "EInvalidSize", "A tree has 1 to 1048576 leaves";
    SUM_TREE_WRONG_LENGTH = "sum_tree", 1, "EWrongLength", "The proof is not 40 bytes for each level of the tree";
    SUM_TREE_INDEX_TOO_HIGH = "sum_tree", 2, "EIndexTooHigh", "The tree has no leaf of this index";
    SUM_TREE_SUM_OVERFLOW = "sum_tree", 3, "ESumOverflow", "The sum of the points does not fit 64 bits";
    SUM_TREE_WRONG_ROOT = "sum_tree", 4, "EWrongRoot", "The proof does not lead to the root and its total";
    TREASURY_WRONG_POOL = "treasury", 0, "EWrongPool", "The treasury belongs to another pool";
    TREASURY_EMPTY_WITHDRAWAL = "treasury", 1, "EEmptyWithdrawal", "Nothing was asked for";
    TREASURY_SHORT = "treasury", 2, "EShort", "The treasury holds less than that";
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
