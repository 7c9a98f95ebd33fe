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
    CapabilityIssued { object: Address, capability: Address, effective_from_ms: u64 }
    CapabilityRevoked { object: Address, capability: Address }
    StakeProof { domain: Vec<u8>, pool: Address, staker: Address, node_id: String, node_key: Vec<u8> }
    Enclave { id: Address, version: u64, config: Address, config_version: u64, public_key: Vec<u8>, tls_key_sha256: Vec<u8>, nonce: u64, registered_at_ms: u64, effective_from_ms: u64, retired: bool }
    EnclaveConfig { id: Address, version: u64, pool: Address, config_version: u64, minimum_config_version: u64, pcr0: Vec<u8>, pcr1: Vec<u8>, pcr2: Vec<u8>, document_age_ms: u64, evidence_age_ms: u64, effective_from_ms: u64 }
    EnclaveConfigChanged { config: Address, pool: Address, config_version: u64, minimum_config_version: u64, effective_from_ms: u64 }
    EnclaveRegistered { config: Address, enclave: Address, config_version: u64, public_key: Vec<u8>, registrar: Option<Address> }
    EnclaveRetired { config: Address, enclave: Address }
    IntentMessage { domain: Vec<u8>, intent: u8, enclave: Address, config_version: u64, nonce: u64, timestamp_ms: u64, data: Verdict }
    RegistrarCap { id: Address, config: Address }
    DirectoryCreated { directory: Address, pool: Address }
    MasterDirectory { id: Address, version: u64, pool: Address, masters: Vec<MasterInfo> }
    MasterInfo { url: String, enclave: Address, public_key: Vec<u8>, tls_key_sha256: Vec<u8> }
    MasterListed { directory: Address, enclave: Address, url: String }
    MasterRemoved { directory: Address, enclave: Address }
    LaunchMeasurement { tee: u8, digest: Vec<u8> }
    MinimumReleaseChanged { registry: Address, minimum: ReleaseVersion }
    RegistryCreated { registry: Address, pool: Address }
    Release { version: ReleaseVersion, root_hash: Vec<u8>, pcr11: Vec<u8>, launch_measurements: Vec<LaunchMeasurement>, approved_at_ms: u64, revoked_at_ms: Option<u64> }
    ReleaseApproved { registry: Address, version: ReleaseVersion, root_hash: Vec<u8>, pcr11: Vec<u8> }
    ReleaseCap { id: Address, registry: Address }
    ReleaseRegistry { id: Address, version: u64, pool: Address, minimum: ReleaseVersion, releases: Vec<Release> }
    ReleaseRemoved { registry: Address, version: ReleaseVersion }
    ReleaseRevoked { registry: Address, version: ReleaseVersion }
    ReleaseVersion { major: u32, minor: u32, patch: u32 }
    Verdict { pool: Address, record: Address, basis_points: u64, reason: u16, evidence: Vec<u8>, reporter: Address }
    Migrated { object: Address, from: u64, to: u64 }
}

/// Checks a golden of one of these types; `false` where it is of none.
pub(super) fn hold(golden: &Value, name: &str) -> bool {
    let holds: fn(&Value) = match name {
        "administration::NameReleased" => super::holds::<NameReleased>,
        "administration::RulesChanged" => super::holds::<RulesChanged>,
        "administration::TreasuryWithdrawn" => super::holds::<TreasuryWithdrawn>,
        "authority::CapabilityIssued" => super::holds::<CapabilityIssued>,
        "authority::CapabilityRevoked" => super::holds::<CapabilityRevoked>,
        "delegation::StakeProof" => super::holds::<StakeProof>,
        "enclave::Enclave" => super::holds::<Enclave>,
        "enclave::EnclaveConfig" => super::holds::<EnclaveConfig>,
        "enclave::EnclaveConfigChanged" => super::holds::<EnclaveConfigChanged>,
        "enclave::EnclaveRegistered" => super::holds::<EnclaveRegistered>,
        "enclave::EnclaveRetired" => super::holds::<EnclaveRetired>,
        "enclave::IntentMessage" => super::holds::<IntentMessage>,
        "enclave::RegistrarCap" => super::holds::<RegistrarCap>,
        "k8s_gateway::DirectoryCreated" => super::holds::<DirectoryCreated>,
        "k8s_gateway::MasterDirectory" => super::holds::<MasterDirectory>,
        "k8s_gateway::MasterInfo" => super::holds::<MasterInfo>,
        "k8s_gateway::MasterListed" => super::holds::<MasterListed>,
        "k8s_gateway::MasterRemoved" => super::holds::<MasterRemoved>,
        "releases::MinimumReleaseChanged" => super::holds::<MinimumReleaseChanged>,
        "releases::RegistryCreated" => super::holds::<RegistryCreated>,
        "releases::ReleaseApproved" => super::holds::<ReleaseApproved>,
        "releases::ReleaseCap" => super::holds::<ReleaseCap>,
        "releases::ReleaseRegistry" => super::holds::<ReleaseRegistry>,
        "releases::ReleaseRemoved" => super::holds::<ReleaseRemoved>,
        "releases::ReleaseRevoked" => super::holds::<ReleaseRevoked>,
        "version::Migrated" => super::holds::<Migrated>,
        _ => return false,
    };
    holds(golden);
    true
}
