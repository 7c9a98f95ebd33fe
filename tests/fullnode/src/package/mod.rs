//! The functions of the package `k3s_daas`, as its Move sources define them: the same checks in
//! the same order. Left out are documents of AWS Nitro, which nothing here can read, and migrations.

mod administration;
mod authority;
mod directory;
mod enclave;
mod gateway;
mod maintenance;
mod releases;
mod rewards;
mod slashing;
mod staking;
mod statement;
mod table;
#[cfg(test)]
mod traces;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use chain::abi::abort::Abort;
use chain::abi::{
    self, AdminCap, Clock, Enclave, EnclaveConfig, Epoch, Field, Image, LaunchMeasurement,
    MasterDirectory, MoveType, PhasePcr, Pool, RegistrarCap, ReleaseCap, ReleaseRegistry,
    ReleaseVersion, SealToken, SlasherCap, StakeRecord, Treasury, Vault,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sui_sdk_types::{Address, StructTag, TypeTag};

use crate::execution::{Arg, Scope, Stop, Value};

/// A type that arguments can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Pool,
    Treasury,
    StakeRecord,
    SealToken,
    AdminCap,
    SlasherCap,
    MasterDirectory,
    EnclaveConfig,
    Enclave,
    RegistrarCap,
    ReleaseRegistry,
    ReleaseCap,
    ReleaseVersion,
    Image,
    PhasePcr,
    LaunchMeasurement,
    Vault,
    Epoch,
    Sui,
    Clock,
}

impl Kind {
    /// Its full name.
    pub(crate) fn tag(self, package: Address) -> StructTag {
        match self {
            Self::Pool => Pool::tag(package),
            Self::Treasury => Treasury::tag(package),
            Self::StakeRecord => StakeRecord::tag(package),
            Self::SealToken => SealToken::tag(package),
            Self::AdminCap => AdminCap::tag(package),
            Self::SlasherCap => SlasherCap::tag(package),
            Self::MasterDirectory => MasterDirectory::tag(package),
            Self::EnclaveConfig => EnclaveConfig::tag(package),
            Self::Enclave => Enclave::tag(package),
            Self::RegistrarCap => RegistrarCap::tag(package),
            Self::ReleaseRegistry => ReleaseRegistry::tag(package),
            Self::ReleaseCap => ReleaseCap::tag(package),
            Self::ReleaseVersion => ReleaseVersion::tag(package),
            Self::Image => Image::tag(package),
            Self::PhasePcr => PhasePcr::tag(package),
            Self::LaunchMeasurement => LaunchMeasurement::tag(package),
            Self::Vault => Vault::tag(package),
            Self::Epoch => Epoch::tag(package),
            Self::Sui => StructTag::gas_coin(),
            Self::Clock => Clock::tag(Address::TWO),
        }
    }
}

/// A parameter of a function. `TxContext` does not count: callers do not pass it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Parameter {
    /// `&T`
    Read(Kind),
    /// `&mut T`
    Write(Kind),
    /// `T`
    Take(Kind),
    /// `vector<T>`
    Vector(Kind),
    Bool,
    U8,
    U16,
    U32,
    U64,
    /// `String`
    Text,
    /// `vector<String>`
    Texts,
    /// `vector<u8>`
    Bytes,
    /// `address` or `ID`
    Address,
}

/// A function that can be called.
pub(crate) struct Function {
    module: &'static str,
    pub(crate) name: &'static str,
    pub(crate) parameters: &'static [Parameter],
    pub(crate) body: fn(&mut Scope<'_, '_>, &mut [Arg]) -> Result<(), Stop>,
}

/// All functions that can be called.
fn functions() -> impl Iterator<Item = &'static Function> {
    table::FUNCTIONS.iter().chain(rewards::FUNCTIONS)
}

/// A function.
pub(crate) fn find(module: &str, name: &str) -> Option<&'static Function> {
    functions().find(|function| function.module == module && function.name == name)
}

