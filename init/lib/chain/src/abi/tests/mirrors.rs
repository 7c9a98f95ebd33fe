//! Types of the package that only its goldens are about: nothing here reads them yet.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sui_sdk_types::Address;

macro_rules! mirrors {
    ($($name:ident { $($field:ident: $type:ty),* $(,)? })+) => {
        $(
            #[derive(Debug, Serialize, Deserialize)]
            struct $name { $($field: $type),* }
        )+
    };
}

mirrors! {
    NameReleased { pool: Address, record: Address, node_id: String }
    RulesChanged { pool: Address, minimum_stake: u64, unbonding_ms: u64, seal_token_ms: u64, reporter_basis_points: u64 }
    TreasuryWithdrawn { pool: Address, amount: u64, remaining: u64 }
    StakeProof { domain: Vec<u8>, pool: Address, staker: Address, node_id: String, node_key: Vec<u8> }
    Migrated { object: Address, from: u64, to: u64 }
}

/// Checks a golden of one of these types; `false` where it is of none.
pub(super) fn hold(golden: &Value, name: &str) -> bool {
    let holds: fn(&Value) = match name {
        "administration::NameReleased" => super::holds::<NameReleased>,
        "administration::RulesChanged" => super::holds::<RulesChanged>,
        "administration::TreasuryWithdrawn" => super::holds::<TreasuryWithdrawn>,
        "delegation::StakeProof" => super::holds::<StakeProof>,
        "enclave::IntentMessage" => super::holds::<super::IntentMessage<super::Verdict>>,
        "version::Migrated" => super::holds::<Migrated>,
        _ => return false,
    };
    holds(golden);
    true
}
