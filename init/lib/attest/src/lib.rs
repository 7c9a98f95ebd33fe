//! Evidence of what runs on a machine: what node and master exchange, and how the node collects it.
//! The crate `attest-verify` verifies it.
//!
//! - [`evidence`]: what travels, with its bounds.
//! - [`collect`]: on the node, from its TPM and its firmware's event log.
//! - [`channel`]: what ties evidence and replies to one registration.
//! - [`event_log`]: the firmware's event log.
//! - [`tee_report`]: reports of trusted execution environments.
//! - [`join_token`]: the join token, encrypted for the TPM that the evidence is of.
//!
//! Numbers in comments such as "PFP 10.2" are sections of the TCG's "PC Client Platform Firmware
//! Profile Specification", family 2.0, version 1.05 revision 23.

pub mod channel;
pub mod collect;
pub mod event_log;
pub mod evidence;
pub mod join_token;
pub mod tee_report;
