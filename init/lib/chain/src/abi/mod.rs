//! What the Move package `k3s_daas` keeps on the chain, mirrored byte for byte.
//!
//! BCS writes the fields of a struct one after another in the order of their declaration in
//! Move: integers little-endian, a `UID`, an `ID` and an `address` as 32 raw bytes, a
//! `Balance<T>` as its `u64`, a `Table` as its id and its size, a `String` and a `vector<u8>` as a
//! ULEB128 length and the bytes, an `Option<T>` as a vector of none or one
//! (<https://github.com/diem/bcs>). The tests hold the bytes of one value of each type; the Move
//! package's tests hold the same.

pub mod abort;
pub mod authority;
pub mod enclave;
pub mod function;
pub mod gateway;
pub mod pool;
pub mod releases;
pub mod rewards;
pub mod staking;

mod framework;

use sui_sdk_types::{Address, Identifier, StructTag, TypeTag};

pub use authority::{
    CapabilityIssued, CapabilityRevoked, Day, DayKey, EvidenceKey, ListKey, NonceKey, SlashedKey,
    Verdict,
};
pub use enclave::{
    Enclave, EnclaveConfig, EnclaveConfigChanged, EnclaveKey, EnclaveRegistered, EnclaveRetired,
    IntentMessage, RegistrarCap,
};
pub use framework::{Clock, Coin, Field};
pub use gateway::{
    DirectoryCreated, MasterDirectory, MasterInfo, MasterListed, MasterRemoved, SealToken,
    SealTokenBurnt, SealTokenIssued,
};
pub use pool::{
    AdminCap, Offence, Penalty, Pool, PoolCreated, PoolOpened, Scheduled, SlasherCap, Treasury,
};
pub use releases::{
    ApprovedKey, Image, LaunchMeasurement, MeasurementKey, MinimumReleaseChanged,
    MinimumReleaseLowered, PhasePcr, RegistryCreated, Release, ReleaseApproved, ReleaseCap,
    ReleaseRegistry, ReleaseRemoved, ReleaseRevoked, ReleaseVersion,
};
pub use rewards::{
    BudgetChanged, ClaimKey, Epoch, EpochClosed, EpochKey, EpochRoot, EpochVoided, Leaf,
    RewardPaid, RootPublished, Vault, VaultCreated, VaultFunded,
};
pub use staking::{
    Restaked, Slashed, Span, StakeKey, StakeRecord, Staked, ToppedUp, UnstakeCancelled,
    UnstakeRequested, Withdrawn,
};

/// The module that holds pools.
pub const POOL: &str = "pool";

/// The module that holds treasuries.
pub const TREASURY: &str = "treasury";

/// The module that holds stakes.
pub const STAKING: &str = "staking";

/// The module that holds seal tokens and the directory of masters.
pub const GATEWAY: &str = "k8s_gateway";

/// The module that holds the keys of masters.
pub const ENCLAVE: &str = "enclave";

/// The module that holds the measurements of releases.
pub const RELEASES: &str = "releases";

/// The module that holds the lists of capabilities.
pub const AUTHORITY: &str = "authority";

/// The module that slashes by evidence.
pub const SLASHING: &str = "slashing";

/// The module that keeps what verdicts have counted.
pub const EVIDENCE: &str = "evidence";

/// The module that holds vaults of rewards and their epochs.
pub const REWARDS: &str = "rewards";

/// The module in which a record's beneficiary changes.
pub const BENEFICIARY: &str = "beneficiary";

/// The module in which a node's maintenance is announced.
pub const MAINTENANCE: &str = "maintenance";

/// The module in which a pool's administrator sets its rules.
pub const ADMINISTRATION: &str = "administration";

/// The version that shared objects begin with. The package may raise it when it is upgraded; the
/// layout of a struct can't change in an upgrade (Sui, "Upgrading packages"), so that objects of
/// later versions are read as well.
pub const VERSION: u64 = 1;

/// The whole of a stake, in basis points.
pub const WHOLE_BASIS_POINTS: u64 = 10_000;

/// The length of a digest that stands for the evidence of a slash.
pub const EVIDENCE_LENGTH: usize = 32;

/// The chain's clock, a shared object that has been there since genesis (Sui framework,
/// `clock.move`): id `0x6`, initial version 1.
pub const CLOCK: Address = Address::from_static("0x6");

/// Values of [`StakeRecord::status`].
pub mod status {
    /// The stake stands.
    pub const ACTIVE: u8 = 0;
    /// It was asked back.
    pub const UNBONDING: u8 = 1;
    /// All of it was taken.
    pub const SLASHED: u8 = 2;
    /// It was paid back.
    pub const WITHDRAWN: u8 = 3;
}

