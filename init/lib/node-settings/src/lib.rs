//! What `provision` hands to the programs of a node: the part of the configuration that each needs, typed,
//! as JSON on tmpfs.
//!
//! The document that a person writes is read and checked once, by the crate `config`. A file of these
//! types holds what was checked; whatever else it holds is refused where it is read.

mod file;
mod network;
mod staker;

pub use file::{MAXIMUM_LENGTH, SettingsFileError, read, to_json};
pub use network::{
    BondConfig, BondMode, Destination, Interface, Ipv4Cidr, Ipv4Method, Ipv6Cidr, Ipv6Method,
    LinkConfig, NetdSettings, NetworkConfig, RouteConfig, TimeServer, VlanConfig,
};
pub use staker::{ChainConfig, IdentityConfig, MasterConfig, StakerSettings};
