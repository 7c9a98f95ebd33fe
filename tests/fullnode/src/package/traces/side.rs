//! A pool, and what belongs to it.

use chain::abi::{
    self, AdminCap, EnclaveConfig, Field, ListKey, MasterDirectory, MoveType, Pool, RegistrarCap,
    ReleaseCap, ReleaseRegistry, ReleaseVersion, Scheduled, SlasherCap, Treasury, Vault,
};
use serde::Serialize;
use sui_sdk_types::Address;

use super::stage::id;
use super::{DAY_MS, HOUR_MS, NOW_MS, SUI};
use crate::execution::{Bench, Value};

/// How many objects belong to a pool, with itself.
pub(super) const KINDS: usize = 10;

fn object<T: Serialize + MoveType>(package: Address, value: &T) -> Value {
    Value::new(T::tag(package), false, value).unwrap()
}

/// Lists a capability with an object.
fn list(package: Address, bench: &mut Bench<'_>, object: Address, cap: Address, from_ms: u64) {
    let entry = Field {
        id: abi::list_id(package, object, cap),
        name: ListKey(cap),
        value: from_ms,
    };
    let entry = Value::new(abi::list_tag(package), false, &entry).unwrap();
    bench.add_child(object, entry);
}

/// The objects in the order of `Place::OF_A_SIDE`, as the Move tests begin with them. Their ids are
/// shown as bytes from `first` on.
pub(super) fn of(
    package: Address,
    name: &str,
    first: u8,
    bench: &mut Bench<'_>,
    ids: &mut Vec<([u8; 32], u8)>,
) -> [Value; KINDS] {
    let new = |kind: &str| id(&format!("{name}{kind}"));
    let (pool, treasury, config) = (new("pool"), new("treasury"), new("config"));
    let (registry, directory, vault) = (new("registry"), new("directory"), new("vault"));
    let (slasher, registrar, release) = (new("slasher"), new("registrar"), new("release cap"));
    list(package, bench, pool, slasher, 0);
    list(package, bench, config, registrar, NOW_MS);
    list(package, bench, registry, release, NOW_MS);
    let shown = [
        (pool, 1),
        (treasury, 2),
        (slasher, 4),
        (config, 5),
        (directory, 6),
        (registry, 7),
        (registrar, 8),
        (release, 9),
        (vault, 0x0a),
    ];
    ids.extend(shown.map(|(id, byte)| (id.into_inner(), first + byte)));
    let admin = AdminCap {
        id: new("admin"),
        pool,
    };
    let registrar = RegistrarCap {
        id: registrar,
        config,
    };
    let release = ReleaseCap {
        id: release,
        registry,
    };
    [
        object(package, &new_pool(pool, treasury)),
        object(package, &new_treasury(treasury, pool)),
        object(package, &admin),
        object(package, &SlasherCap { id: slasher, pool }),
        object(package, &new_config(config, pool)),
        object(package, &registrar),
        object(package, &new_registry(registry, pool)),
        object(package, &release),
        object(package, &new_directory(directory, pool)),
        object(package, &new_vault(vault, pool)),
    ]
}

fn new_pool(id: Address, treasury: Address) -> Pool {
    Pool {
        id,
        version: abi::VERSION,
        open: false,
        minimum_stake: Scheduled::fixed(SUI),
        unbonding_ms: Scheduled::fixed(7 * DAY_MS),
        seal_token_ms: 30 * DAY_MS,
        reporter_basis_points: Scheduled::fixed(1_000),
        offences: Vec::new(),
        treasury,
    }
}

fn new_treasury(id: Address, pool: Address) -> Treasury {
    Treasury {
        id,
        version: abi::VERSION,
        pool,
        balance: 0,
    }
}

fn new_config(id: Address, pool: Address) -> EnclaveConfig {
    let pcr = |byte| vec![byte; abi::enclave::PCR_LENGTH];
    EnclaveConfig {
        id,
        version: abi::VERSION,
        pool,
        config_version: 1,
        minimum_config_version: 1,
        pcr0: pcr(0xa0),
        pcr1: pcr(0xa1),
        pcr2: pcr(0xa2),
        document_age_ms: HOUR_MS,
        evidence_age_ms: HOUR_MS / 6,
        effective_from_ms: NOW_MS,
    }
}

fn new_registry(id: Address, pool: Address) -> ReleaseRegistry {
    ReleaseRegistry {
        id,
        version: abi::VERSION,
        pool,
        minimum: ReleaseVersion {
            major: 0,
            minor: 0,
            patch: 0,
        },
        releases: Vec::new(),
    }
}

fn new_directory(id: Address, pool: Address) -> MasterDirectory {
    MasterDirectory {
        id,
        version: abi::VERSION,
        pool,
        masters: Vec::new(),
    }
}

/// Epochs of a day, an hour to object, a week to claim, no more than 2 SUI an epoch.
fn new_vault(id: Address, pool: Address) -> Vault {
    Vault {
        id,
        version: abi::VERSION,
        pool,
        funds: 0,
        first_day: NOW_MS / DAY_MS + 1,
        epoch_days: 1,
        objection_ms: HOUR_MS,
        claim_ms: 7 * DAY_MS,
        most_budget: Scheduled::fixed(2 * SUI),
    }
}
