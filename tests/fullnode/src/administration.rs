//! The objects by which a pool is administered, which are there from the beginning.

use chain::ObjectId;
use sui_sdk_types::Address;
use sui_sdk_types::hash::Hasher;

/// Where they are: derived from the pool's id, so that whoever knows the pool of a double knows
/// them. (On Sui they are made by transactions, and have the ids that those give them.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Administration {
    /// The `AdminCap` of the pool.
    pub admin_cap: ObjectId,
    /// The `Treasury` of the pool.
    pub treasury: ObjectId,
    /// The `EnclaveConfig`.
    pub enclave_config: ObjectId,
    /// The `RegistrarCap` of that, listed and in effect.
    pub registrar_cap: ObjectId,
    /// The `MasterDirectory`, empty.
    pub directory: ObjectId,
    /// The `ReleaseRegistry`, empty.
    pub release_registry: ObjectId,
    /// The `ReleaseCap` of that, listed.
    pub release_cap: ObjectId,
}

impl Administration {
    /// The objects of a pool.
    pub fn of(pool: ObjectId) -> Self {
        let derive = |name: &str| {
            let mut hasher = Hasher::new();
            hasher.update(b"fullnode double: ");
            hasher.update(name.as_bytes());
            hasher.update(pool.to_bytes());
            ObjectId::from(Address::new(hasher.finalize().into_inner()))
        };
        Self {
            admin_cap: derive("AdminCap"),
            treasury: derive("Treasury"),
            enclave_config: derive("EnclaveConfig"),
            registrar_cap: derive("RegistrarCap"),
            directory: derive("MasterDirectory"),
            release_registry: derive("ReleaseRegistry"),
            release_cap: derive("ReleaseCap"),
        }
    }
}
