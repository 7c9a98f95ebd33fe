//! A double of k3s: server and agent.

fn main() {}
