//! The functions of the package `k3s_daas`, as its Move sources define them: the same checks in
//! the same order. What nobody needs on a devnet is left out: the administrator's functions, the
//! list of slashers' capabilities (the one that there is counts), slashes by evidence.

mod gateway;
mod staking;

use chain::abi::abort::Abort;
use chain::abi::{self, Clock, MoveType, Pool, SealToken, SlasherCap, StakeRecord, function};
use sui_sdk_types::{Address, StructTag};

use crate::execution::{Arg, Scope, Stop, Value};

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
    pub(crate) body: fn(&mut Scope<'_, '_>, &mut [Arg]) -> Result<(), Stop>,
}

use Parameter::{Bytes, Read, Take, Text, U16, U64, Write};

static FUNCTIONS: [Function; 12] = [
    Function {
        module: abi::STAKING,
        name: function::STAKE_FOR_NODE,
        parameters: &[
            Write(Kind::Pool),
            Text,
            Bytes,
            Take(Kind::Sui),
            Read(Kind::Clock),
        ],
        body: staking::stake_for_node,
    },
    Function {
        module: abi::STAKING,
        name: function::SHARE_STAKE,
        parameters: &[Take(Kind::StakeRecord)],
        body: staking::share_stake,
    },
    Function {
        module: abi::STAKING,
        name: function::RESTAKE,
        parameters: &[
            Write(Kind::Pool),
            Write(Kind::StakeRecord),
            Take(Kind::Sui),
            Read(Kind::Clock),
        ],
        body: staking::restake,
    },
    Function {
        module: abi::STAKING,
        name: function::TOP_UP,
        parameters: &[Write(Kind::Pool), Write(Kind::StakeRecord), Take(Kind::Sui)],
        body: staking::top_up,
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
            Bytes,
            Read(Kind::Clock),
        ],
        body: staking::slash_stake,
    },
    Function {
        module: abi::STAKING,
        name: function::WITHDRAW_STAKE,
        parameters: &[
            Write(Kind::Pool),
            Write(Kind::StakeRecord),
            Read(Kind::Clock),
        ],
        body: staking::withdraw_stake,
    },
    Function {
        module: abi::GATEWAY,
        name: function::CREATE_WORKER_SEAL_TOKEN,
        parameters: &[
            Read(Kind::Pool),
            Write(Kind::StakeRecord),
            Read(Kind::Clock),
        ],
        body: gateway::create_worker_seal_token,
    },
    Function {
        module: abi::GATEWAY,
        name: function::RENEW_WORKER_SEAL_TOKEN,
        parameters: &[
            Read(Kind::Pool),
            Write(Kind::StakeRecord),
            Take(Kind::SealToken),
            Read(Kind::Clock),
        ],
        body: gateway::renew_worker_seal_token,
    },
    Function {
        module: abi::GATEWAY,
        name: function::REQUEST_UNSTAKE,
        parameters: &[
            Write(Kind::Pool),
            Write(Kind::StakeRecord),
            Take(Kind::SealToken),
            Read(Kind::Clock),
        ],
        body: gateway::request_unstake,
    },
    Function {
        module: abi::GATEWAY,
        name: function::REQUEST_UNSTAKE_WITHOUT_TOKEN,
        parameters: &[
            Write(Kind::Pool),
            Write(Kind::StakeRecord),
            Read(Kind::Clock),
        ],
        body: gateway::request_unstake_without_token,
    },
    Function {
        module: abi::GATEWAY,
        name: function::CANCEL_UNSTAKE,
        parameters: &[
            Read(Kind::Pool),
            Write(Kind::StakeRecord),
            Read(Kind::Clock),
        ],
        body: gateway::cancel_unstake,
    },
    Function {
        module: abi::GATEWAY,
        name: function::BURN_SEAL_TOKEN,
        parameters: &[Take(Kind::SealToken)],
        body: gateway::burn_seal_token,
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

/// `pool.assert_own(record)`: both are of this code's version, and belong together.
fn assert_own(pool: &Pool, record: &StakeRecord) -> Result<(), Stop> {
    assert_version(pool)?;
    require(record.version == abi::VERSION, &Abort::WRONG_VERSION)?;
    require(record.pool == pool.id, &Abort::WRONG_POOL)
}

fn assert_version(pool: &Pool) -> Result<(), Stop> {
    require(pool.version == abi::VERSION, &Abort::WRONG_VERSION)
}

fn emit<T: MoveType + serde::Serialize>(scope: &mut Scope<'_, '_>, event: &T) -> Result<(), Stop> {
    let contents = bcs::to_bytes(event).map_err(|error| Stop::Broken(error.to_string()))?;
    let tag = T::tag(scope.package());
    scope.made.events.push((tag, contents));
    Ok(())
}
