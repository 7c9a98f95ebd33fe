//! The transactions of a pool's administrator, its registrar and its releaser.

use sui_sdk_types::{Address, ObjectReference, TypeTag};
use sui_transaction_builder::Argument;

use super::{Program, Shared};
use crate::abi::{self, MoveType, function};
use crate::release::{Release, ReleaseVersion};

/// What is to be done.
#[derive(Debug, Clone)]
pub(crate) enum Administration {
    /// Register a master's key.
    RegisterKey {
        config: Shared,
        cap: ObjectReference,
        public_key: Vec<u8>,
        tls_key_sha256: Vec<u8>,
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
    Revoke(ReleaseVersion),
    SetMinimum(ReleaseVersion),
    Remove(ReleaseVersion),
}

impl Administration {
    pub(super) fn program(&self, tx: &mut Program) {
        match self {
            Self::RegisterKey {
                config,
                cap,
                public_key,
                tls_key_sha256,
            } => {
                let arguments = vec![
                    tx.shared(*config, true),
                    tx.owned(cap),
                    tx.builder.pure(public_key),
                    tx.builder.pure(tls_key_sha256),
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
            Self::Revoke(version) => (function::REVOKE, *version),
            Self::SetMinimum(version) => (function::SET_MINIMUM, *version),
            Self::Remove(version) => (function::REMOVE, *version),
        };
        let mut arguments = vec![tx.shared(registry, true), tx.owned(cap)];
        arguments.push(release_version(tx, version));
        if let Self::Approve(release) = self {
            arguments.push(tx.builder.pure(&release.root_hash.to_vec()));
            arguments.push(tx.builder.pure(&release.pcr11.to_vec()));
            arguments.push(launch_measurements(tx, release));
        }
        if matches!(self, Self::Approve(_) | Self::Revoke(_)) {
            arguments.push(tx.clock());
        }
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

fn launch_measurements(tx: &mut Program, release: &Release) -> Argument {
    let elements = release
        .launch_measurements
        .iter()
        .map(|measurement| {
            let arguments = vec![
                tx.builder.pure(&measurement.tee.number()),
                tx.builder.pure(&measurement.digest.to_vec()),
            ];
            tx.call(abi::RELEASES, function::LAUNCH_MEASUREMENT, arguments)
        })
        .collect();
    let tag = abi::LaunchMeasurement::tag(tx.package);
    tx.builder
        .make_move_vec(Some(TypeTag::Struct(Box::new(tag))), elements)
}
