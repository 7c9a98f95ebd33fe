//! User ids of the node's programs, each with a group of the same number, as in the image's passwd(5).

/// The program `netd`.
pub const NETD: u32 = 900;
/// The program `staker`.
pub const STAKER: u32 = 901;
/// The program `metadata`.
pub const METADATA: u32 = 902;
/// The program `tpm-broker`.
pub const TPM_BROKER: u32 = 903;
/// The program `probe`.
pub const PROBE: u32 = 904;

/// Every user, with the name of its program.
pub const ALL: &[(&str, u32)] = &[
    ("netd", NETD),
    ("staker", STAKER),
    ("metadata", METADATA),
    ("tpm-broker", TPM_BROKER),
    ("probe", PROBE),
];
