//! netd in a network namespace, beside servers in others.
//!
//! [`Lab`] makes namespaces, pairs of veth(4) and netd's process; [`server`] is a DHCP server that says exactly what a
//! scenario says. All of it needs root.

mod lab;
pub mod server;

pub use lab::{Lab, PATIENCE, Segment};
