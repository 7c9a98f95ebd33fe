//! Builds the disk image of the node.

fn main() {}
