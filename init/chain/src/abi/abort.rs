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
    EVIDENCE_USED = STAKING, 17, "EEvidenceUsed", "This evidence was already counted against this record";
    EMPTY_COIN = STAKING, 18, "EEmptyCoin", "The coin holds nothing";
    NOT_SLASHED = STAKING, 19, "ENotSlashed", "Only a slashed node's id can be released";
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
