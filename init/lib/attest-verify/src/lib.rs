//! Verification of a node's evidence (`attest::evidence`), which the master alone links.
//!
//! - [`Policy`]: all that needs no chain.
//! - [`ManufacturerRoots`]: certificates of TPMs' endorsement keys; [`AdmittedKey`]: keys that need none.
//! - [`Image`], [`Release`]: which release a node runs, among those that the chain knows.
//! - [`Reports`], [`Launch`]: how a machine was started, by the reports of its trusted execution
//!   environment, which [`tee_report`] verifies up to the vendors' roots.
//! - [`Boot`]: the quotes of heartbeats.
//!
//! Numbers in comments such as "PFP 10.2" are sections of the TCG's "PC Client Platform Firmware
//! Profile Specification", family 2.0, version 1.05 revision 23.

mod endorsement;
mod fault;
mod firmware;
mod heartbeat;
mod launch;
mod policy;
mod release;
mod reports;
pub mod tee_report;

pub use self::{
    endorsement::{AdmittedKey, ManufacturerRoots, RootsError, certificate_digests},
    fault::Fault,
    firmware::{AllowedFirmware, Firmware},
    heartbeat::Boot,
    launch::Launch,
    policy::{Policy, Verified},
    release::{Image, LaunchMeasurement, Release, Standing},
    reports::{ReportVerifier, Reports},
};
