//! How the initramfs opens the root and makes it the root of its process; the bench's smallest system does
//! the same.
#![deny(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unreachable,
    clippy::unwrap_used
)]
#![cfg_attr(not(test), deny(clippy::string_slice))]

pub mod diagnosis;
pub mod switch_root;
pub mod verity;
