//! Module `releases`.

use chain::abi::abort::Abort;
use chain::abi::releases::{
    DEADLINE_MS, LAST_TEE, LONGEST_NAME, LONGEST_PLACE, MEASUREMENT_LENGTH, MOST_IMAGES,
    MOST_MEASUREMENTS, MOST_PHASES, MOST_PLACES, MOST_RELEASES,
};
use chain::abi::{
    AdminCap, ApprovedKey, Clock, Image, LaunchMeasurement, MeasurementKey, MinimumReleaseChanged,
    MinimumReleaseLowered, MoveType, PhasePcr, Pool, Release, ReleaseApproved, ReleaseCap,
    ReleaseRegistry, ReleaseRemoved, ReleaseRevoked, ReleaseVersion,
};
use sui_sdk_types::TypeTag;

use super::{
    assert_admin, assert_current, authority, emit, field, object, require, set_field, wrong,
};
use crate::execution::{Arg, Scope, Stop, Value};

/// How far ahead a higher minimum's deadline is at the least (`bounds::release_notice_ms`).
const NOTICE_MS: u64 = 24 * 60 * 60 * 1000;
/// The length of a SHA-256 digest.
const DIGEST_LENGTH: usize = 32;

pub(super) fn revoke_release_cap(
    scope: &mut Scope<'_, '_>,
    arguments: &mut [Arg],
) -> Result<(), Stop> {
    let registry = administered(arguments)?;
    let [_, _, _, Arg::Address(release_cap)] = &*arguments else {
        return Err(wrong(3));
    };
    authority::revoke(scope, registry.id, *release_cap)
}

pub(super) fn lower_minimum(scope: &mut Scope<'_, '_>, arguments: &mut [Arg]) -> Result<(), Stop> {
    let mut registry = administered(arguments)?;
    let minimum: ReleaseVersion = object(arguments, 3)?.read()?;
    require(minimum < registry.minimum, &Abort::RELEASES_NOT_LOWER)?;
    registry.minimum = minimum;
    for release in &mut registry.releases {
        if release.revoked_at_ms.is_none() && release.version >= minimum {
            release.gone_by_ms = None;
        }
    }
    object(arguments, 0)?.write(&registry)?;
    emit(
        scope,
        &MinimumReleaseLowered {
            registry: registry.id,
            minimum,
        },
    )
}

/// The registry that a call of the administrator is about (`registry.assert_admin(pool, cap)`).
fn administered(arguments: &mut [Arg]) -> Result<ReleaseRegistry, Stop> {
    let registry: ReleaseRegistry = object(arguments, 0)?.read()?;
    let pool: Pool = object(arguments, 1)?.read()?;
    let cap: AdminCap = object(arguments, 2)?.read()?;
    assert_admin(&pool, &cap)?;
    assert_current(registry.version)?;
    require(registry.pool == pool.id, &Abort::RELEASES_WRONG_POOL)?;
    Ok(registry)
}

pub(super) fn approve(scope: &mut Scope<'_, '_>, arguments: &mut [Arg]) -> Result<(), Stop> {
    let (mut registry, version) = opened(scope, arguments)?;
    let images: Vec<Image> = object(arguments, 3)?.read()?;
    let clock: Clock = object(arguments, 6)?.read()?;
    let [_, _, _, _, Arg::Bytes(manifest), Arg::Texts(places), _] = &*arguments else {
        return Err(wrong(4));
    };
    let (manifest, places) = (manifest.clone(), places.clone());
    assert_images(&images)?;
    assert_digest(&manifest)?;
    assert_places(&places)?;
    require(
        version >= registry.minimum,
        &Abort::RELEASES_VERSION_NOT_AHEAD,
    )?;
    let approved = ApprovedKey(version);
    let known: Option<bool> = field(scope, registry.id, &approved, TypeTag::Bool)?;
    require(known.is_none(), &Abort::RELEASES_ALREADY_APPROVED)?;
    require(
        registry.releases.len() < MOST_RELEASES,
        &Abort::RELEASES_TOO_MANY_RELEASES,
    )?;
    set_field(scope, registry.id, &approved, TypeTag::Bool, true)?;
    for value in images.iter().flat_map(|image| &image.pcr11) {
        let key = MeasurementKey(value.digest.clone());
        let package = scope.package();
        let tag = || TypeTag::Struct(Box::new(ReleaseVersion::tag(package)));
        let used: Option<ReleaseVersion> = field(scope, registry.id, &key, tag())?;
        require(used.is_none(), &Abort::RELEASES_MEASUREMENT_USED)?;
        set_field(scope, registry.id, &key, tag(), version)?;
    }
    registry.releases.push(Release {
        version,
        images: images.clone(),
        manifest: manifest.clone(),
        places: places.clone(),
        approved_at_ms: clock.timestamp_ms,
        revoked_at_ms: None,
        gone_by_ms: None,
    });
    object(arguments, 0)?.write(&registry)?;
    emit(
        scope,
        &ReleaseApproved {
            registry: registry.id,
            version,
            images,
            manifest,
            places,
        },
    )
}

