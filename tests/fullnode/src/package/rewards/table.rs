//! The functions of `rewards` that can be called, with their parameters.

use chain::abi::{self, function};

use crate::package::Parameter::{Bytes, Read, Take, U64, Write};
use crate::package::{Function, Kind};

/// In the order in which the module declares them.
pub(in crate::package) static FUNCTIONS: &[Function] = &[
    Function {
        module: abi::REWARDS,
        name: function::NEW_VAULT,
        parameters: &[
            Read(Kind::Pool),
            Read(Kind::AdminCap),
            U64,
            U64,
            U64,
            U64,
            Read(Kind::Clock),
        ],
        body: super::new_vault,
    },
    Function {
        module: abi::REWARDS,
        name: function::FUND,
        parameters: &[Write(Kind::Vault), Take(Kind::Sui)],
        body: super::fund,
    },
    Function {
        module: abi::REWARDS,
        name: function::SET_BUDGET,
        parameters: &[
            Write(Kind::Vault),
            Read(Kind::Pool),
            Read(Kind::AdminCap),
            U64,
            Read(Kind::Clock),
        ],
        body: super::set_budget,
    },
    Function {
        module: abi::REWARDS,
        name: function::PUBLISH_ROOT,
        parameters: &[
            Write(Kind::Vault),
            Read(Kind::EnclaveConfig),
            Read(Kind::Enclave),
            U64,
            Bytes,
            U64,
            U64,
            U64,
            U64,
            Bytes,
            Read(Kind::Clock),
        ],
        body: super::publish_root,
    },
    Function {
        module: abi::REWARDS,
        name: function::OBJECT_WITH_ROOT,
        parameters: &[
            Write(Kind::Vault),
            Write(Kind::Epoch),
            Read(Kind::EnclaveConfig),
            Read(Kind::Enclave),
            Bytes,
            U64,
            U64,
            U64,
            U64,
            Bytes,
            Read(Kind::Clock),
        ],
        body: super::object_with_root,
    },
    Function {
        module: abi::REWARDS,
        name: function::OBJECT_BY_ADMIN,
        parameters: &[
            Write(Kind::Vault),
            Write(Kind::Epoch),
            Read(Kind::Pool),
            Read(Kind::AdminCap),
            Read(Kind::Clock),
        ],
        body: super::object_by_admin,
    },
    Function {
        module: abi::REWARDS,
        name: function::CLAIM,
        parameters: &[
            Write(Kind::Epoch),
            Read(Kind::Pool),
            Read(Kind::StakeRecord),
            U64,
            U64,
            Bytes,
            Read(Kind::Clock),
        ],
        body: super::claim,
    },
    Function {
        module: abi::REWARDS,
        name: function::CLOSE,
        parameters: &[Write(Kind::Vault), Write(Kind::Epoch), Read(Kind::Clock)],
        body: super::close,
    },
];
