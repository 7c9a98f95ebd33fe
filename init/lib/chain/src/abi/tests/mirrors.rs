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
    Vault { id: Address, version: u64, pool: Address, funds: u64, first_day: u64, epoch_days: u64, objection_ms: u64, claim_ms: u64, most_budget: super::Scheduled<u64> }
    Epoch { id: Address, version: u64, vault: Address, pool: Address, number: u64, first_day: u64, days: u64, root: Vec<u8>, total_points: u64, leaves: u64, budget: u64, funds: u64, enclave: Address, claimable_from_ms: u64, claimable_until_ms: u64, state: u8 }
    EpochRoot { vault: Address, epoch: u64, root: Vec<u8>, total_points: u64, leaves: u64, budget: u64 }
    VaultCreated { vault: Address, pool: Address, first_day: u64, epoch_days: u64, objection_ms: u64, claim_ms: u64, most_budget: u64 }
    VaultFunded { vault: Address, amount: u64, funds: u64 }
    BudgetChanged { vault: Address, most_budget: u64, from_ms: u64 }
    RootPublished { vault: Address, epoch: Address, number: u64, root: Vec<u8>, total_points: u64, leaves: u64, budget: u64, enclave: Address, claimable_from_ms: u64, claimable_until_ms: u64 }
    EpochVoided { vault: Address, epoch: Address, number: u64, enclave: Option<Address>, root: Vec<u8>, total_points: u64, leaves: u64, returned: u64 }
    RewardPaid { vault: Address, epoch: Address, number: u64, record: Address, beneficiary: Address, points: u64, amount: u64 }
    EpochClosed { vault: Address, epoch: Address, number: u64, returned: u64 }
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
        "rewards::Vault" => super::holds::<Vault>,
        "rewards::Epoch" => super::holds::<Epoch>,
        "rewards::EpochRoot" => super::holds::<super::IntentMessage<EpochRoot>>,
        "rewards::VaultCreated" => super::holds::<VaultCreated>,
        "rewards::VaultFunded" => super::holds::<VaultFunded>,
        "rewards::BudgetChanged" => super::holds::<BudgetChanged>,
        "rewards::RootPublished" => super::holds::<RootPublished>,
        "rewards::EpochVoided" => super::holds::<EpochVoided>,
        "rewards::RewardPaid" => super::holds::<RewardPaid>,
        "rewards::EpochClosed" => super::holds::<EpochClosed>,
        "slashing::Verdict" => super::holds::<super::IntentMessage<super::Verdict>>,
        "version::Migrated" => super::holds::<Migrated>,
        _ => return false,
    };
    holds(golden);
    true
}
