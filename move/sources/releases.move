/// The registry of releases: the measurements of their images, which a node that runs one must show,
/// and which of them no longer count.
module k3s_daas::releases;

use k3s_daas::{authority, bounds, pool::{Pool, AdminCap}, version};
use std::string::String;
use sui::{clock::Clock, dynamic_field, event};

#[error(code = 0)]
const EWrongPool: vector<u8> = b"The object belongs to another pool";
#[error(code = 1)]
const EWrongRegistry: vector<u8> = b"The capability belongs to another registry";
#[error(code = 2)]
const EInvalidDigest: vector<u8> =
    b"Root hash, PCR 11 and manifest are digests of 32 bytes, not all zero";
#[error(code = 3)]
const EInvalidMeasurement: vector<u8> = b"The launch measurement is of no known TEE or length";
#[error(code = 4)]
const EAlreadyApproved: vector<u8> = b"This version was approved before";
#[error(code = 5)]
const EUnknownRelease: vector<u8> = b"No release has this version";
#[error(code = 6)]
const EAlreadyRevoked: vector<u8> = b"The release is revoked already, by no later a deadline";
#[error(code = 7)]
const EVersionNotAhead: vector<u8> =
    b"The version is below the minimum; or the minimum would not rise to a release that counts";
#[error(code = 8)]
const ETooManyReleases: vector<u8> =
    b"The registry is full: 32 releases; remove some whose deadline is over";
#[error(code = 9)]
const EStillTrusted: vector<u8> = b"The release still counts";
#[error(code = 10)]
const ETooManyMeasurements: vector<u8> = b"More than 4 launch measurements of an image";
#[error(code = 11)]
const EInvalidImages: vector<u8> = b"A release has 1 to 8 images, each of another kind";
#[error(code = 12)]
const EInvalidName: vector<u8> =
    b"Target, architecture or phases are longer than allowed, or empty";
#[error(code = 13)]
const EInvalidPhases: vector<u8> =
    b"An image has 1 to 4 values of PCR 11, the first of the boot stub, each of other phases";
#[error(code = 14)]
const EMeasurementUsed: vector<u8> = b"This value of PCR 11 was approved before";
#[error(code = 15)]
const EInvalidPlaces: vector<u8> = b"A release has at most 4 URLs, https, of at most 256 bytes";
#[error(code = 16)]
const EDeadlineTooFar: vector<u8> = b"The deadline is more than 90 days ahead";
#[error(code = 17)]
const EDeadlineTooSoon: vector<u8> = b"A higher minimum's deadline is at least a day ahead";
#[error(code = 18)]
const ENotLower: vector<u8> = b"The administrator only lowers the minimum";

// Bounds, so that the registry, which is one object of at most 250 KB, can always be read whole.
const MOST_RELEASES: u64 = 32;
const MOST_IMAGES: u64 = 8;
const MOST_PHASES: u64 = 4;
const MOST_MEASUREMENTS: u64 = 4;
const MOST_PLACES: u64 = 4;
/// Most bytes of a URL.
const LONGEST_PLACE: u64 = 256;
/// Most bytes of a target, of an architecture, and of phases.
const LONGEST_NAME: u64 = 32;
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
    /// Earlier releases are not approved any more.
    minimum: ReleaseVersion,
    releases: vector<Release>,
}

/// A version, in the order of its numbers.
public struct ReleaseVersion has copy, drop, store { major: u32, minor: u32, patch: u32 }

/// A release: its images, approved together.
public struct Release has copy, drop, store {
    version: ReleaseVersion,
    images: vector<Image>,
    /// SHA-256 of the release's manifest.
    manifest: vector<u8>,
    /// Where it can be fetched, as URLs.
    places: vector<String>,
    approved_at_ms: u64,
    revoked_at_ms: Option<u64>,
    /// From when on nodes that run it do not count: it is revoked or below the minimum.
    gone_by_ms: Option<u64>,
}

