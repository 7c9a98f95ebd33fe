//! Reports by which a processor or a hypervisor's security module says what it has started: AMD
//! SEV-SNP, Intel TDX, AWS Nitro Enclaves.
//!
//! - [`TeeReport`]: the report as it travels, with its bounds.
//! - [`collect`]: on the node, through `configfs-tsm` or the Nitro Security Module.
//! - [`message`], [`socket`]: between who may collect and who asks for it.
//!
//! The crate `attest-verify` verifies them against the vendors' roots.

pub mod collect;
pub mod configfs;
mod error;
pub mod message;
pub mod nitro_message;
mod report;
pub mod socket;

pub use error::CollectError;
pub use report::{
    MAXIMUM_AUXILIARY, MAXIMUM_REPORT, REPORT_DATA, SizeError, TeeKind, TeeReport, report_data,
};
