//! The bench: measures a node beside other systems on the same machine, and says where it stands beside
//! its goals.

pub mod boot;
pub mod cli;
pub mod parts;
pub mod peers;
pub mod waterfall;
