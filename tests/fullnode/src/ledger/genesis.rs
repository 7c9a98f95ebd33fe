//! What there is from the beginning.

use chain::abi::{self, MoveType};
use serde::Serialize;
use sui_sdk_types::hash::Hasher;
use sui_sdk_types::{
    Address, Digest, MovePackage, MoveStruct, Object, ObjectData, Owner, StructTag,
};

use crate::config::Config;

/// The version of everything that was there from the beginning.
const FIRST: u64 = 1;

/// The reporter's share of a slash that the package begins with.
const REPORTER_BASIS_POINTS: u64 = 1000;

/// Package, pool, capabilities, directory, registry, clock, and the accounts' coins.
pub(super) fn objects(config: &Config) -> Vec<Object> {
    let package: Address = config.package.into();
    let pool: Address = config.pool.into();
    let treasury: Address = config.administration().treasury.into();
    let mut objects = vec![
        Object::new(
            ObjectData::Package(MovePackage {
                id: package,
                version: FIRST,
                modules: Default::default(),
                type_origin_table: Vec::new(),
                linkage_table: Default::default(),
            }),
            Owner::Immutable,
            Digest::ZERO,
            0,
        ),
        first(
            abi::Pool::tag(package),
            false,
            &abi::Pool {
                id: pool,
                version: abi::VERSION,
                open: !config.genesis.closed,
                minimum_stake: abi::Scheduled::fixed(config.genesis.minimum_stake_mist),
                unbonding_ms: abi::Scheduled::fixed(config.genesis.unbonding_ms),
                seal_token_ms: config.genesis.seal_token_ms,
                reporter_basis_points: abi::Scheduled::fixed(REPORTER_BASIS_POINTS),
                offences: offences(),
                treasury,
            },
            Owner::Shared(FIRST),
        ),
        first(
            abi::Treasury::tag(package),
            false,
            &abi::Treasury {
                id: treasury,
                version: abi::VERSION,
                pool,
                balance: 0,
            },
            Owner::Shared(FIRST),
        ),
        first(
            abi::SlasherCap::tag(package),
            true,
            &abi::SlasherCap {
                id: config.slasher_cap.into(),
                pool,
            },
            Owner::Address(config.genesis.slasher.into()),
        ),
        clock(FIRST, 0),
    ];
    objects.extend(administration(config));
    for account in &config.genesis.accounts {
        let owner: Address = account.address.into();
        for (index, balance) in (0u64..).zip(&account.coins_mist) {
            let coin = abi::Coin {
                id: coin_id(owner, index),
                balance: *balance,
            };
            objects.push(first(
                StructTag::gas_coin(),
                true,
                &coin,
                Owner::Address(owner),
            ));
        }
    }
    objects
}

/// The table of a demo: eight offences that take all of a stake, and two that take a part.
fn offences() -> Vec<abi::Offence> {
    let offence = |(reason, basis_points)| abi::Offence {
        reason,
        penalty: abi::Scheduled::fixed(abi::Penalty {
            basis_points,
            daily_cap_basis_points: abi::WHOLE_BASIS_POINTS,
            in_force: true,
        }),
    };
    let all = (1..=8).map(|reason| (reason, abi::WHOLE_BASIS_POINTS));
    all.chain([(101, 100), (125, 2_500)]).map(offence).collect()
}