/// What the compiled modules say of aborts (`move/goldens.json`).
#[derive(Deserialize)]
struct Compiled {
    aborts: Vec<Raised>,
    /// Each module's functions, in the order of the bytecode.
    functions: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
struct Raised {
    module: String,
    code: u8,
    functions: Vec<String>,
}

/// The function that raises an abort, and its place in its module's bytecode. Of several, the one that
/// was called, or the first.
pub(crate) fn raised_by(abort: &Abort, called: &Function) -> Option<(u16, &'static str)> {
    static COMPILED: LazyLock<Option<Compiled>> =
        LazyLock::new(|| serde_json::from_str(include_str!("../../../../move/goldens.json")).ok());
    let compiled = COMPILED.as_ref()?;
    let mut aborts = compiled.aborts.iter();
    let raised = aborts.find(|one| one.module == abort.module && one.code == abort.code)?;
    let mut raising = raised.functions.iter();
    let name = raising
        .find(|name| called.module == abort.module && called.name == name.as_str())
        .or(raised.functions.first())?;
    let order = compiled.functions.get(abort.module)?;
    let index = order.iter().position(|one| one == name)?;
    Some((u16::try_from(index).ok()?, name))
}

/// The abort code of an `#[error(code = N)]` constant as the Move compiler writes it: version
/// 0b1100 in the top four bits, then the code (8 bits), line, identifier and constant (16 bits
/// each; all ones: not known).
pub(crate) fn code(abort: &Abort) -> u64 {
    const VERSION: u64 = 0b1100 << 60;
    const UNKNOWN_PLACE: u64 = 0xffff_ffff_ffff;
    VERSION | u64::from(abort.code) << 48 | UNKNOWN_PLACE
}

fn require(condition: bool, abort: &'static Abort) -> Result<(), Stop> {
    if condition {
        Ok(())
    } else {
        Err(Stop::Abort(abort))
    }
}

fn object(arguments: &mut [Arg], index: usize) -> Result<&mut Value, Stop> {
    match arguments.get_mut(index) {
        Some(Arg::Object(value)) => Ok(value),
        _ => Err(Stop::Broken(format!("argument {index} is no object"))),
    }
}

fn wrong(index: usize) -> Stop {
    Stop::Broken(format!(
        "argument {index} is of another type than its parameter"
    ))
}

/// `pool.assert_own(record)`: both are of this code's version, and belong together.
fn assert_own(pool: &Pool, record: &StakeRecord) -> Result<(), Stop> {
    assert_version(pool)?;
    require(record.version == abi::VERSION, &Abort::WRONG_VERSION)?;
    require(record.pool == pool.id, &Abort::WRONG_POOL)
}

fn assert_version(pool: &Pool) -> Result<(), Stop> {
    require(pool.version == abi::VERSION, &Abort::POOL_WRONG_VERSION)
}

/// `version::assert_current(object.version)`.
fn assert_current(version: u64) -> Result<(), Stop> {
    require(version == abi::VERSION, &Abort::VERSION_WRONG_VERSION)
}

/// `pool.assert_admin(cap)`: the pool is of this code's version, and the capability is its own.
fn assert_admin(pool: &Pool, cap: &AdminCap) -> Result<(), Stop> {
    assert_version(pool)?;
    require(cap.pool == pool.id, &Abort::POOL_WRONG_POOL)
}

/// `treasury.assert_own(pool)`.
fn assert_treasury(treasury: &Treasury, pool: Address) -> Result<(), Stop> {
    assert_current(treasury.version)?;
    require(treasury.pool == pool, &Abort::TREASURY_WRONG_POOL)
}

/// `record.assert_owner(clock, ctx)`: the sender is the staker or the beneficiary.
fn assert_owner(scope: &Scope<'_, '_>, record: &StakeRecord, clock: &Clock) -> Result<(), Stop> {
    let sender = scope.sender();
    let owns = record.staker == sender || record.beneficiary.at(clock.timestamp_ms) == sender;
    require(owns, &Abort::NOT_OWNER)
}

/// `evidence::today(clock)`: the day (UTC) since the Unix epoch.
fn today(clock: &Clock) -> u64 {
    const DAY_MS: u64 = 24 * 60 * 60 * 1000;
    clock.timestamp_ms / DAY_MS
}

/// Where an object keeps a dynamic field under a key of one of the package's types, and its type.
fn field_of<K: MoveType + Serialize>(
    scope: &Scope<'_, '_>,
    object: Address,
    key: &K,
    value: TypeTag,
) -> Result<(Address, StructTag), Stop> {
    let name = TypeTag::Struct(Box::new(K::tag(scope.package())));
    let bytes = bcs::to_bytes(key).map_err(|error| Stop::Broken(error.to_string()))?;
    let id = object.derive_dynamic_child_id(&name, &bytes);
    Ok((id, abi::field_tag(name, value)))
}

/// `dynamic_field::borrow`, where the object has the field.
fn field<K, V>(
    scope: &Scope<'_, '_>,
    object: Address,
    key: &K,
    value: TypeTag,
) -> Result<Option<V>, Stop>
where
    K: MoveType + Serialize + DeserializeOwned,
    V: DeserializeOwned,
{
    let (id, _) = field_of(scope, object, key, value)?;
    let Some(entry) = scope.child(id) else {
        return Ok(None);
    };
    let entry: Field<K, V> = entry.read()?;
    Ok(Some(entry.value))
}

/// `dynamic_field::add`, or a change of what is there.
fn set_field<K: MoveType + Serialize + Clone, V: Serialize>(
    scope: &mut Scope<'_, '_>,
    object: Address,
    key: &K,
    tag: TypeTag,
    value: V,
) -> Result<(), Stop> {
    let (id, tag) = field_of(scope, object, key, tag)?;
    let entry = Field {
        id,
        name: key.clone(),
        value,
    };
    let value = Value::new(tag, false, &entry)?;
    scope.add_child(object, value);
    Ok(())
}

fn emit<T: MoveType + Serialize>(scope: &mut Scope<'_, '_>, event: &T) -> Result<(), Stop> {
    let contents = bcs::to_bytes(event).map_err(|error| Stop::Broken(error.to_string()))?;
    let tag = T::tag(scope.package());
    scope.made.events.push((tag, contents));
    Ok(())
}
