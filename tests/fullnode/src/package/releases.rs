//! Module `releases`.

use chain::abi::abort::Abort;
use chain::abi::releases::{LAST_TEE, MEASUREMENT_LENGTH, MOST_MEASUREMENTS, MOST_RELEASES};
use chain::abi::{
    AdminCap, Clock, LaunchMeasurement, MinimumReleaseChanged, MoveType, Pool, Release,
    ReleaseApproved, ReleaseCap, ReleaseRegistry, ReleaseRemoved, ReleaseRevoked, ReleaseVersion,
};

use super::{assert_admin, assert_current, authority, emit, object, require, wrong};
use crate::execution::{Arg, Scope, Stop, Value};

/// The length of a SHA-256 digest.
const DIGEST_LENGTH: usize = 32;

pub(super) fn revoke_release_cap(
    scope: &mut Scope<'_, '_>,
    arguments: &mut [Arg],
) -> Result<(), Stop> {
    let registry: ReleaseRegistry = object(arguments, 0)?.read()?;
    let pool: Pool = object(arguments, 1)?.read()?;
    let cap: AdminCap = object(arguments, 2)?.read()?;
    let [_, _, _, Arg::Address(release_cap)] = &*arguments else {
        return Err(wrong(3));
    };
    assert_admin(&pool, &cap)?;
    assert_current(registry.version)?;
    require(registry.pool == pool.id, &Abort::RELEASES_WRONG_POOL)?;
    authority::revoke(scope, registry.id, *release_cap)
}

pub(super) fn approve(scope: &mut Scope<'_, '_>, arguments: &mut [Arg]) -> Result<(), Stop> {
    let (mut registry, version) = opened(scope, arguments)?;
    let launch_measurements: Vec<LaunchMeasurement> = object(arguments, 5)?.read()?;
    let clock: Clock = object(arguments, 6)?.read()?;
    let [_, _, _, Arg::Bytes(root_hash), Arg::Bytes(pcr11), ..] = &*arguments else {
        return Err(wrong(3));
    };
    let (root_hash, pcr11) = (root_hash.clone(), pcr11.clone());
    for digest in [&root_hash, &pcr11] {
        require(
            digest.len() == DIGEST_LENGTH && digest.iter().any(|byte| *byte != 0),
            &Abort::RELEASES_INVALID_DIGEST,
        )?;
    }
    require(
        launch_measurements.len() <= MOST_MEASUREMENTS,
        &Abort::RELEASES_TOO_MANY_MEASUREMENTS,
    )?;
    require(
        find(&registry, version).is_none(),
        &Abort::RELEASES_ALREADY_APPROVED,
    )?;
    require(
        version >= registry.minimum,
        &Abort::RELEASES_VERSION_NOT_AHEAD,
    )?;
    require(
        registry.releases.len() < MOST_RELEASES,
        &Abort::RELEASES_TOO_MANY_RELEASES,
    )?;
    registry.releases.push(Release {
        version,
        root_hash: root_hash.clone(),
        pcr11: pcr11.clone(),
        launch_measurements,
        approved_at_ms: clock.timestamp_ms,
        revoked_at_ms: None,
    });
    object(arguments, 0)?.write(&registry)?;
    emit(
        scope,
        &ReleaseApproved {
            registry: registry.id,
            version,
            root_hash,
            pcr11,
        },
    )
}

pub(super) fn revoke(scope: &mut Scope<'_, '_>, arguments: &mut [Arg]) -> Result<(), Stop> {
    let (mut registry, version) = opened(scope, arguments)?;
    let clock: Clock = object(arguments, 3)?.read()?;
    let index = index(&registry, version)?;
    for release in registry.releases.iter_mut().skip(index).take(1) {
        require(
            release.revoked_at_ms.is_none(),
            &Abort::RELEASES_ALREADY_REVOKED,
        )?;
        release.revoked_at_ms = Some(clock.timestamp_ms);
    }
    object(arguments, 0)?.write(&registry)?;
    emit(
        scope,
        &ReleaseRevoked {
            registry: registry.id,
            version,
        },
    )
}

pub(super) fn set_minimum(scope: &mut Scope<'_, '_>, arguments: &mut [Arg]) -> Result<(), Stop> {
    let (mut registry, minimum) = opened(scope, arguments)?;
    // `registry.is_trusted(minimum)`; that it is not below the minimum is asked before
    let trusted = registry
        .releases
        .iter()
        .any(|release| release.version == minimum && release.revoked_at_ms.is_none());
    require(
        registry.minimum < minimum && trusted,
        &Abort::RELEASES_VERSION_NOT_AHEAD,
    )?;
    registry.minimum = minimum;
    object(arguments, 0)?.write(&registry)?;
    emit(
        scope,
        &MinimumReleaseChanged {
            registry: registry.id,
            minimum,
        },
    )
}

pub(super) fn remove(scope: &mut Scope<'_, '_>, arguments: &mut [Arg]) -> Result<(), Stop> {
    let (mut registry, version) = opened(scope, arguments)?;
    let index = index(&registry, version)?;
    require(version < registry.minimum, &Abort::RELEASES_STILL_TRUSTED)?;
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
