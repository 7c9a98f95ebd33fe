//! Evidence of what runs on a machine: collected on the node, verified by the master.

pub mod report;
