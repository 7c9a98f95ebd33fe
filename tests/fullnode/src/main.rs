//! A double of a Sui fullnode.

fn main() {}
