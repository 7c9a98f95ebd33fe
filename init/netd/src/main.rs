//! Network and clock of the node.

fn main() {}
