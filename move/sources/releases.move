/// The measurements of released images: what a node that runs one must show, and which no longer
/// count.
module k3s_daas::releases;

use k3s_daas::{authority, staking::{Pool, AdminCap}, version};
use sui::{clock::Clock, event};

#[error(code = 0)]
const EWrongPool: vector<u8> = b"The object belongs to another pool";
#[error(code = 1)]
const EWrongRegistry: vector<u8> = b"The capability belongs to another registry";
#[error(code = 2)]
const EInvalidDigest: vector<u8> = b"Root hash and PCR 11 are digests of 32 bytes, not all zero";
#[error(code = 3)]
const EInvalidMeasurement: vector<u8> = b"The launch measurement is of no known TEE or length";
#[error(code = 4)]
const EAlreadyApproved: vector<u8> = b"This version was approved before";
#[error(code = 5)]
const EUnknownRelease: vector<u8> = b"No release has this version";
#[error(code = 6)]
const EAlreadyRevoked: vector<u8> = b"The release is revoked already";
#[error(code = 7)]
const EVersionNotAhead: vector<u8> =
    b"The minimum version only rises, and to a release that counts";
#[error(code = 8)]
const ETooManyReleases: vector<u8> =
    b"The registry is full: 128 releases; remove some that do not count";
#[error(code = 9)]
const EStillTrusted: vector<u8> = b"The release still counts";
#[error(code = 10)]
const ETooManyMeasurements: vector<u8> = b"More than 8 launch measurements";

/// Most releases in a registry, so that it can always be read whole.
const MOST_RELEASES: u64 = 128;
/// Most launch measurements of a release.
const MOST_MEASUREMENTS: u64 = 8;
/// Bytes of a SHA-256 digest.
const DIGEST: u64 = 32;
/// Bytes of the launch measurement of each TEE: SHA-384.
const MEASUREMENT: u64 = 48;

/// TEEs: SEV-SNP (MEASUREMENT), TDX (MRTD), Nitro (PCR 0).
const LAST_TEE: u8 = 2;

/// A pool's releases.
public struct ReleaseRegistry has key {
    id: UID,
    version: u64,
    pool: ID,
    /// Earlier releases do not count.
    minimum: ReleaseVersion,
    releases: vector<Release>,
}

/// A version, in the order of its numbers.
public struct ReleaseVersion has copy, drop, store { major: u32, minor: u32, patch: u32 }

/// A released image.
public struct Release has copy, drop, store {
    version: ReleaseVersion,
    /// Of the root's dm-verity tree, SHA-256.
    root_hash: vector<u8>,
    /// PCR 11 of the SHA-256 bank once the unified kernel image is measured.
    pcr11: vector<u8>,
    launch_measurements: vector<LaunchMeasurement>,
    approved_at_ms: u64,
    revoked_at_ms: Option<u64>,
}

/// What a TEE measures at launch.
public struct LaunchMeasurement has copy, drop, store {
    /// 0 SEV-SNP, 1 TDX, 2 Nitro.
    tee: u8,
    digest: vector<u8>,
}

/// The right to approve and revoke releases, as long as the registry lists it.
public struct ReleaseCap has key, store { id: UID, registry: ID }

public struct RegistryCreated has copy, drop { registry: ID, pool: ID }
public struct ReleaseApproved has copy, drop {
    registry: ID,
    version: ReleaseVersion,
    root_hash: vector<u8>,
    pcr11: vector<u8>,
}
public struct ReleaseRevoked has copy, drop { registry: ID, version: ReleaseVersion }
public struct ReleaseRemoved has copy, drop { registry: ID, version: ReleaseVersion }
public struct MinimumReleaseChanged has copy, drop { registry: ID, minimum: ReleaseVersion }

/// Makes a registry for a pool and shares it.
public fun new_registry(pool: &Pool, cap: &AdminCap, ctx: &mut TxContext) {
    pool.assert_admin(cap);
    let registry = ReleaseRegistry {
        id: object::new(ctx),
        version: version::current(),
        pool: object::id(pool),
        minimum: release_version(0, 0, 0),
        releases: vector[],
    };
    event::emit(RegistryCreated { registry: object::id(&registry), pool: registry.pool });
    transfer::share_object(registry);
}

/// Makes a capability to approve and revoke releases.
public fun new_release_cap(
    registry: &mut ReleaseRegistry,
    pool: &Pool,
    cap: &AdminCap,
    clock: &Clock,
    ctx: &mut TxContext,
): ReleaseCap {
    registry.assert_admin(pool, cap);
    let release_cap = ReleaseCap { id: object::new(ctx), registry: object::id(registry) };
    authority::list(&mut registry.id, object::id(&release_cap), clock.timestamp_ms());
    release_cap
}

/// Takes a capability off the list, wherever it is.
public fun revoke_release_cap(
    registry: &mut ReleaseRegistry,
    pool: &Pool,
    cap: &AdminCap,
    release_cap: ID,
) {
    registry.assert_admin(pool, cap);
    authority::revoke(&mut registry.id, release_cap);
}

/// Takes a registry of an earlier version of this package over to this one.
public fun migrate(registry: &mut ReleaseRegistry, pool: &Pool, cap: &AdminCap) {
    pool.assert_admin(cap);
    assert!(registry.pool == object::id(pool), EWrongPool);
    version::migrate(object::id(registry), &mut registry.version);
}

