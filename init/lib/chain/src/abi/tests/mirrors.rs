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
    OffenceChanged { pool: Address, reason: u16, basis_points: u64, daily_cap_basis_points: u64, in_force: bool, from_ms: u64 }
    RulesChanged { pool: Address, minimum_stake: super::Scheduled<u64>, unbonding_ms: super::Scheduled<u64>, seal_token_ms: u64, reporter_basis_points: super::Scheduled<u64> }
    TreasuryWithdrawn { pool: Address, amount: u64, remaining: u64 }
    BeneficiaryChanged { record: Address, beneficiary: Address, from_ms: u64 }
    MaintenanceBegan { record: Address, from_ms: u64, until_ms: u64 }
    MaintenanceEnded { record: Address, at_ms: u64 }
    Migrated { object: Address, from: u64, to: u64 }
}

/// Checks a golden of one of these types; `false` where it is of none.
pub(super) fn hold(golden: &Value, name: &str) -> bool {
    let holds: fn(&Value) = match name {
        "administration::OffenceChanged" => super::holds::<OffenceChanged>,
        "administration::RulesChanged" => super::holds::<RulesChanged>,
        "administration::TreasuryWithdrawn" => super::holds::<TreasuryWithdrawn>,
        "beneficiary::BeneficiaryChanged" => super::holds::<BeneficiaryChanged>,
        "maintenance::MaintenanceBegan" => super::holds::<MaintenanceBegan>,
        "maintenance::MaintenanceEnded" => super::holds::<MaintenanceEnded>,
        "rewards::EpochRoot" => super::holds::<super::IntentMessage<super::EpochRoot>>,
        "slashing::Verdict" => super::holds::<super::IntentMessage<super::Verdict>>,
        "version::Migrated" => super::holds::<Migrated>,
        _ => return false,
    };
    holds(golden);
    true
}
