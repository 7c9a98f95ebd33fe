//! Functions of the package.

/// `staking::stake_for_node(&mut Pool, String, vector<u8>, address, Coin<SUI>, &Clock, &mut TxContext): StakeRecord`
pub const STAKE_FOR_NODE: &str = "stake_for_node";
/// `staking::share_stake(StakeRecord)`
pub const SHARE_STAKE: &str = "share_stake";
/// `staking::restake(&Pool, &mut StakeRecord, Coin<SUI>, &Clock, &mut TxContext)`
pub const RESTAKE: &str = "restake";
/// `staking::top_up(&Pool, &mut StakeRecord, Coin<SUI>)`
pub const TOP_UP: &str = "top_up";
/// `staking::slash_stake(&Pool, &mut Treasury, &SlasherCap, &mut StakeRecord, u64, u16, vector<u8>, &Clock)`
pub const SLASH_STAKE: &str = "slash_stake";
/// `staking::withdraw_stake(&Pool, &mut StakeRecord, &Clock, &mut TxContext)`
pub const WITHDRAW_STAKE: &str = "withdraw_stake";
/// `k8s_gateway::create_worker_seal_token(&Pool, &mut StakeRecord, &Clock, &mut TxContext)`
pub const CREATE_WORKER_SEAL_TOKEN: &str = "create_worker_seal_token";
/// `k8s_gateway::renew_worker_seal_token(&Pool, &mut StakeRecord, SealToken, &Clock, &mut TxContext)`
pub const RENEW_WORKER_SEAL_TOKEN: &str = "renew_worker_seal_token";
/// `k8s_gateway::request_unstake(&Pool, &mut StakeRecord, SealToken, &Clock, &mut TxContext)`.
/// It stands in this module because it burns the seal token, and Move forbids that two modules use
/// each other.
pub const REQUEST_UNSTAKE: &str = "request_unstake";
/// `k8s_gateway::request_unstake_without_token(&Pool, &mut StakeRecord, &Clock, &mut TxContext)`
pub const REQUEST_UNSTAKE_WITHOUT_TOKEN: &str = "request_unstake_without_token";
/// `k8s_gateway::cancel_unstake(&Pool, &mut StakeRecord, &Clock, &mut TxContext)`
pub const CANCEL_UNSTAKE: &str = "cancel_unstake";
/// `k8s_gateway::burn_seal_token(SealToken)`
pub const BURN_SEAL_TOKEN: &str = "burn_seal_token";
/// `k8s_gateway::list_master(&mut MasterDirectory, &Pool, &AdminCap, &EnclaveConfig, &Enclave, String)`
pub const LIST_MASTER: &str = "list_master";
/// `k8s_gateway::remove_master(&mut MasterDirectory, &Pool, &AdminCap, ID)`
pub const REMOVE_MASTER: &str = "remove_master";
/// `k8s_gateway::remove_retired_master(&mut MasterDirectory, &EnclaveConfig, &Enclave)`
pub const REMOVE_RETIRED_MASTER: &str = "remove_retired_master";
/// `enclave::register_by_capability(&mut EnclaveConfig, &Pool, &RegistrarCap, vector<u8>, vector<u8>, vector<u8>, &Clock)`
pub const REGISTER_BY_CAPABILITY: &str = "register_by_capability";
/// `enclave::retire(&EnclaveConfig, &Pool, &AdminCap, &mut Enclave)`
pub const RETIRE: &str = "retire";
/// `enclave::revoke_registrar_cap(&mut EnclaveConfig, &Pool, &AdminCap, ID)`
pub const REVOKE_REGISTRAR_CAP: &str = "revoke_registrar_cap";
/// `enclave::set_minimum_config_version(&mut EnclaveConfig, &Pool, &AdminCap, u64, &Enclave, &Clock)`
pub const SET_MINIMUM_CONFIG_VERSION: &str = "set_minimum_config_version";
/// `enclave::update_pcrs(&mut EnclaveConfig, &Pool, &AdminCap, vector<u8>, vector<u8>, vector<u8>, &Clock)`
pub const UPDATE_PCRS: &str = "update_pcrs";
/// `releases::release_version(u32, u32, u32): ReleaseVersion`
pub const RELEASE_VERSION: &str = "release_version";
/// `releases::launch_measurement(u8, vector<u8>): LaunchMeasurement`
pub const LAUNCH_MEASUREMENT: &str = "launch_measurement";
/// `releases::phase_pcr(String, vector<u8>): PhasePcr`
pub const PHASE_PCR: &str = "phase_pcr";
/// `releases::image(String, String, vector<u8>, vector<PhasePcr>, vector<LaunchMeasurement>): Image`
pub const IMAGE: &str = "image";
/// `releases::approve(&mut ReleaseRegistry, &ReleaseCap, ReleaseVersion, vector<Image>, vector<u8>, vector<String>, &Clock)`
pub const APPROVE: &str = "approve";
/// `releases::revoke(&mut ReleaseRegistry, &ReleaseCap, ReleaseVersion, u64, &Clock)`
pub const REVOKE: &str = "revoke";
/// `releases::set_minimum(&mut ReleaseRegistry, &ReleaseCap, ReleaseVersion, u64, &Clock)`
pub const SET_MINIMUM: &str = "set_minimum";
/// `releases::remove(&mut ReleaseRegistry, &ReleaseCap, ReleaseVersion, &Clock)`
pub const REMOVE: &str = "remove";
/// `releases::revoke_release_cap(&mut ReleaseRegistry, &Pool, &AdminCap, ID)`
pub const REVOKE_RELEASE_CAP: &str = "revoke_release_cap";
/// `releases::lower_minimum(&mut ReleaseRegistry, &Pool, &AdminCap, ReleaseVersion)`
pub const LOWER_MINIMUM: &str = "lower_minimum";
/// `administration::new_slasher_cap(&mut Pool, &AdminCap, &Clock, &mut TxContext): SlasherCap`
pub const NEW_SLASHER_CAP: &str = "new_slasher_cap";
/// `administration::revoke_slasher_cap(&mut Pool, &AdminCap, ID)`
pub const REVOKE_SLASHER_CAP: &str = "revoke_slasher_cap";
/// `slashing::slash_with_evidence(&Pool, &mut Treasury, &EnclaveConfig, &Enclave, &mut StakeRecord, u16, vector<u8>, address, u64, u64, vector<u8>, &Clock, &mut TxContext)`
pub const SLASH_WITH_EVIDENCE: &str = "slash_with_evidence";
/// `administration::open_pool(&mut Pool, &AdminCap)`
pub const OPEN_POOL: &str = "open_pool";
/// `administration::set_offence(&mut Pool, &AdminCap, u16, u64, u64, bool, &Clock)`
pub const SET_OFFENCE: &str = "set_offence";
/// `administration::set_minimum_stake(&mut Pool, &AdminCap, u64, &Clock)`
pub const SET_MINIMUM_STAKE: &str = "set_minimum_stake";
/// `beneficiary::set_beneficiary(&Pool, &mut StakeRecord, address, &Clock, &mut TxContext)`
pub const SET_BENEFICIARY: &str = "set_beneficiary";
/// `maintenance::begin_maintenance(&Pool, &mut StakeRecord, u64, &Clock, &mut TxContext)`
pub const BEGIN_MAINTENANCE: &str = "begin_maintenance";
/// `maintenance::end_maintenance(&Pool, &mut StakeRecord, &Clock, &mut TxContext)`
pub const END_MAINTENANCE: &str = "end_maintenance";
/// `rewards::new_vault(&Pool, &AdminCap, u64, u64, u64, u64, &Clock, &mut TxContext)`
pub const NEW_VAULT: &str = "new_vault";
/// `rewards::fund(&mut Vault, Coin<SUI>)`
pub const FUND: &str = "fund";
/// `rewards::set_budget(&mut Vault, &Pool, &AdminCap, u64, &Clock)`
pub const SET_BUDGET: &str = "set_budget";
/// `rewards::publish_root(&mut Vault, &EnclaveConfig, &Enclave, u64, vector<u8>, u64, u64, u64, u64, vector<u8>, &Clock)`
pub const PUBLISH_ROOT: &str = "publish_root";
/// `rewards::object_with_root(&mut Vault, &mut Epoch, &EnclaveConfig, &Enclave, vector<u8>, u64, u64, u64, u64, vector<u8>, &Clock)`
pub const OBJECT_WITH_ROOT: &str = "object_with_root";
/// `rewards::object_by_admin(&mut Vault, &mut Epoch, &Pool, &AdminCap, &Clock)`
pub const OBJECT_BY_ADMIN: &str = "object_by_admin";
/// `rewards::claim(&mut Epoch, &Pool, &StakeRecord, u64, u64, vector<u8>, &Clock, &mut TxContext)`
pub const CLAIM: &str = "claim";
/// `rewards::close(&mut Vault, &mut Epoch, &Clock)`
pub const CLOSE: &str = "close";