/// Approves a release. A version is approved once: what was revoked cannot come back.
public fun approve(
    registry: &mut ReleaseRegistry,
    cap: &ReleaseCap,
    version: ReleaseVersion,
    root_hash: vector<u8>,
    pcr11: vector<u8>,
    launch_measurements: vector<LaunchMeasurement>,
    clock: &Clock,
) {
    registry.assert_releaser(cap);
    assert_digest(&root_hash);
    assert_digest(&pcr11);
    assert!(launch_measurements.length() <= MOST_MEASUREMENTS, ETooManyMeasurements);
    assert!(registry.find(version).is_none(), EAlreadyApproved);
    assert!(!version.is_before(registry.minimum), EVersionNotAhead);
    assert!(registry.releases.length() < MOST_RELEASES, ETooManyReleases);
    registry
        .releases
        .push_back(Release {
            version,
            root_hash,
            pcr11,
            launch_measurements,
            approved_at_ms: clock.timestamp_ms(),
            revoked_at_ms: option::none(),
        });
    event::emit(ReleaseApproved { registry: object::id(registry), version, root_hash, pcr11 });
}

/// Revokes a release, for good.
public fun revoke(
    registry: &mut ReleaseRegistry,
    cap: &ReleaseCap,
    version: ReleaseVersion,
    clock: &Clock,
) {
    registry.assert_releaser(cap);
    let index = registry.index(version);
    let release = &mut registry.releases[index];
    assert!(release.revoked_at_ms.is_none(), EAlreadyRevoked);
    release.revoked_at_ms = option::some(clock.timestamp_ms());
    event::emit(ReleaseRevoked { registry: object::id(registry), version });
}

/// Raises the least version that counts, to a release that does.
public fun set_minimum(registry: &mut ReleaseRegistry, cap: &ReleaseCap, minimum: ReleaseVersion) {
    registry.assert_releaser(cap);
    assert!(registry.minimum.is_before(minimum) && registry.is_trusted(minimum), EVersionNotAhead);
    registry.minimum = minimum;
    event::emit(MinimumReleaseChanged { registry: object::id(registry), minimum });
}

/// Removes a release below the minimum, to make room. It cannot be approved again, being below.
public fun remove(registry: &mut ReleaseRegistry, cap: &ReleaseCap, version: ReleaseVersion) {
    registry.assert_releaser(cap);
    let index = registry.index(version);
    assert!(version.is_before(registry.minimum), EStillTrusted);
    registry.releases.remove(index);
    event::emit(ReleaseRemoved { registry: object::id(registry), version });
}

/// A version from its numbers.
public fun release_version(major: u32, minor: u32, patch: u32): ReleaseVersion {
    ReleaseVersion { major, minor, patch }
}

/// A launch measurement: 0 SEV-SNP, 1 TDX, 2 Nitro, 48 bytes each.
public fun launch_measurement(tee: u8, digest: vector<u8>): LaunchMeasurement {
    assert!(tee <= LAST_TEE && digest.length() == MEASUREMENT, EInvalidMeasurement);
    assert!(digest.any!(|byte| *byte != 0), EInvalidMeasurement);
    LaunchMeasurement { tee, digest }
}

/// Whether nodes that run this release count: approved, not revoked, not below the minimum.
public fun is_trusted(registry: &ReleaseRegistry, version: ReleaseVersion): bool {
    let found = registry.find(version);
    found.is_some() && !version.is_before(registry.minimum) &&
        registry.releases[*found.borrow()].revoked_at_ms.is_none()
}

public fun minimum(registry: &ReleaseRegistry): ReleaseVersion { registry.minimum }

public fun releases(registry: &ReleaseRegistry): vector<Release> { registry.releases }

/// Whether a version comes before another.
public fun is_before(version: ReleaseVersion, other: ReleaseVersion): bool {
    if (version.major != other.major) return version.major < other.major;
    if (version.minor != other.minor) return version.minor < other.minor;
    version.patch < other.patch
}

fun find(registry: &ReleaseRegistry, version: ReleaseVersion): Option<u64> {
    registry.releases.find_index!(|release| release.version == version)
}

fun index(registry: &ReleaseRegistry, version: ReleaseVersion): u64 {
    let found = registry.find(version);
    assert!(found.is_some(), EUnknownRelease);
    found.destroy_some()
}

fun assert_digest(digest: &vector<u8>) {
    assert!(digest.length() == DIGEST && digest.any!(|byte| *byte != 0), EInvalidDigest);
}

fun assert_releaser(registry: &ReleaseRegistry, cap: &ReleaseCap) {
    version::assert_current(registry.version);
    assert!(cap.registry == object::id(registry), EWrongRegistry);
    authority::assert_listed(&registry.id, object::id(cap));
}

fun assert_admin(registry: &ReleaseRegistry, pool: &Pool, cap: &AdminCap) {
    pool.assert_admin(cap);
    version::assert_current(registry.version);
    assert!(registry.pool == object::id(pool), EWrongPool);
}

#[test_only]
public fun set_version_for_testing(registry: &mut ReleaseRegistry, version: u64) {
    registry.version = version
}