/// A Move type of which this module mirrors the bytes.
pub trait MoveType {
    /// The module that declares it.
    const MODULE: &'static str;
    /// Its name there.
    const NAME: &'static str;

    /// The type's full name in a package.
    fn tag(package: Address) -> StructTag {
        StructTag::new(
            package,
            Identifier::from_static(Self::MODULE),
            Identifier::from_static(Self::NAME),
            Vec::new(),
        )
    }
}

macro_rules! move_type {
    ($module:expr => $($name:ident),+) => {
        $(impl MoveType for $name {
            const MODULE: &'static str = $module;
            const NAME: &'static str = stringify!($name);
        })+
    };
}

move_type!(POOL => Pool, AdminCap, SlasherCap, PoolCreated, PoolOpened);
move_type!(TREASURY => Treasury);
move_type!(STAKING => StakeRecord, StakeKey, Staked, Restaked, ToppedUp, Slashed, UnstakeRequested, UnstakeCancelled, Withdrawn);
move_type!(GATEWAY => SealToken, SealTokenIssued, SealTokenBurnt, MasterDirectory, MasterInfo,
    DirectoryCreated, MasterListed, MasterRemoved);
move_type!(ENCLAVE => EnclaveConfig, Enclave, EnclaveKey, RegistrarCap, EnclaveConfigChanged,
    EnclaveRegistered, EnclaveRetired);
move_type!(RELEASES => ReleaseRegistry, ReleaseVersion, Release, Image, PhasePcr,
    ApprovedKey, LaunchMeasurement, MeasurementKey, ReleaseCap,
    RegistryCreated, ReleaseApproved, ReleaseRevoked, ReleaseRemoved, MinimumReleaseChanged,
    MinimumReleaseLowered);
move_type!(AUTHORITY => ListKey, CapabilityIssued, CapabilityRevoked);
move_type!(SLASHING => Verdict, DayKey);
move_type!(EVIDENCE => EvidenceKey, NonceKey, SlashedKey);
move_type!(REWARDS => Vault, Epoch, EpochKey, ClaimKey, EpochRoot, Leaf, VaultCreated, VaultFunded,
    BudgetChanged, RootPublished, EpochVoided, RewardPaid, EpochClosed);
move_type!("clock" => Clock);

/// Where the record of a node key is: `derived_object::derive_address(pool, StakeKey(node_key))`.
/// One key has one record in a pool, for ever.
pub fn record_id(package: Address, pool: Address, node_key: &[u8]) -> Address {
    let tag = TypeTag::Struct(Box::new(StakeKey::tag(package)));
    // a newtype around bytes: writing it can't fail
    let key = bcs::to_bytes(&StakeKey(node_key.to_vec())).unwrap_or_default();
    pool.derive_object_id(&tag, &key)
}

/// Where the enclave of a key is: `derived_object::derive_address(config, EnclaveKey(public_key))`.
/// One key has one enclave in a configuration, for ever.
pub fn enclave_id(package: Address, config: Address, public_key: &[u8]) -> Address {
    let tag = TypeTag::Struct(Box::new(EnclaveKey::tag(package)));
    // a newtype around bytes: writing it can't fail
    let key = bcs::to_bytes(&EnclaveKey(public_key.to_vec())).unwrap_or_default();
    config.derive_object_id(&tag, &key)
}

/// Where a vault's epoch of a number is: `derived_object::derive_address(vault, EpochKey(number))`.
pub fn epoch_id(package: Address, vault: Address, number: u64) -> Address {
    let tag = TypeTag::Struct(Box::new(EpochKey::tag(package)));
    // a newtype around a number: writing it can't fail
    let key = bcs::to_bytes(&EpochKey(number)).unwrap_or_default();
    vault.derive_object_id(&tag, &key)
}

/// Where an object keeps from when on a capability counts: the dynamic field `ListKey(capability)`.
pub fn list_id(package: Address, object: Address, capability: Address) -> Address {
    let tag = TypeTag::Struct(Box::new(ListKey::tag(package)));
    // a newtype around 32 bytes: writing it can't fail
    let key = bcs::to_bytes(&ListKey(capability)).unwrap_or_default();
    object.derive_dynamic_child_id(&tag, &key)
}

/// The type of such an entry: `0x2::dynamic_field::Field<authority::ListKey, u64>`.
pub fn list_tag(package: Address) -> StructTag {
    field_tag(
        TypeTag::Struct(Box::new(ListKey::tag(package))),
        TypeTag::U64,
    )
}

/// `0x2::dynamic_field::Field<Name, Value>`.
pub fn field_tag(name: TypeTag, value: TypeTag) -> StructTag {
    StructTag::new(
        Address::TWO,
        Identifier::from_static("dynamic_field"),
        Identifier::from_static("Field"),
        vec![name, value],
    )
}

#[cfg(test)]
mod tests;
