//! Types of the module `releases`.

use serde::{Deserialize, Serialize};
use sui_sdk_types::Address;

/// Most releases of a registry (`releases::MOST_RELEASES`).
pub const MOST_RELEASES: usize = 32;

/// Most images of a release (`releases::MOST_IMAGES`).
pub const MOST_IMAGES: usize = 8;

/// Most values of PCR 11 of an image (`releases::MOST_PHASES`).
pub const MOST_PHASES: usize = 4;

/// Most launch measurements of an image (`releases::MOST_MEASUREMENTS`).
pub const MOST_MEASUREMENTS: usize = 4;

/// Most places of a release (`releases::MOST_PLACES`).
pub const MOST_PLACES: usize = 4;

/// Most bytes of a place (`releases::LONGEST_PLACE`).
pub const LONGEST_PLACE: usize = 256;

/// Most bytes of a target, an architecture, or phases (`releases::LONGEST_NAME`).
pub const LONGEST_NAME: usize = 32;

/// Until when, from now on, a release that is no longer wanted may count
/// (`bounds::release_deadline_ms`).
pub const DEADLINE_MS: u64 = 90 * 24 * 60 * 60 * 1000;

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
    /// Earlier releases are not approved any more.
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
    /// Its images, approved together.
    pub images: Vec<Image>,
    /// SHA-256 of its manifest.
    pub manifest: Vec<u8>,
    /// Where it can be fetched, as URLs.
    pub places: Vec<String>,
    /// When it was approved, in milliseconds since the Unix epoch.
    pub approved_at_ms: u64,
    /// When it was revoked.
    pub revoked_at_ms: Option<u64>,
    /// From when on it does not count.
    pub gone_by_ms: Option<u64>,
}

/// `releases::Image`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// For what it is made.
    pub target: String,
    /// As the kernel names it.
    pub architecture: String,
    /// Of the root's dm-verity tree, SHA-256.
    pub root_hash: Vec<u8>,
    /// The first is what the boot stub leaves.
    pub pcr11: Vec<PhasePcr>,
    /// What TEEs measure of it at launch.
    pub launch_measurements: Vec<LaunchMeasurement>,
}

/// `releases::PhasePcr`: PCR 11 of the SHA-256 bank once some boot phases are measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhasePcr {
    /// The phases after the boot stub.
    pub phases: String,
    /// SHA-256.
    pub digest: Vec<u8>,
}

/// `releases::MeasurementKey`: under which a registry keeps that a value of PCR 11 was approved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeasurementKey(pub Vec<u8>);

/// `releases::ApprovedKey`: under which a registry keeps that a version was approved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovedKey(pub ReleaseVersion);

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
    /// Its images.
    pub images: Vec<Image>,
    /// SHA-256 of its manifest.
    pub manifest: Vec<u8>,
    /// URLs from which it can be fetched.
    pub places: Vec<String>,
}

/// Event `releases::ReleaseRevoked`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseRevoked {
    /// The registry.
    pub registry: Address,
    /// The release's version.
    pub version: ReleaseVersion,
    /// From when on it does not count.
    pub gone_by_ms: u64,
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
    /// From when on earlier ones do not count.
    pub gone_by_ms: u64,
}

/// Event `releases::MinimumReleaseLowered`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MinimumReleaseLowered {
    /// The registry.
    pub registry: Address,
    /// The new minimum.
    pub minimum: ReleaseVersion,
}
