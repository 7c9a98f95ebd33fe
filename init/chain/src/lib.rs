//! Sui: what the node reads from the chain and writes to it.