pub(super) fn revoke(scope: &mut Scope<'_, '_>, arguments: &mut [Arg]) -> Result<(), Stop> {
    let (mut registry, version) = opened(scope, arguments)?;
    let clock: Clock = object(arguments, 4)?.read()?;
    let deadline_ms = deadline(arguments, &clock)?;
    let index = index(&registry, version)?;
    let mut gone_by_ms = deadline_ms;
    for release in registry.releases.iter_mut().skip(index).take(1) {
        let sooner = release.gone_by_ms.is_none_or(|before| deadline_ms < before);
        require(
            release.revoked_at_ms.is_none() || sooner,
            &Abort::RELEASES_ALREADY_REVOKED,
        )?;
        release.revoked_at_ms.get_or_insert(clock.timestamp_ms);
        gone_by_ms = be_gone_by(release, deadline_ms);
    }
    object(arguments, 0)?.write(&registry)?;
    emit(
        scope,
        &ReleaseRevoked {
            registry: registry.id,
            version,
            gone_by_ms,
        },
    )
}

pub(super) fn set_minimum(scope: &mut Scope<'_, '_>, arguments: &mut [Arg]) -> Result<(), Stop> {
    let (mut registry, minimum) = opened(scope, arguments)?;
    let clock: Clock = object(arguments, 4)?.read()?;
    let gone_by_ms = deadline(arguments, &clock)?;
    require(
        gone_by_ms >= clock.timestamp_ms + NOTICE_MS,
        &Abort::RELEASES_DEADLINE_TOO_SOON,
    )?;
    let mut releases = registry.releases.iter();
    let stays = releases.any(|release| release.version == minimum && release.gone_by_ms.is_none());
    require(
        registry.minimum < minimum && stays,
        &Abort::RELEASES_VERSION_NOT_AHEAD,
    )?;
    registry.minimum = minimum;
    for release in &mut registry.releases {
        if release.version < minimum {
            be_gone_by(release, gone_by_ms);
        }
    }
    object(arguments, 0)?.write(&registry)?;
    emit(
        scope,
        &MinimumReleaseChanged {
            registry: registry.id,
            minimum,
            gone_by_ms,
        },
    )
}

pub(super) fn remove(scope: &mut Scope<'_, '_>, arguments: &mut [Arg]) -> Result<(), Stop> {
    let (mut registry, version) = opened(scope, arguments)?;
    let clock: Clock = object(arguments, 3)?.read()?;
    let index = index(&registry, version)?;
    let gone = registry.releases.get(index).is_some_and(|release| {
        let deadline = release.gone_by_ms;
        deadline.is_some_and(|deadline| clock.timestamp_ms >= deadline)
    });
    require(gone, &Abort::RELEASES_STILL_TRUSTED)?;
    registry.releases.remove(index);
    object(arguments, 0)?.write(&registry)?;
    emit(
        scope,
        &ReleaseRemoved {
            registry: registry.id,
            version,
        },
    )
}

/// The deadline that a call names, no more than 90 days ahead.
fn deadline(arguments: &[Arg], clock: &Clock) -> Result<u64, Stop> {
    let [_, _, _, Arg::U64(deadline_ms), ..] = arguments else {
        return Err(wrong(3));
    };
    require(
        *deadline_ms <= clock.timestamp_ms + DEADLINE_MS,
        &Abort::RELEASES_DEADLINE_TOO_FAR,
    )?;
    Ok(*deadline_ms)
}

/// `release.be_gone_by(deadline)`: the sooner one stays.
fn be_gone_by(release: &mut Release, deadline_ms: u64) -> u64 {
    let sooner = release
        .gone_by_ms
        .map_or(deadline_ms, |before| before.min(deadline_ms));
    release.gone_by_ms = Some(sooner);
    sooner
}

fn assert_images(images: &[Image]) -> Result<(), Stop> {
    require(
        (1..=MOST_IMAGES).contains(&images.len()),
        &Abort::RELEASES_INVALID_IMAGES,
    )?;
    let kind = |image: &Image| (image.target.clone(), image.architecture.clone());
    let kinds: std::collections::BTreeSet<_> = images.iter().map(kind).collect();
    require(kinds.len() == images.len(), &Abort::RELEASES_INVALID_IMAGES)
}

fn assert_places(places: &[String]) -> Result<(), Stop> {
    require(places.len() <= MOST_PLACES, &Abort::RELEASES_INVALID_PLACES)?;
    for place in places {
        let host = place.strip_prefix("https://").unwrap_or_default();
        require(
            !host.is_empty() && place.len() <= LONGEST_PLACE,
            &Abort::RELEASES_INVALID_PLACES,
        )?;
    }
    Ok(())
}

