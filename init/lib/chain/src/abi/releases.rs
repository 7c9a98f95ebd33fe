//! Types of the module `releases`.

use serde::{Deserialize, Serialize};
use sui_sdk_types::Address;

/// Most releases of a registry (`releases::MOST_RELEASES`).
pub const MOST_RELEASES: usize = 128;

/// Most launch measurements of a release (`releases::MOST_MEASUREMENTS`).
pub const MOST_MEASUREMENTS: usize = 8;

/// The length of a launch measurement (SHA-384).
pub const MEASUREMENT_LENGTH: usize = 48;

/// The last TEE that a launch measurement can be of (`releases::LAST_TEE`).
pub const LAST_TEE: u8 = 2;

/// `releases::ReleaseRegistry`, shared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseRegistry {
    /// The object's id.
    pub id: Address,
    /// The package's version that may change it.
    pub version: u64,
    /// The pool it belongs to.
    pub pool: Address,
    /// Earlier releases do not count.
    pub minimum: ReleaseVersion,
    /// In the order of their approval.
    pub releases: Vec<Release>,
}

/// `releases::ReleaseVersion`, in the order of its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ReleaseVersion {
    /// The first number.
    pub major: u32,
    /// The second.
    pub minor: u32,
    /// The third.
    pub patch: u32,
}

/// `releases::Release`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Its version.
    pub version: ReleaseVersion,
    /// Of the root's dm-verity tree, SHA-256.
    pub root_hash: Vec<u8>,
    /// PCR 11 of the SHA-256 bank once the unified kernel image is measured.
    pub pcr11: Vec<u8>,
    /// What TEEs measure of it at launch.
    pub launch_measurements: Vec<LaunchMeasurement>,
    /// When it was approved, in milliseconds since the Unix epoch.
    pub approved_at_ms: u64,
    /// When it was revoked.
    pub revoked_at_ms: Option<u64>,
}

/// `releases::LaunchMeasurement`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchMeasurement {
    /// 0 SEV-SNP, 1 TDX, 2 Nitro.
    pub tee: u8,
    /// SHA-384.
    pub digest: Vec<u8>,
}

/// `releases::ReleaseCap`, owned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseCap {
    /// The object's id.
    pub id: Address,
    /// The registry it counts for.
    pub registry: Address,
}

/// Event `releases::RegistryCreated`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryCreated {
    /// The registry.
    pub registry: Address,
    /// Its pool.
    pub pool: Address,
}

/// Event `releases::ReleaseApproved`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseApproved {
    /// The registry.
    pub registry: Address,
    /// The release's version.
    pub version: ReleaseVersion,
    /// Its root hash.
    pub root_hash: Vec<u8>,
    /// Its PCR 11.
    pub pcr11: Vec<u8>,
}

/// Event `releases::ReleaseRevoked`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseRevoked {
    /// The registry.
    pub registry: Address,
    /// The release's version.
    pub version: ReleaseVersion,
}

/// Event `releases::ReleaseRemoved`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseRemoved {
    /// The registry.
    pub registry: Address,
    /// The release's version.
    pub version: ReleaseVersion,
}

/// Event `releases::MinimumReleaseChanged`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MinimumReleaseChanged {
    /// The registry.
    pub registry: Address,
    /// The new minimum.
    pub minimum: ReleaseVersion,
}
