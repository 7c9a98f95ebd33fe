//! Runs nodes in QEMU beside a devnet of doubles, and tests them.

fn main() {}