fn assert_digest(digest: &[u8]) -> Result<(), Stop> {
    require(
        digest.len() == DIGEST_LENGTH && digest.iter().any(|byte| *byte != 0),
        &Abort::RELEASES_INVALID_DIGEST,
    )
}

pub(super) fn image(scope: &mut Scope<'_, '_>, arguments: &mut [Arg]) -> Result<(), Stop> {
    let pcr11: Vec<PhasePcr> = object(arguments, 3)?.read()?;
    let launch_measurements: Vec<LaunchMeasurement> = object(arguments, 4)?.read()?;
    let [
        Arg::Text(target),
        Arg::Text(architecture),
        Arg::Bytes(root_hash),
        ..,
    ] = &*arguments
    else {
        return Err(wrong(0));
    };
    for name in [target, architecture] {
        require(
            (1..=LONGEST_NAME).contains(&name.len()),
            &Abort::RELEASES_INVALID_NAME,
        )?;
    }
    assert_digest(root_hash)?;
    require(
        launch_measurements.len() <= MOST_MEASUREMENTS,
        &Abort::RELEASES_TOO_MANY_MEASUREMENTS,
    )?;
    let phases: std::collections::BTreeSet<_> =
        pcr11.iter().map(|value| value.phases.as_str()).collect();
    let stub = pcr11.first().is_some_and(|value| value.phases.is_empty());
    require(
        stub && pcr11.len() <= MOST_PHASES && phases.len() == pcr11.len(),
        &Abort::RELEASES_INVALID_PHASES,
    )?;
    let image = Image {
        target: target.clone(),
        architecture: architecture.clone(),
        root_hash: root_hash.clone(),
        pcr11,
        launch_measurements,
    };
    let tag = Image::tag(scope.package());
    scope.made.returned.push(Value::data(tag, &image)?);
    Ok(())
}

pub(super) fn phase_pcr(scope: &mut Scope<'_, '_>, arguments: &mut [Arg]) -> Result<(), Stop> {
    let [Arg::Text(phases), Arg::Bytes(digest)] = &*arguments else {
        return Err(wrong(0));
    };
    require(phases.len() <= LONGEST_NAME, &Abort::RELEASES_INVALID_NAME)?;
    assert_digest(digest)?;
    let value = PhasePcr {
        phases: phases.clone(),
        digest: digest.clone(),
    };
    let tag = PhasePcr::tag(scope.package());
    scope.made.returned.push(Value::data(tag, &value)?);
    Ok(())
}

pub(super) fn release_version(
    scope: &mut Scope<'_, '_>,
    arguments: &mut [Arg],
) -> Result<(), Stop> {
    let [Arg::U32(major), Arg::U32(minor), Arg::U32(patch)] = &*arguments else {
        return Err(wrong(0));
    };
    let version = ReleaseVersion {
        major: *major,
        minor: *minor,
        patch: *patch,
    };
    let tag = ReleaseVersion::tag(scope.package());
    scope.made.returned.push(Value::data(tag, &version)?);
    Ok(())
}

pub(super) fn launch_measurement(
    scope: &mut Scope<'_, '_>,
    arguments: &mut [Arg],
) -> Result<(), Stop> {
    let [Arg::U8(tee), Arg::Bytes(digest)] = &*arguments else {
        return Err(wrong(0));
    };
    let valid = *tee <= LAST_TEE
        && digest.len() == MEASUREMENT_LENGTH
        && digest.iter().any(|byte| *byte != 0);
    require(valid, &Abort::RELEASES_INVALID_MEASUREMENT)?;
    let measurement = LaunchMeasurement {
        tee: *tee,
        digest: digest.clone(),
    };
    let tag = LaunchMeasurement::tag(scope.package());
    scope.made.returned.push(Value::data(tag, &measurement)?);
    Ok(())
}

/// The registry and the version that a call is about, once its capability is found to count
/// (`registry.assert_releaser(cap)`).
fn opened(
    scope: &Scope<'_, '_>,
    arguments: &mut [Arg],
) -> Result<(ReleaseRegistry, ReleaseVersion), Stop> {
    let registry: ReleaseRegistry = object(arguments, 0)?.read()?;
    let cap: ReleaseCap = object(arguments, 1)?.read()?;
    let version: ReleaseVersion = object(arguments, 2)?.read()?;
    assert_current(registry.version)?;
    require(cap.registry == registry.id, &Abort::RELEASES_WRONG_REGISTRY)?;
    authority::effective_from_ms(scope, registry.id, cap.id)?;
    Ok((registry, version))
}

fn find(registry: &ReleaseRegistry, version: ReleaseVersion) -> Option<usize> {
    registry
        .releases
        .iter()
        .position(|release| release.version == version)
}

fn index(registry: &ReleaseRegistry, version: ReleaseVersion) -> Result<usize, Stop> {
    find(registry, version).ok_or(Stop::Abort(&Abort::RELEASES_UNKNOWN_RELEASE))
}