/// An image of a release.
public struct Image has copy, drop, store {
    /// For what it is made: "disk", "netboot".
    target: String,
    /// As the kernel names it: "x86_64", "aarch64".
    architecture: String,
    /// Of the root's dm-verity tree, SHA-256.
    root_hash: vector<u8>,
    /// The first is what the boot stub leaves.
    pcr11: vector<PhasePcr>,
    launch_measurements: vector<LaunchMeasurement>,
}

/// PCR 11 of the SHA-256 bank once some boot phases are measured.
public struct PhasePcr has copy, drop, store {
    /// The phases after the boot stub, as systemd-measure takes them: "", "boot", "boot:run".
    phases: String,
    digest: vector<u8>,
}

/// What a TEE measures at launch.
public struct LaunchMeasurement has copy, drop, store {
    /// 0 SEV-SNP, 1 TDX, 2 Nitro.
    tee: u8,
    digest: vector<u8>,
}

/// The right to approve, revoke and remove releases, and to raise the minimum, as long as the registry lists it.
public struct ReleaseCap has key, store { id: UID, registry: ID }

/// Under which the registry keeps (as a dynamic field), for ever, that a value of PCR 11 was
/// approved: what was removed does not come back under another version.
public struct MeasurementKey(vector<u8>) has copy, drop, store;

/// Under which the registry keeps, for ever, that a version was approved.
public struct ApprovedKey(ReleaseVersion) has copy, drop, store;

public struct RegistryCreated has copy, drop { registry: ID, pool: ID }
public struct ReleaseApproved has copy, drop {
    registry: ID,
    version: ReleaseVersion,
    images: vector<Image>,
    manifest: vector<u8>,
    places: vector<String>,
}
public struct ReleaseRevoked has copy, drop {
    registry: ID,
    version: ReleaseVersion,
    gone_by_ms: u64,
}
public struct ReleaseRemoved has copy, drop { registry: ID, version: ReleaseVersion }
public struct MinimumReleaseChanged has copy, drop {
    registry: ID,
    minimum: ReleaseVersion,
    gone_by_ms: u64,
}
public struct MinimumReleaseLowered has copy, drop { registry: ID, minimum: ReleaseVersion }

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

/// Lowers the minimum, at once: what the holder of a stolen capability raised. Releases from the new
/// minimum on that are not revoked count again without a deadline.
public fun lower_minimum(
    registry: &mut ReleaseRegistry,
    pool: &Pool,
    cap: &AdminCap,
    minimum: ReleaseVersion,
) {
    registry.assert_admin(pool, cap);
    assert!(minimum.is_before(registry.minimum), ENotLower);
    registry.minimum = minimum;
    registry.releases.do_mut!(|release| {
        let is_kept = release.revoked_at_ms.is_none() && !release.version.is_before(minimum);
        if (is_kept) release.gone_by_ms = option::none();
    });
    event::emit(MinimumReleaseLowered { registry: object::id(registry), minimum });
}

/// Takes a registry of an earlier version of this package over to this one, once its pool is.
/// Anybody may.
public fun migrate(registry: &mut ReleaseRegistry, pool: &Pool) {
    pool.assert_version();
    assert!(registry.pool == object::id(pool), EWrongPool);
    version::migrate(object::id(registry), &mut registry.version);
}

/// Approves a release. A version is approved once: what was revoked or removed does not come back. So
/// is a value of PCR 11, whatever the version.
public fun approve(
    registry: &mut ReleaseRegistry,
    cap: &ReleaseCap,
    version: ReleaseVersion,
    images: vector<Image>,
    manifest: vector<u8>,
    places: vector<String>,
    clock: &Clock,
) {
    registry.assert_releaser(cap);
    assert_images(&images);
    assert_digest(&manifest);
    assert_places(&places);
    assert!(!version.is_before(registry.minimum), EVersionNotAhead);
    assert!(!dynamic_field::exists_(&registry.id, ApprovedKey(version)), EAlreadyApproved);
    assert!(registry.releases.length() < MOST_RELEASES, ETooManyReleases);
    dynamic_field::add(&mut registry.id, ApprovedKey(version), true);
    images.do_ref!(|image| image.pcr11.do_ref!(|value| {
        let key = MeasurementKey(value.digest);
        assert!(!dynamic_field::exists_(&registry.id, key), EMeasurementUsed);
        dynamic_field::add(&mut registry.id, key, version);
    }));
    registry
        .releases
        .push_back(Release {
            version,
            images,
            manifest,
            places,
            approved_at_ms: clock.timestamp_ms(),
            revoked_at_ms: option::none(),
            gone_by_ms: option::none(),
        });
    event::emit(ReleaseApproved {
        registry: object::id(registry),
        version,
        images,
        manifest,
        places,
    });
}

