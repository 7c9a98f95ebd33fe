//! Stake, registration, heartbeat and slash watch of the node.

fn main() {}
