//! The cluster's master: verifies stakes and hands out join tokens.

fn main() {}
