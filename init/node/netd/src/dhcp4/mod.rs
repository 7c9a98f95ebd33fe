//! DHCPv4: a client for one link.

mod acd;
mod client;
mod lease;
mod machine;
mod message;

pub(crate) use client::{Dhcp4, LeaseEvent};
pub(crate) use message::{checksum, is_domain, names};
