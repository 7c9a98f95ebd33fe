//! The bench: measures a node beside other systems on the same machine, and says where it stands beside
//! its goals.

pub mod boot;
pub mod budget;
pub mod cli;
pub mod instructions;
pub mod memory;
pub mod parts;
pub mod peers;
pub mod size;
pub mod waterfall;
