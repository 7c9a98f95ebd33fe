//! The functions that can be called, with their parameters.

use chain::abi::{self, function};

use super::Parameter::{Address, Bytes, Read, Take, Text, U8, U16, U32, U64, Vector, Write};
use super::{Function, Kind, authority, directory, enclave, gateway, releases, staking};

/// In the order in which their modules declare them.
pub(super) static FUNCTIONS: &[Function] = &[
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
    Function {
        module: abi::GATEWAY,
        name: function::LIST_MASTER,
        parameters: &[
            Write(Kind::MasterDirectory),
            Read(Kind::Pool),
            Read(Kind::AdminCap),
            Read(Kind::EnclaveConfig),
            Read(Kind::Enclave),
            Text,
        ],
        body: directory::list_master,
    },
    Function {
        module: abi::GATEWAY,
        name: function::REMOVE_MASTER,
        parameters: &[
            Write(Kind::MasterDirectory),
            Read(Kind::Pool),
            Read(Kind::AdminCap),
            Address,
        ],
        body: directory::remove_master,
    },
    Function {
        module: abi::GATEWAY,
        name: function::REMOVE_RETIRED_MASTER,
        parameters: &[
            Write(Kind::MasterDirectory),
            Read(Kind::EnclaveConfig),
            Read(Kind::Enclave),
        ],
        body: directory::remove_retired_master,
    },
    Function {
        module: abi::ENCLAVE,
        name: function::UPDATE_PCRS,
        parameters: &[
            Write(Kind::EnclaveConfig),
            Read(Kind::Pool),
            Read(Kind::AdminCap),
            Bytes,
            Bytes,
            Bytes,
            Read(Kind::Clock),
        ],
        body: enclave::update_pcrs,
    },
    Function {
        module: abi::ENCLAVE,
        name: function::SET_MINIMUM_CONFIG_VERSION,
        parameters: &[
            Write(Kind::EnclaveConfig),
            Read(Kind::Pool),
            Read(Kind::AdminCap),
            U64,
        ],
        body: enclave::set_minimum_config_version,
    },
    Function {
        module: abi::ENCLAVE,
        name: function::RETIRE,
        parameters: &[
            Read(Kind::EnclaveConfig),
            Read(Kind::Pool),
            Read(Kind::AdminCap),
            Write(Kind::Enclave),
        ],
        body: enclave::retire,
    },
    Function {
        module: abi::ENCLAVE,
        name: function::REVOKE_REGISTRAR_CAP,
        parameters: &[
            Write(Kind::EnclaveConfig),
            Read(Kind::Pool),
            Read(Kind::AdminCap),
            Address,
        ],
        body: enclave::revoke_registrar_cap,
    },
    Function {
        module: abi::ENCLAVE,
        name: function::REGISTER_BY_CAPABILITY,
        parameters: &[
            Write(Kind::EnclaveConfig),
            Read(Kind::RegistrarCap),
            Bytes,
            Bytes,
            Read(Kind::Clock),
        ],
        body: enclave::register_by_capability,
    },
    Function {
        module: abi::RELEASES,
        name: function::REVOKE_RELEASE_CAP,
        parameters: &[
            Write(Kind::ReleaseRegistry),
            Read(Kind::Pool),
            Read(Kind::AdminCap),
            Address,
        ],
        body: releases::revoke_release_cap,
    },
    Function {
        module: abi::RELEASES,
        name: function::APPROVE,
        parameters: &[
            Write(Kind::ReleaseRegistry),
            Read(Kind::ReleaseCap),
            Take(Kind::ReleaseVersion),
            Bytes,
            Bytes,
            Vector(Kind::LaunchMeasurement),
            Read(Kind::Clock),
        ],
        body: releases::approve,
    },
    Function {
        module: abi::RELEASES,
        name: function::REVOKE,
        parameters: &[
            Write(Kind::ReleaseRegistry),
            Read(Kind::ReleaseCap),
            Take(Kind::ReleaseVersion),
            Read(Kind::Clock),
        ],
        body: releases::revoke,
    },
    Function {
        module: abi::RELEASES,
        name: function::SET_MINIMUM,
        parameters: &[
            Write(Kind::ReleaseRegistry),
            Read(Kind::ReleaseCap),
            Take(Kind::ReleaseVersion),
        ],
        body: releases::set_minimum,
    },
    Function {
        module: abi::RELEASES,
        name: function::REMOVE,
        parameters: &[
            Write(Kind::ReleaseRegistry),
            Read(Kind::ReleaseCap),
            Take(Kind::ReleaseVersion),
        ],
        body: releases::remove,
    },
    Function {
        module: abi::RELEASES,
        name: function::RELEASE_VERSION,
        parameters: &[U32, U32, U32],
        body: releases::release_version,
    },
    Function {
        module: abi::RELEASES,
        name: function::LAUNCH_MEASUREMENT,
        parameters: &[U8, Bytes],
        body: releases::launch_measurement,
    },
    Function {
        module: abi::ADMINISTRATION,
        name: function::NEW_SLASHER_CAP,
        parameters: &[Write(Kind::Pool), Read(Kind::AdminCap), Read(Kind::Clock)],
        body: authority::new_slasher_cap,
    },
    Function {
        module: abi::ADMINISTRATION,
        name: function::REVOKE_SLASHER_CAP,
        parameters: &[Write(Kind::Pool), Read(Kind::AdminCap), Address],
        body: authority::revoke_slasher_cap,
    },
];
