//! Exit statuses by which a child of `init` says more than that it failed.

/// The child can't use the configuration that it was given: `EX_CONFIG` of <sysexits.h>. `init` then has
/// the configuration looked for anew before it starts the child again, so that a corrected one is taken.
pub const CONFIGURATION: u8 = 78;
/// `provision state`: from this status on it has failed for good in this boot; trying again is of no use.
pub const STATE_FAILED: u8 = 10;
/// `provision state`: the state opens in the boot phase alone, which has ended. The machine is to be restarted, which
/// was not done for this reason before.
pub const PHASE_OVER: u8 = 31;
/// `provision configure`: there is no configuration.
pub const NOT_FOUND: u8 = 10;
/// `provision configure`: there is a configuration that can't be used.
pub const INVALID: u8 = 11;
/// `provision configure`: as [`NOT_FOUND`], on a machine in a cloud, whose metadata service may have one.
pub const ASK_CLOUD: u8 = 12;
