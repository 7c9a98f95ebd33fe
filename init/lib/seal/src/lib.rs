//! TPM 2.0 and what the node trusts it with: the sealed configuration, the key of the state disk, the
//! node's own signing key, and the evidence of what was booted.
//!
//! - [`tpm`]: a client of a TPM 2.0, without a C library.
//! - [`envelope`]: sealed files.
//! - [`node`]: what a node seals of its configuration.
//! - [`release`]: what a publisher signs about an image, so that it may open what is sealed.
//!
//! Made for PID 1 to link: no TLS, no HTTP, no async runtime.

pub mod envelope;
pub mod node;
pub mod release;
pub mod tpm;
