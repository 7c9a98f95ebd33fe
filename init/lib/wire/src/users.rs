//! Users of the programs that do not run as root, as in the image's passwd(5). Each has a group of the
//! same number.

/// User and group of the program `netd`.
pub const NETD: u32 = 900;
/// User and group of the program `staker`.
pub const STAKER: u32 = 901;
/// User and group of the program `metadata`.
pub const METADATA: u32 = 902;

/// Every user, with the name of its program.
pub const ALL: &[(&str, u32)] = &[("netd", NETD), ("staker", STAKER), ("metadata", METADATA)];