/// Revokes a release, for good. It counts until the deadline (at once if that is past), which can
/// be brought forward by revoking it again.
public fun revoke(
    registry: &mut ReleaseRegistry,
    cap: &ReleaseCap,
    version: ReleaseVersion,
    gone_by_ms: u64,
    clock: &Clock,
) {
    registry.assert_releaser(cap);
    assert_deadline(gone_by_ms, clock);
    let index = registry.index(version);
    let release = &mut registry.releases[index];
    let is_sooner = !release.gone_by_ms.is_some_and!(|deadline| *deadline <= gone_by_ms);
    assert!(release.revoked_at_ms.is_none() || is_sooner, EAlreadyRevoked);
    if (release.revoked_at_ms.is_none()) {
        release.revoked_at_ms = option::some(clock.timestamp_ms());
    };
    release.be_gone_by(gone_by_ms);
    let gone_by_ms = *release.gone_by_ms.borrow();
    event::emit(ReleaseRevoked { registry: object::id(registry), version, gone_by_ms });
}

/// Raises the least version, to a release that counts and stays. Earlier ones count until the
/// deadline, which is at least a day ahead (`bounds::release_notice_ms`): at once a release goes by
/// `revoke` alone.
public fun set_minimum(
    registry: &mut ReleaseRegistry,
    cap: &ReleaseCap,
    minimum: ReleaseVersion,
    gone_by_ms: u64,
    clock: &Clock,
) {
    registry.assert_releaser(cap);
    assert_deadline(gone_by_ms, clock);
    let least_ms = clock.timestamp_ms() + bounds::release_notice_ms();
    assert!(gone_by_ms >= least_ms, EDeadlineTooSoon);
    let found = registry.find(minimum);
    assert!(
        registry.minimum.is_before(minimum) && found.is_some() &&
            registry.releases[*found.borrow()].gone_by_ms.is_none(),
        EVersionNotAhead,
    );
    registry.minimum = minimum;
    registry.releases.do_mut!(|release| if (release.version.is_before(minimum)) {
        release.be_gone_by(gone_by_ms);
    });
    event::emit(MinimumReleaseChanged { registry: object::id(registry), minimum, gone_by_ms });
}

/// Removes a release whose deadline is over, be it revoked or below the minimum, to make room. It
/// cannot be approved again: its version and its PCR 11 are kept.
public fun remove(
    registry: &mut ReleaseRegistry,
    cap: &ReleaseCap,
    version: ReleaseVersion,
    clock: &Clock,
) {
    registry.assert_releaser(cap);
    let index = registry.index(version);
    assert!(!registry.is_trusted(version, clock), EStillTrusted);
    registry.releases.remove(index);
    event::emit(ReleaseRemoved { registry: object::id(registry), version });
}

/// A version from its numbers.
public fun release_version(major: u32, minor: u32, patch: u32): ReleaseVersion {
    ReleaseVersion { major, minor, patch }
}

/// An image.
public fun image(
    target: String,
    architecture: String,
    root_hash: vector<u8>,
    pcr11: vector<PhasePcr>,
    launch_measurements: vector<LaunchMeasurement>,
): Image {
    assert_name(&target);
    assert_name(&architecture);
    assert_digest(&root_hash);
    assert!(launch_measurements.length() <= MOST_MEASUREMENTS, ETooManyMeasurements);
    assert!(!pcr11.is_empty() && pcr11.length() <= MOST_PHASES, EInvalidPhases);
    assert!(pcr11[0].phases.is_empty(), EInvalidPhases);
    pcr11.length().do!(|index| {
        let first = pcr11.find_index!(|value| value.phases == pcr11[index].phases);
        assert!(first == option::some(index), EInvalidPhases);
    });
    Image { target, architecture, root_hash, pcr11, launch_measurements }
}

