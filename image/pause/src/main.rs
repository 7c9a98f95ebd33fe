//! The pause program that holds a pod's namespaces.

fn main() {}