/// What the package's administrator would have made: the configuration of enclaves, the directory
/// of masters, the registry of releases, and the capabilities, listed and in effect.
fn administration(config: &Config) -> Vec<Object> {
    const HOUR_MS: u64 = 60 * 60 * 1000;
    let package: Address = config.package.into();
    let pool: Address = config.pool.into();
    let owner = Owner::Address(config.genesis.slasher.into());
    let ids = config.administration();
    let enclave_config: Address = ids.enclave_config.into();
    let registry: Address = ids.release_registry.into();
    let pcr = |byte| vec![byte; abi::enclave::PCR_LENGTH];
    vec![
        first(
            abi::AdminCap::tag(package),
            true,
            &abi::AdminCap {
                id: ids.admin_cap.into(),
                pool,
            },
            owner,
        ),
        listed(package, pool, config.slasher_cap.into()),
        first(
            abi::EnclaveConfig::tag(package),
            false,
            &abi::EnclaveConfig {
                id: enclave_config,
                version: abi::VERSION,
                pool,
                config_version: 1,
                minimum_config_version: 1,
                // of no image: keys are registered by capability here
                pcr0: pcr(0xa0),
                pcr1: pcr(0xa1),
                pcr2: pcr(0xa2),
                document_age_ms: HOUR_MS,
                evidence_age_ms: HOUR_MS / 6,
                effective_from_ms: 0,
            },
            Owner::Shared(FIRST),
        ),
        first(
            abi::RegistrarCap::tag(package),
            true,
            &abi::RegistrarCap {
                id: ids.registrar_cap.into(),
                config: enclave_config,
            },
            owner,
        ),
        listed(package, enclave_config, ids.registrar_cap.into()),
        first(
            abi::MasterDirectory::tag(package),
            false,
            &abi::MasterDirectory {
                id: ids.directory.into(),
                version: abi::VERSION,
                pool,
                masters: Vec::new(),
            },
            Owner::Shared(FIRST),
        ),
        first(
            abi::ReleaseRegistry::tag(package),
            false,
            &abi::ReleaseRegistry {
                id: registry,
                version: abi::VERSION,
                pool,
                minimum: abi::ReleaseVersion {
                    major: 0,
                    minor: 0,
                    patch: 0,
                },
                releases: Vec::new(),
            },
            Owner::Shared(FIRST),
        ),
        first(
            abi::ReleaseCap::tag(package),
            true,
            &abi::ReleaseCap {
                id: ids.release_cap.into(),
                registry,
            },
            owner,
        ),
        listed(package, registry, ids.release_cap.into()),
    ]
}

/// The entry by which an object lists a capability.
fn listed(package: Address, object: Address, capability: Address) -> Object {
    let entry = abi::Field {
        id: abi::list_id(package, object, capability),
        name: abi::ListKey(capability),
        value: 0_u64,
    };
    first(abi::list_tag(package), false, &entry, Owner::Object(object))
}

/// The chain's clock.
pub(super) fn clock(version: u64, timestamp_ms: u64) -> Object {
    let clock = abi::Clock {
        id: abi::CLOCK,
        timestamp_ms,
    };
    let data = bcs::to_bytes(&clock).unwrap_or_default();
    object(
        abi::Clock::tag(Address::TWO),
        false,
        version,
        data,
        Owner::Shared(FIRST),
        Digest::ZERO,
        0,
    )
}

/// An object of a Move type. `store` tells whether anyone may transfer it.
pub(crate) fn object(
    tag: StructTag,
    store: bool,
    version: u64,
    contents: Vec<u8>,
    owner: Owner,
    previous_transaction: Digest,
    storage_rebate: u64,
) -> Object {
    // Contents without an id are a fault of the double itself; they become the zero object,
    // which nothing can name.
    let data = MoveStruct::new(tag.clone(), store, version, contents)
        .or_else(|| MoveStruct::new(tag, store, version, vec![0; Address::LENGTH]));
    match data {
        Some(data) => Object::new(
            ObjectData::Struct(data),
            owner,
            previous_transaction,
            storage_rebate,
        ),
        None => unreachable!("32 bytes hold an id"),
    }
}

/// The records of nodes that stake an amount each, which is paid back to themselves.
pub(super) fn stakes(
    package: Address,
    pool: &Object,
    nodes: &[(chain::PublicKey, String)],
    amount: u64,
) -> Vec<Object> {
    let Some(data) = pool.as_struct() else {
        return Vec::new();
    };
    let Ok(counted) = bcs::from_bytes::<abi::Pool>(data.contents()) else {
        return Vec::new();
    };
    let mut objects = Vec::with_capacity(nodes.len());
    for (key, node_id) in nodes {
        let node_key = key.to_flagged_bytes();
        let record = abi::StakeRecord {
            id: abi::record_id(package, counted.id, &node_key),
            version: abi::VERSION,
            pool: counted.id,
            staker: key.address().into(),
            beneficiary: abi::Scheduled::fixed(key.address().into()),
            node_id: node_id.clone(),
            node_key,
            balance: amount,
            status: abi::status::ACTIVE,
            staked_at_ms: 0,
            unbonding_until_ms: None,
            unbonding_by_beneficiary: false,
            slashed: 0,
            seal_token: None,
            maintenance: Vec::new(),
        };
        let tag = abi::StakeRecord::tag(package);
        objects.push(first(tag, false, &record, Owner::Shared(FIRST)));
    }
    objects
}

