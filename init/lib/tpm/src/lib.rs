//! A channel to a TPM 2.0, and its platform configuration registers.
//!
//! - [`transport`]: the device node; one command in, one reply out.
//! - [`broker`]: the same through the service that has the device.
//! - [`channel`]: frames and sends commands, again while the TPM is busy.
//! - [`pcr`]: reads and extends registers. This is all that the initramfs needs of a TPM.
//! - [`presence`]: whether the machine has a TPM.
//! - [`error`]: what can go wrong, for this crate and for the client that is built on it.
//!
//! Everything else that a TPM does (sessions, policies, sealed objects, quotes) is in the crate `seal`.
//!
//! Numbers in comments such as "Part 2, 12.2.4" are sections of the TCG's "Trusted Platform Module
//! Library Specification, Family 2.0", revision 1.59.
#![deny(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unreachable,
    clippy::unwrap_used
)]
#![cfg_attr(not(test), deny(clippy::string_slice))]

pub mod broker;
pub mod channel;
pub mod error;
pub mod pcr;
pub mod presence;
pub mod transport;

use sha2::{Digest as _, Sha256};

/// A digest of SHA-256.
pub type Digest = [u8; 32];

/// SHA-256 over parts, as if they were one.
#[must_use]
pub fn sha256(parts: &[&[u8]]) -> Digest {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}
