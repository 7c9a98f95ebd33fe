//! What the Move package `k3s_daas` keeps on the chain, mirrored byte for byte.
//!
//! BCS writes the fields of a struct one after another in the order of their declaration in
//! Move: integers little-endian, a `UID`, an `ID` and an `address` as 32 raw bytes, a
//! `Balance<T>` as its `u64`, a `Table` as its id and its size, a `String` and a `vector<u8>` as a
//! ULEB128 length and the bytes, an `Option<T>` as a vector of none or one
//! (<https://github.com/diem/bcs>). The tests hold the bytes of one value of each type; the Move
//! package's tests hold the same.

pub mod abort;

mod framework;
mod gateway;
mod staking;

use sui_sdk_types::{Address, Identifier, StructTag, TypeTag};

pub use framework::{Clock, Coin, Field};
pub use gateway::{SealToken, SealTokenBurnt, SealTokenIssued};
pub use staking::{
    AdminCap, Pool, PoolCreated, Restaked, Slashed, SlasherCap, StakeKey, StakeRecord, Staked,
    Table, ToppedUp, UnstakeCancelled, UnstakeRequested, Withdrawn,
};

/// The module that holds pools and stakes.
pub const STAKING: &str = "staking";

/// The module that holds seal tokens.
pub const GATEWAY: &str = "k8s_gateway";

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

/// Functions of the package.
pub mod function {
    /// `staking::stake_for_node(&mut Pool, String, vector<u8>, Coin<SUI>, &Clock, &mut TxContext): StakeRecord`
    pub const STAKE_FOR_NODE: &str = "stake_for_node";
    /// `staking::share_stake(StakeRecord)`
    pub const SHARE_STAKE: &str = "share_stake";
    /// `staking::restake(&mut Pool, &mut StakeRecord, Coin<SUI>, &Clock, &mut TxContext)`
    pub const RESTAKE: &str = "restake";
    /// `staking::top_up(&mut Pool, &mut StakeRecord, Coin<SUI>)`
    pub const TOP_UP: &str = "top_up";
    /// `staking::slash_stake(&mut Pool, &SlasherCap, &mut StakeRecord, u64, u16, vector<u8>, &Clock)`
    pub const SLASH_STAKE: &str = "slash_stake";
    /// `staking::withdraw_stake(&mut Pool, &mut StakeRecord, &Clock, &mut TxContext): Coin<SUI>`
    pub const WITHDRAW_STAKE: &str = "withdraw_stake";
    /// `k8s_gateway::create_worker_seal_token(&Pool, &mut StakeRecord, &Clock, &mut TxContext)`
    pub const CREATE_WORKER_SEAL_TOKEN: &str = "create_worker_seal_token";
    /// `k8s_gateway::renew_worker_seal_token(&Pool, &mut StakeRecord, SealToken, &Clock, &mut TxContext)`
    pub const RENEW_WORKER_SEAL_TOKEN: &str = "renew_worker_seal_token";
    /// `k8s_gateway::request_unstake(&mut Pool, &mut StakeRecord, SealToken, &Clock, &mut TxContext)`.
    /// It stands in this module because it burns the token, and Move forbids that two modules use
    /// each other.
    pub const REQUEST_UNSTAKE: &str = "request_unstake";
    /// `k8s_gateway::request_unstake_without_token(&mut Pool, &mut StakeRecord, &Clock, &mut TxContext)`
    pub const REQUEST_UNSTAKE_WITHOUT_TOKEN: &str = "request_unstake_without_token";
    /// `k8s_gateway::cancel_unstake(&Pool, &mut StakeRecord, &Clock, &mut TxContext)`
    pub const CANCEL_UNSTAKE: &str = "cancel_unstake";
    /// `k8s_gateway::burn_seal_token(SealToken)`
    pub const BURN_SEAL_TOKEN: &str = "burn_seal_token";
}

/// Values of [`StakeRecord::status`].
pub mod status {
    /// The stake stands.
    pub const ACTIVE: u8 = 0;
    /// Its owner asked for it back.
    pub const UNBONDING: u8 = 1;
    /// All of it was taken.
    pub const SLASHED: u8 = 2;
    /// Its owner took it back.
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

move_type!(STAKING => Pool, StakeRecord, StakeKey, AdminCap, SlasherCap, PoolCreated,
    Staked, Restaked,
    ToppedUp, Slashed, UnstakeRequested, UnstakeCancelled, Withdrawn);
move_type!(GATEWAY => SealToken, SealTokenIssued, SealTokenBurnt);
move_type!("clock" => Clock);

/// Where the record of a node key is: `derived_object::derive_address(pool, StakeKey(node_key))`.
/// One key has one record in a pool, for ever.
pub fn record_id(package: Address, pool: Address, node_key: &[u8]) -> Address {
    let tag = TypeTag::Struct(Box::new(StakeKey::tag(package)));
    // a newtype around bytes: writing it can't fail
    let key = bcs::to_bytes(&StakeKey(node_key.to_vec())).unwrap_or_default();
    pool.derive_object_id(&tag, &key)
}

/// Where the pool keeps the entry of a name: the dynamic field of the table `names` under it.
pub fn name_id(names: &Table, node_id: &str) -> Address {
    // a string: writing it can't fail
    let key = bcs::to_bytes(node_id).unwrap_or_default();
    names.id.derive_dynamic_child_id(&string_tag(), &key)
}

/// The type of a name's entry: `0x2::dynamic_field::Field<0x1::string::String, 0x2::object::ID>`.
pub fn name_tag() -> StructTag {
    let id = StructTag::new(
        Address::TWO,
        Identifier::from_static("object"),
        Identifier::from_static("ID"),
        Vec::new(),
    );
    StructTag::new(
        Address::TWO,
        Identifier::from_static("dynamic_field"),
        Identifier::from_static("Field"),
        vec![string_tag(), TypeTag::Struct(Box::new(id))],
    )
}

fn string_tag() -> TypeTag {
    TypeTag::Struct(Box::new(StructTag::new(
        Address::from_static("0x1"),
        Identifier::from_static("string"),
        Identifier::from_static("String"),
        Vec::new(),
    )))
}

#[cfg(test)]
mod tests;