/// What an object holds, in MIST.
pub(super) fn holds(object: &Object) -> u64 {
    let Some(data) = object.as_struct() else {
        return 0;
    };
    let (tag, contents) = (data.object_type(), data.contents());
    if tag.is_coin().is_some() {
        return bcs::from_bytes::<abi::Coin>(contents).map_or(0, |coin| coin.balance);
    }
    match tag.name().as_str() {
        abi::Treasury::NAME => {
            bcs::from_bytes::<abi::Treasury>(contents).map_or(0, |treasury| treasury.balance)
        }
        abi::StakeRecord::NAME => {
            bcs::from_bytes::<abi::StakeRecord>(contents).map_or(0, |record| record.balance)
        }
        _ => 0,
    }
}

/// A shared object, at another version of the package.
pub(super) fn migrated(from: &Object, version: u64) -> Option<Object> {
    let data = from.as_struct()?;
    let contents = match data.object_type().name().as_str() {
        abi::Pool::NAME => {
            let pool: abi::Pool = bcs::from_bytes(data.contents()).ok()?;
            bcs::to_bytes(&abi::Pool { version, ..pool }).ok()?
        }
        abi::Treasury::NAME => {
            let treasury: abi::Treasury = bcs::from_bytes(data.contents()).ok()?;
            bcs::to_bytes(&abi::Treasury {
                version,
                ..treasury
            })
            .ok()?
        }
        abi::StakeRecord::NAME => {
            let record: abi::StakeRecord = bcs::from_bytes(data.contents()).ok()?;
            bcs::to_bytes(&abi::StakeRecord { version, ..record }).ok()?
        }
        abi::EnclaveConfig::NAME => {
            let config: abi::EnclaveConfig = bcs::from_bytes(data.contents()).ok()?;
            bcs::to_bytes(&abi::EnclaveConfig { version, ..config }).ok()?
        }
        abi::Enclave::NAME => {
            let enclave: abi::Enclave = bcs::from_bytes(data.contents()).ok()?;
            bcs::to_bytes(&abi::Enclave { version, ..enclave }).ok()?
        }
        abi::MasterDirectory::NAME => {
            let directory: abi::MasterDirectory = bcs::from_bytes(data.contents()).ok()?;
            bcs::to_bytes(&abi::MasterDirectory {
                version,
                ..directory
            })
            .ok()?
        }
        abi::ReleaseRegistry::NAME => {
            let registry: abi::ReleaseRegistry = bcs::from_bytes(data.contents()).ok()?;
            bcs::to_bytes(&abi::ReleaseRegistry {
                version,
                ..registry
            })
            .ok()?
        }
        _ => return None,
    };
    Some(object(
        data.object_type().clone(),
        data.has_public_transfer(),
        from.version() + 1,
        contents,
        *from.owner(),
        from.previous_transaction(),
        from.storage_rebate(),
    ))
}

fn first<T: Serialize>(tag: StructTag, store: bool, value: &T, owner: Owner) -> Object {
    let contents = bcs::to_bytes(value).unwrap_or_default();
    object(tag, store, FIRST, contents, owner, Digest::ZERO, 0)
}

fn coin_id(owner: Address, index: u64) -> Address {
    let mut hasher = Hasher::new();
    hasher.update(b"fullnode double: coin");
    hasher.update(owner.as_bytes());
    hasher.update(index.to_le_bytes());
    Address::new(hasher.finalize().into_inner())
}
