//! The registry of releases as types, within the bounds that the contracts keep: a fullnode can send
//! anything.

use super::governance::{digest, wrong};
use crate::abi::{self, MoveType, releases as limits};
use crate::error::ChainError;
use crate::release::{LaunchMeasurement, PhasePcr, Release, ReleaseImage, Releases, Tee};
use crate::rpc::ObjectView;

/// The releases of a registry, within the bounds that the contracts keep.
pub(super) fn releases(
    object: &ObjectView,
    registry: abi::ReleaseRegistry,
) -> Result<Releases, ChainError> {
    const WHAT: &str = abi::ReleaseRegistry::NAME;
    let bounded = |found, most, things| bounded(object, found, most, things);
    bounded(registry.releases.len(), limits::MOST_RELEASES, "releases")?;
    let mut releases = Vec::with_capacity(registry.releases.len());
    for release in registry.releases {
        bounded(
            release.images.len(),
            limits::MOST_IMAGES,
            "images of a release",
        )?;
        bounded(
            release.places.len(),
            limits::MOST_PLACES,
            "URLs of a release",
        )?;
        for url in &release.places {
            bounded(url.len(), limits::LONGEST_PLACE, "bytes of a URL")?;
        }
        let images = release.images.into_iter();
        releases.push(Release {
            version: release.version.into(),
            images: images
                .map(|image| release_image(object, image))
                .collect::<Result<_, _>>()?,
            manifest: digest(object, WHAT, "manifest's digest", &release.manifest)?,
            places: release.places,
            revoked: release.revoked_at_ms.is_some(),
            gone_by_ms: release.gone_by_ms,
        });
    }
    Ok(Releases {
        minimum: registry.minimum.into(),
        releases,
    })
}

fn release_image(object: &ObjectView, image: abi::Image) -> Result<ReleaseImage, ChainError> {
    const WHAT: &str = abi::ReleaseRegistry::NAME;
    let bounded = |found, most, things| bounded(object, found, most, things);
    let measurements = image.launch_measurements.len();
    bounded(
        measurements,
        limits::MOST_MEASUREMENTS,
        "launch measurements of an image",
    )?;
    bounded(
        image.pcr11.len(),
        limits::MOST_PHASES,
        "values of PCR 11 of an image",
    )?;
    for value in &image.pcr11 {
        bounded(value.phases.len(), limits::LONGEST_NAME, "bytes of phases")?;
    }
    for name in [&image.target, &image.architecture] {
        bounded(name.len(), limits::LONGEST_NAME, "bytes of a name")?;
    }
    let mut launch_measurements = Vec::with_capacity(image.launch_measurements.len());
    for measurement in &image.launch_measurements {
        // one of a TEE that a later package knows is of no use here
        let Some(tee) = Tee::from_number(measurement.tee) else {
            continue;
        };
        launch_measurements.push(LaunchMeasurement {
            tee,
            digest: digest(object, WHAT, "launch measurement", &measurement.digest)?,
        });
    }
    let mut pcr11 = Vec::with_capacity(image.pcr11.len());
    for value in image.pcr11 {
        pcr11.push(PhasePcr {
            digest: digest(object, WHAT, "PCR 11", &value.digest)?,
            phases: value.phases,
        });
    }
    Ok(ReleaseImage {
        target: image.target,
        architecture: image.architecture,
        root_hash: digest(object, WHAT, "root hash", &image.root_hash)?,
        pcr11,
        launch_measurements,
    })
}

/// Not more of something than the contracts take.
fn bounded(
    object: &ObjectView,
    found: usize,
    most: usize,
    things: &'static str,
) -> Result<(), ChainError> {
    if found <= most {
        return Ok(());
    }
    Err(wrong(
        object,
        abi::ReleaseRegistry::NAME,
        format!("{most} {things} at most"),
        format!("{found} {things}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::Owner;
    use sui_sdk_types::{Address, Digest};

    const ID: Address = Address::new([1; 32]);

    /// Makes a registry larger than it may be.
    type Change = fn(&mut abi::ReleaseRegistry);

    fn registry() -> abi::ReleaseRegistry {
        let version = abi::ReleaseVersion {
            major: 1,
            minor: 0,
            patch: 0,
        };
        let phase = abi::PhasePcr {
            phases: "p".repeat(limits::LONGEST_NAME),
            digest: vec![2; 32],
        };
        let launch = abi::LaunchMeasurement {
            tee: 0,
            digest: vec![3; limits::MEASUREMENT_LENGTH],
        };
        let image = abi::Image {
            target: "t".repeat(limits::LONGEST_NAME),
            architecture: "a".repeat(limits::LONGEST_NAME),
            root_hash: vec![4; 32],
            pcr11: vec![phase; limits::MOST_PHASES],
            launch_measurements: vec![launch; limits::MOST_MEASUREMENTS],
        };
        let release = abi::Release {
            version,
            images: vec![image; limits::MOST_IMAGES],
            manifest: vec![5; 32],
            places: vec!["u".repeat(limits::LONGEST_PLACE); limits::MOST_PLACES],
            approved_at_ms: 0,
            revoked_at_ms: None,
            gone_by_ms: None,
        };
        abi::ReleaseRegistry {
            id: ID,
            version: abi::VERSION,
            pool: ID,
            minimum: version,
            releases: vec![release; limits::MOST_RELEASES],
        }
    }

    fn read(registry: abi::ReleaseRegistry) -> Result<Releases, ChainError> {
        let object = ObjectView {
            id: ID,
            version: 1,
            digest: Digest::ZERO,
            owner: Owner::Shared(1),
            object_type: abi::ReleaseRegistry::tag(ID),
            contents: Vec::new(),
        };
        releases(&object, registry)
    }

    /// Makes a list longer by one.
    fn one_more<T: Clone>(list: &mut Vec<T>) {
        list.push(list[0].clone());
    }

    #[test]
    fn registry_beyond_a_bound_is_refused() {
        let full = read(registry()).unwrap();
        assert_eq!(full.releases.len(), limits::MOST_RELEASES);
        let cases: [(&str, Change); 9] = [
            ("32 releases", |it| one_more(&mut it.releases)),
            ("8 images", |it| one_more(&mut it.releases[0].images)),
            ("4 URLs", |it| one_more(&mut it.releases[0].places)),
            ("256 bytes of a URL", |it| {
                it.releases[0].places[3].push('u')
            }),
            ("4 launch measurements", |it| {
                one_more(&mut it.releases[0].images[0].launch_measurements);
            }),
            ("4 values of PCR 11", |it| {
                one_more(&mut it.releases[0].images[0].pcr11);
            }),
            ("32 bytes of phases", |it| {
                it.releases[0].images[0].pcr11[0].phases.push('p');
            }),
            ("32 bytes of a name", |it| {
                it.releases[0].images[0].target.push('t');
            }),
            ("32 bytes of a name", |it| {
                it.releases[0].images[0].architecture.push('a');
            }),
        ];
        for (bound, more) in cases {
            let mut registry = registry();
            more(&mut registry);
            let error = read(registry).unwrap_err().to_string();
            assert!(error.contains(&format!("expected {bound}")), "{error}");
        }
    }
}
