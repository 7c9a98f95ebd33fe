//! The transactions of a pool's administrator, its registrar and its releaser.

use sui_sdk_types::{Address, ObjectReference};
use sui_transaction_builder::Argument;

use super::{Program, Shared};
use crate::abi::{self, function};
use crate::release::{Release, ReleaseImage, ReleaseVersion};

/// What is to be done.
#[derive(Debug, Clone)]
pub(crate) enum Administration {
    /// Register a master's key.
    RegisterKey {
        config: Shared,
        pool: Shared,
        cap: ObjectReference,
        public_key: Vec<u8>,
        tls_key_sha256: Vec<u8>,
        evidence: Vec<u8>,
    },
    /// Retire it.
    RetireKey {
        config: Shared,
        pool: Shared,
        cap: ObjectReference,
        enclave: Shared,
    },
    /// List a master in the directory.
    ListMaster {
        directory: Shared,
        pool: Shared,
        cap: ObjectReference,
        config: Shared,
        enclave: Shared,
        url: String,
    },
    /// Remove it.
    RemoveMaster {
        directory: Shared,
        pool: Shared,
        cap: ObjectReference,
        enclave: Address,
    },
    /// Change the registry of releases.
    Releases {
        registry: Shared,
        cap: ObjectReference,
        change: ReleaseChange,
    },
}

/// A change to the registry of releases.
#[derive(Debug, Clone)]
pub(crate) enum ReleaseChange {
    Approve(Release),
    Revoke {
        version: ReleaseVersion,
        gone_by_ms: u64,
    },
    SetMinimum {
        minimum: ReleaseVersion,
        gone_by_ms: u64,
    },
    Remove(ReleaseVersion),
}

impl Administration {
    pub(super) fn program(&self, tx: &mut Program) {
        match self {
            Self::RegisterKey {
                config,
                pool,
                cap,
                public_key,
                tls_key_sha256,
                evidence,
            } => {
                let arguments = vec![
                    tx.shared(*config, true),
                    tx.shared(*pool, false),
                    tx.owned(cap),
                    tx.builder.pure(public_key),
                    tx.builder.pure(tls_key_sha256),
                    tx.builder.pure(evidence),
                    tx.clock(),
                ];
                tx.call(abi::ENCLAVE, function::REGISTER_BY_CAPABILITY, arguments);
            }
            Self::RetireKey {
                config,
                pool,
                cap,
                enclave,
            } => {
                let arguments = vec![
                    tx.shared(*config, false),
                    tx.shared(*pool, false),
                    tx.owned(cap),
                    tx.shared(*enclave, true),
                ];
                tx.call(abi::ENCLAVE, function::RETIRE, arguments);
            }
            Self::ListMaster {
                directory,
                pool,
                cap,
                config,
                enclave,
                url,
            } => {
                let arguments = vec![
                    tx.shared(*directory, true),
                    tx.shared(*pool, false),
                    tx.owned(cap),
                    tx.shared(*config, false),
                    tx.shared(*enclave, false),
                    tx.builder.pure(url),
                ];
                tx.call(abi::GATEWAY, function::LIST_MASTER, arguments);
            }
            Self::RemoveMaster {
                directory,
                pool,
                cap,
                enclave,
            } => {
                let arguments = vec![
                    tx.shared(*directory, true),
                    tx.shared(*pool, false),
                    tx.owned(cap),
                    tx.builder.pure(enclave),
                ];
                tx.call(abi::GATEWAY, function::REMOVE_MASTER, arguments);
            }
            Self::Releases {
                registry,
                cap,
                change,
            } => change.program(tx, *registry, cap),
        }
    }
}

impl ReleaseChange {
    fn program(&self, tx: &mut Program, registry: Shared, cap: &ObjectReference) {
        let (name, version) = match self {
            Self::Approve(release) => (function::APPROVE, release.version),
            Self::Revoke { version, .. } => (function::REVOKE, *version),
            Self::SetMinimum { minimum, .. } => (function::SET_MINIMUM, *minimum),
            Self::Remove(version) => (function::REMOVE, *version),
        };
        let mut arguments = vec![tx.shared(registry, true), tx.owned(cap)];
        arguments.push(release_version(tx, version));
        match self {
            Self::Approve(release) => {
                arguments.push(images(tx, release));
                arguments.push(tx.builder.pure(&release.manifest.to_vec()));
                arguments.push(tx.builder.pure(&release.places));
            }
            Self::Revoke { gone_by_ms, .. } | Self::SetMinimum { gone_by_ms, .. } => {
                arguments.push(tx.builder.pure(gone_by_ms));
            }
            Self::Remove(_) => {}
        }
        arguments.push(tx.clock());
        tx.call(abi::RELEASES, name, arguments);
    }
}

fn release_version(tx: &mut Program, version: ReleaseVersion) -> Argument {
    let arguments = vec![
        tx.builder.pure(&version.major),
        tx.builder.pure(&version.minor),
        tx.builder.pure(&version.patch),
    ];
    tx.call(abi::RELEASES, function::RELEASE_VERSION, arguments)
}

fn images(tx: &mut Program, release: &Release) -> Argument {
    let images = release.images.iter();
    let images = images
        .map(|image| {
            let phases = image.pcr11.iter();
            let phases = phases
                .map(|value| {
                    let arguments = vec![
                        tx.builder.pure(&value.phases),
                        tx.builder.pure(&value.digest.to_vec()),
                    ];
                    tx.call(abi::RELEASES, function::PHASE_PCR, arguments)
                })
                .collect();
            let phases = tx.vector::<abi::PhasePcr>(phases);
            let arguments = vec![
                tx.builder.pure(&image.target),
                tx.builder.pure(&image.architecture),
                tx.builder.pure(&image.root_hash.to_vec()),
                phases,
                launch_measurements(tx, image),
            ];
            tx.call(abi::RELEASES, function::IMAGE, arguments)
        })
        .collect();
    tx.vector::<abi::Image>(images)
}

fn launch_measurements(tx: &mut Program, image: &ReleaseImage) -> Argument {
    let measurements = image.launch_measurements.iter();
    let measurements = measurements
        .map(|measurement| {
            let arguments = vec![
                tx.builder.pure(&measurement.tee.number()),
                tx.builder.pure(&measurement.digest.to_vec()),
            ];
            tx.call(abi::RELEASES, function::LAUNCH_MEASUREMENT, arguments)
        })
        .collect();
    tx.vector::<abi::LaunchMeasurement>(measurements)
}
