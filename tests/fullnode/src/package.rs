//! The functions of the package `k3s_daas`, as its Move sources define them.

use chain::abi::abort::Abort;
use chain::abi::{
    self, Clock, Coin, MoveType, Pool, SealToken, SlasherCap, StakeRecord, function, status,
};
use sui_sdk_types::{Address, SignatureScheme, StructTag};

use crate::execution::{Arg, Place, Scope, Stop, Value};

/// Most bytes of a node id: those of a DNS label.
const LONGEST_NODE_ID: usize = 63;

/// A seal token holds until its stake ends.
const NEVER: u64 = u64::MAX;

/// A type that arguments can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Pool,
    StakeRecord,
    SealToken,
    SlasherCap,
    Sui,
    Clock,
}

impl Kind {
    /// Its full name.
    pub(crate) fn tag(self, package: Address) -> StructTag {
        match self {
            Self::Pool => Pool::tag(package),
            Self::StakeRecord => StakeRecord::tag(package),
            Self::SealToken => SealToken::tag(package),
            Self::SlasherCap => SlasherCap::tag(package),
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
    U16,
    U64,
    /// `String`
    Text,
    /// `vector<u8>`
    Bytes,
}

/// A function that can be called.
pub(crate) struct Function {
    module: &'static str,
    pub(crate) name: &'static str,
    pub(crate) parameters: &'static [Parameter],
    pub(crate) body: fn(&mut Scope<'_>, &mut [Arg]) -> Result<(), Stop>,
}

use Parameter::{Bytes, Read, Take, Text, U16, U64, Write};

static FUNCTIONS: [Function; 6] = [
    Function {
        module: abi::STAKING,
        name: function::STAKE_FOR_NODE,
        parameters: &[
            Read(Kind::Pool),
            Text,
            Bytes,
            Take(Kind::Sui),
            Read(Kind::Clock),
        ],
        body: stake_for_node,
    },
    Function {
        module: abi::STAKING,
        name: function::SHARE_STAKE,
        parameters: &[Take(Kind::StakeRecord)],
        body: share_stake,
    },
    Function {
        module: abi::STAKING,
        name: function::SLASH_STAKE,
        parameters: &[
            Write(Kind::Pool),
            Read(Kind::SlasherCap),
            Write(Kind::StakeRecord),
            U64,
            U16,
            Read(Kind::Clock),
        ],
        body: slash_stake,
    },
    Function {
        module: abi::STAKING,
        name: function::WITHDRAW_STAKE,
        parameters: &[
            Read(Kind::Pool),
            Write(Kind::StakeRecord),
            Read(Kind::Clock),
        ],
        body: withdraw_stake,
    },
    Function {
        module: abi::GATEWAY,
        name: function::CREATE_WORKER_SEAL_TOKEN,
        parameters: &[Read(Kind::StakeRecord), Read(Kind::Clock)],
        body: create_worker_seal_token,
    },
    Function {
        module: abi::GATEWAY,
        name: function::REQUEST_UNSTAKE,
        parameters: &[
            Read(Kind::Pool),
            Write(Kind::StakeRecord),
            Take(Kind::SealToken),
            Read(Kind::Clock),
        ],
        body: request_unstake,
    },
];

/// A function, and its place in its module.
pub(crate) fn find(module: &str, name: &str) -> Option<(u16, &'static Function)> {
    (0u16..)
        .zip(
            FUNCTIONS
                .iter()
                .filter(|function| function.module == module),
        )
        .find(|(_, function)| function.name == name)
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

fn pool(arguments: &mut [Arg], index: usize) -> Result<Pool, Stop> {
    let pool: Pool = object(arguments, index)?.read()?;
    require(pool.version == abi::VERSION, &Abort::WRONG_VERSION)?;
    Ok(pool)
}

fn record(arguments: &mut [Arg], index: usize) -> Result<StakeRecord, Stop> {
    let record: StakeRecord = object(arguments, index)?.read()?;
    require(record.version == abi::VERSION, &Abort::WRONG_VERSION)?;
    Ok(record)
}

fn emit<T: MoveType + serde::Serialize>(scope: &mut Scope<'_>, event: &T) -> Result<(), Stop> {
    let contents = bcs::to_bytes(event).map_err(|error| Stop::Broken(error.to_string()))?;
    let tag = T::tag(scope.package());
    scope.made.events.push((tag, contents));
    Ok(())
}

fn key_is_valid(node_key: &[u8]) -> bool {
    match node_key.split_first() {
        Some((&flag, key)) if flag == SignatureScheme::Ed25519.to_u8() => key.len() == 32,
        Some((&flag, key)) if flag == SignatureScheme::Secp256r1.to_u8() => key.len() == 33,
        _ => false,
    }
}

fn stake_for_node(scope: &mut Scope<'_>, arguments: &mut [Arg]) -> Result<(), Stop> {
    let pool = pool(arguments, 0)?;
    let coin: Coin = object(arguments, 3)?.read()?;
    let clock: Clock = object(arguments, 4)?.read()?;
    let [_, Arg::Text(node_id), Arg::Bytes(node_key), ..] = arguments else {
        return Err(wrong(1));
    };
    require(
        (1..=LONGEST_NODE_ID).contains(&node_id.len()),
        &Abort::INVALID_NODE_ID,
    )?;
    require(key_is_valid(node_key), &Abort::INVALID_NODE_KEY)?;
    require(
        coin.balance >= pool.minimum_stake,
        &Abort::BELOW_MINIMUM_STAKE,
    )?;
    let record = StakeRecord {
        id: scope.new_id(),
        version: abi::VERSION,
        pool: pool.id,
        staker: scope.sender(),
        node_id: node_id.clone(),
        node_key: node_key.clone(),
        balance: coin.balance,
        status: status::ACTIVE,
        staked_at_ms: clock.timestamp_ms,
        unbonding_until_ms: None,
    };
    emit(
        scope,
        &abi::Staked {
            pool: pool.id,
            record: record.id,
            staker: record.staker,
            node_id: record.node_id.clone(),
            amount: record.balance,
        },
    )?;
    let tag = StakeRecord::tag(scope.package());
    scope.made.returned.push(Value::new(tag, false, &record)?);
    Ok(())
}

fn share_stake(scope: &mut Scope<'_>, arguments: &mut [Arg]) -> Result<(), Stop> {
    let record = object(arguments, 0)?.clone();
    scope.made.placed.push((record, Place::Shared));
    Ok(())
}

fn create_worker_seal_token(scope: &mut Scope<'_>, arguments: &mut [Arg]) -> Result<(), Stop> {
    let record = record(arguments, 0)?;
    let clock: Clock = object(arguments, 1)?.read()?;
    let sender = scope.sender();
    require(record.staker == sender, &Abort::NOT_STAKER)?;
    require(record.status == status::ACTIVE, &Abort::RECORD_NOT_ACTIVE)?;
    let token = SealToken {
        id: scope.new_id(),
        record: record.id,
        node_key: record.node_key,
        issued_at_ms: clock.timestamp_ms,
        expires_at_ms: NEVER,
    };
    let value = Value::new(SealToken::tag(scope.package()), false, &token)?;
    scope.made.placed.push((value, Place::Account(sender)));
    Ok(())
}

fn slash_stake(scope: &mut Scope<'_>, arguments: &mut [Arg]) -> Result<(), Stop> {
    let mut pool = pool(arguments, 0)?;
    let cap: SlasherCap = object(arguments, 1)?.read()?;
    let mut record = record(arguments, 2)?;
    let [_, _, _, Arg::U64(basis_points), Arg::U16(reason), _] = *arguments else {
        return Err(wrong(3));
    };
    require(
        cap.pool == pool.id && record.pool == pool.id,
        &Abort::WRONG_POOL,
    )?;
    require(
        (1..=abi::WHOLE_BASIS_POINTS).contains(&basis_points),
        &Abort::INVALID_BASIS_POINTS,
    )?;
    require(
        matches!(record.status, status::ACTIVE | status::UNBONDING),
        &Abort::SETTLED,
    )?;
    let share =
        u128::from(record.balance) * u128::from(basis_points) / u128::from(abi::WHOLE_BASIS_POINTS);
    let amount = u64::try_from(share).map_err(|error| Stop::Broken(error.to_string()))?;
    record.balance -= amount;
    pool.treasury += amount;
    if record.balance == 0 {
        record.status = status::SLASHED;
        record.unbonding_until_ms = None;
    }
    object(arguments, 0)?.write(&pool)?;
    object(arguments, 2)?.write(&record)?;
    emit(
        scope,
        &abi::Slashed {
            pool: pool.id,
            record: record.id,
            amount,
            remaining: record.balance,
            reason,
        },
    )
}

fn request_unstake(scope: &mut Scope<'_>, arguments: &mut [Arg]) -> Result<(), Stop> {
    let pool = pool(arguments, 0)?;
    let mut record = record(arguments, 1)?;
    let token: SealToken = object(arguments, 2)?.read()?;
    let clock: Clock = object(arguments, 3)?.read()?;
    require(record.pool == pool.id, &Abort::WRONG_POOL)?;
    require(token.record == record.id, &Abort::WRONG_RECORD)?;
    require(record.status == status::ACTIVE, &Abort::NOT_ACTIVE)?;
    let until_ms = clock.timestamp_ms.saturating_add(pool.unbonding_ms);
    record.status = status::UNBONDING;
    record.unbonding_until_ms = Some(until_ms);
    object(arguments, 1)?.write(&record)?;
    emit(
        scope,
        &abi::UnstakeRequested {
            record: record.id,
            until_ms,
        },
    )
}

fn withdraw_stake(scope: &mut Scope<'_>, arguments: &mut [Arg]) -> Result<(), Stop> {
    let pool = pool(arguments, 0)?;
    let mut record = record(arguments, 1)?;
    let clock: Clock = object(arguments, 2)?.read()?;
    require(record.pool == pool.id, &Abort::WRONG_POOL)?;
    require(record.staker == scope.sender(), &Abort::NOT_OWNER)?;
    require(
        !matches!(record.status, status::SLASHED | status::WITHDRAWN),
        &Abort::SETTLED,
    )?;
    let Some(until_ms) = record.unbonding_until_ms else {
        return Err(Stop::Abort(&Abort::NOT_UNBONDING));
    };
    require(clock.timestamp_ms >= until_ms, &Abort::STILL_LOCKED)?;
    let amount = std::mem::take(&mut record.balance);
    record.status = status::WITHDRAWN;
    record.unbonding_until_ms = None;
    object(arguments, 1)?.write(&record)?;
    emit(
        scope,
        &abi::Withdrawn {
            record: record.id,
            amount,
        },
    )?;
    let coin = Coin {
        id: scope.new_id(),
        balance: amount,
    };
    scope
        .made
        .returned
        .push(Value::new(StructTag::gas_coin(), true, &coin)?);
    Ok(())
}
