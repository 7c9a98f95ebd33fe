//! Evidence of what runs on a machine: collected on the node, verified by the master.
//!
//! - [`evidence`]: what travels, with its bounds.
//! - [`collect`]: on the node, from its TPM and its firmware's event log.
//! - [`channel`]: what ties evidence and replies to one registration.
//! - [`event_log`]: the firmware's event log.
//! - [`report`]: what TEEs report of themselves.
//! - [`token`]: what the master grants, encrypted for the TPM that the evidence is of.
//! - `verify` (with the feature of that name): on the master.
//!
//! Numbers in comments such as "PFP 10.2" are sections of the TCG's "PC Client Platform Firmware
//! Profile Specification", family 2.0, version 1.05 revision 23.

#[cfg(test)]
extern crate self as attest;

pub mod channel;
pub mod collect;
pub mod event_log;
pub mod evidence;
pub mod report;
pub mod token;
#[cfg(feature = "verify")]
pub mod verify;