/// A value of PCR 11: after which phases, and 32 bytes.
public fun phase_pcr(phases: String, digest: vector<u8>): PhasePcr {
    assert!(phases.length() <= LONGEST_NAME, EInvalidName);
    assert_digest(&digest);
    PhasePcr { phases, digest }
}

/// A launch measurement: 0 SEV-SNP, 1 TDX, 2 Nitro, 48 bytes each.
public fun launch_measurement(tee: u8, digest: vector<u8>): LaunchMeasurement {
    assert!(tee <= LAST_TEE && digest.length() == MEASUREMENT, EInvalidMeasurement);
    assert!(digest.any!(|byte| *byte != 0), EInvalidMeasurement);
    LaunchMeasurement { tee, digest }
}

/// Whether nodes that run this release count: approved, and no deadline of it is over.
public fun is_trusted(registry: &ReleaseRegistry, version: ReleaseVersion, clock: &Clock): bool {
    let found = registry.find(version);
    found.is_some_and!(|index| {
        let deadline = registry.releases[*index].gone_by_ms;
        !deadline.is_some_and!(|deadline| clock.timestamp_ms() >= *deadline)
    })
}

public fun minimum(registry: &ReleaseRegistry): ReleaseVersion { registry.minimum }

public fun releases(registry: &ReleaseRegistry): vector<Release> { registry.releases }

/// Whether a version comes before another.
public fun is_before(version: ReleaseVersion, other: ReleaseVersion): bool {
    if (version.major != other.major) return version.major < other.major;
    if (version.minor != other.minor) return version.minor < other.minor;
    version.patch < other.patch
}

/// Sets the deadline, unless there is a sooner one.
fun be_gone_by(release: &mut Release, deadline_ms: u64) {
    let sooner = release.gone_by_ms.map!(|before| before.min(deadline_ms));
    release.gone_by_ms = option::some(sooner.destroy_with_default(deadline_ms));
}

fun find(registry: &ReleaseRegistry, version: ReleaseVersion): Option<u64> {
    registry.releases.find_index!(|release| release.version == version)
}

fun index(registry: &ReleaseRegistry, version: ReleaseVersion): u64 {
    let found = registry.find(version);
    assert!(found.is_some(), EUnknownRelease);
    found.destroy_some()
}

fun assert_images(images: &vector<Image>) {
    assert!(!images.is_empty() && images.length() <= MOST_IMAGES, EInvalidImages);
    images.length().do!(|index| {
        let image = &images[index];
        let first = images.find_index!(
            |other| other.target == image.target && other.architecture == image.architecture,
        );
        assert!(first == option::some(index), EInvalidImages);
    });
}

fun assert_places(places: &vector<String>) {
    assert!(places.length() <= MOST_PLACES, EInvalidPlaces);
    let prefix = b"https://";
    places.do_ref!(|place| {
        let bytes = place.as_bytes();
        assert!(bytes.length() > prefix.length(), EInvalidPlaces);
        assert!(bytes.length() <= LONGEST_PLACE, EInvalidPlaces);
        prefix.length().do!(|index| assert!(bytes[index] == prefix[index], EInvalidPlaces));
    });
}

fun assert_name(name: &String) {
    assert!(!name.is_empty() && name.length() <= LONGEST_NAME, EInvalidName);
}

fun assert_digest(digest: &vector<u8>) {
    assert!(digest.length() == DIGEST && digest.any!(|byte| *byte != 0), EInvalidDigest);
}

fun assert_deadline(deadline_ms: u64, clock: &Clock) {
    let most_ms = clock.timestamp_ms() + bounds::release_deadline_ms();
    assert!(deadline_ms <= most_ms, EDeadlineTooFar);
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
