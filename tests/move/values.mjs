// One value, or a few, of every struct and event that a node, a master or a person decodes. The
// Move tests bring each about by real calls, put these ids in the place of theirs, and compare.
import { layouts } from "./layouts.mjs";

const repeat = (byte, length = 32) => `0x${byte.repeat(length)}`;
const PACKAGE_ADDRESS = repeat("da");
const RECORD = repeat("11");
const POOL = repeat("22");
const STAKER = repeat("33");
const TOKEN = repeat("44");
const SLASHER_CAP = repeat("55");
const ADMIN_CAP = repeat("66");
const NODE_KEY = `0x00${"77".repeat(32)}`;
const TREASURY = repeat("88");
const BENEFICIARY = repeat("34");
const NEXT_BENEFICIARY = repeat("35");
const ADMIN = repeat("99");
const NOBODY = repeat("00");
const EVIDENCE = repeat("ee");
const CONFIG = repeat("aa");
const ENCLAVE = repeat("bb");
const DIRECTORY = repeat("cc");
const REGISTRAR_CAP = repeat("dd");
const REGISTRY = repeat("ab");
const RELEASE_CAP = repeat("cd");
const VAULT = repeat("fa");
const EPOCH = repeat("fb");
const MANIFEST = repeat("03");
const ROOT = repeat("04");
const REPORTER = repeat("fe");
const PUBLIC_KEY = `0x00${"71".repeat(32)}`;
const TLS_KEY = repeat("72");
const ROOT_HASH = repeat("01");
const PCR11 = repeat("02");
const LAUNCH = repeat("07", 48);
const URL = "https://m.example.org:8443";
const NODE_ID = "edge-0001";
const STAKED_AT_MS = 1_700_000_000_000;
const UNTIL_MS = STAKED_AT_MS + 1_000 + 604_800_000;
const EXPIRES_MS = STAKED_AT_MS + 2_592_000_000;
const DAY_MS = 86_400_000;
/** After the notice. */
const NOTICE_MS = STAKED_AT_MS + 15 * DAY_MS;
/** The day of the Unix epoch on which the tests' clock begins. */
const DAY = Math.floor(STAKED_AT_MS / DAY_MS);

const hex = (text) => `0x${Buffer.from(text).toString("hex")}`;

const master = { url: URL, enclave: ENCLAVE, public_key: PUBLIC_KEY, tls_key_sha256: TLS_KEY };
const first = { major: 0, minor: 1, patch: 0 };
const second = { major: 0, minor: 2, patch: 3 };
const released = {
  version: first,
  images: [
    {
      target: "disk",
      architecture: "x86_64",
      root_hash: ROOT_HASH,
      pcr11: [
        { phases: "", digest: PCR11 },
        { phases: "boot", digest: repeat("05") },
      ],
      launch_measurements: [{ tee: 0, digest: LAUNCH }],
    },
  ],
  manifest: MANIFEST,
  places: ["https://r.example.org/0.1.0/"],
  approved_at_ms: STAKED_AT_MS,
  revoked_at_ms: STAKED_AT_MS + 1,
  gone_by_ms: STAKED_AT_MS + DAY_MS,
};
const standing = {
  version: second,
  images: [
    {
      target: "netboot",
      architecture: "aarch64",
      root_hash: ROOT_HASH,
      pcr11: [{ phases: "", digest: repeat("06") }],
      launch_measurements: [],
    },
  ],
  manifest: MANIFEST,
  places: [],
  approved_at_ms: STAKED_AT_MS,
  revoked_at_ms: null,
  gone_by_ms: null,
};
const fixed = (current) => ({ current, next: null, from_ms: 0 });
const epochRoot = { root: ROOT, total_points: 10, leaves: 2, budget: 1_000_000_000 };
const rules = {
  pool: POOL,
  minimum_stake: { current: 1_000_000_000, next: 2_000_000_000, from_ms: NOTICE_MS },
  unbonding_ms: fixed(604_800_000),
  seal_token_ms: 2_592_000_000,
  reporter_basis_points: fixed(1_000),
};

const record = (change) => ({
  id: RECORD,
  version: 1,
  pool: POOL,
  staker: STAKER,
  beneficiary: fixed(BENEFICIARY),
  node_id: NODE_ID,
  node_key: NODE_KEY,
  balance: 1_500_000_000,
  status: 0,
  staked_at_ms: STAKED_AT_MS,
  unbonding_until_ms: null,
  unbonding_by_beneficiary: false,
  slashed: 0,
  seal_token: null,
  maintenance: [],
  ...change,
});

/** [name, case or null, value]: a struct that has several states has a case for each. */
const values = [
  [
    "pool::Pool",
    null,
    {
      id: POOL,
      version: 1,
      open: true,
      minimum_stake: fixed(1_000_000_000),
      unbonding_ms: fixed(604_800_000),
      seal_token_ms: 2_592_000_000,
      reporter_basis_points: fixed(1_000),
      offences: [
        {
          reason: 7,
          penalty: {
            current: { basis_points: 2_500, daily_cap_basis_points: 5_000, in_force: true },
            next: { basis_points: 10_000, daily_cap_basis_points: 10_000, in_force: true },
            from_ms: NOTICE_MS,
          },
        },
      ],
      treasury: TREASURY,
    },
  ],
  [
    "treasury::Treasury",
    null,
    { id: TREASURY, version: 1, pool: POOL, balance: 500_000_000 },
  ],
  ["staking::StakeRecord", "staked", record({})],
  ["staking::StakeRecord", "active", record({ seal_token: TOKEN })],
  [
    "staking::StakeRecord",
    "unbonding",
    record({
      status: 1,
      unbonding_until_ms: UNTIL_MS,
      unbonding_by_beneficiary: true,
      slashed: 500_000_000,
    }),
  ],
  ["staking::StakeRecord", "slashed", record({ balance: 0, status: 2, slashed: 2_000_000_000 })],
  [
    "staking::StakeRecord",
    "changing",
    record({
      beneficiary: { current: BENEFICIARY, next: NEXT_BENEFICIARY, from_ms: NOTICE_MS },
      maintenance: [{ from_ms: STAKED_AT_MS, until_ms: STAKED_AT_MS + DAY_MS }],
    }),
  ],
  ["staking::StakeRecord", "withdrawn", record({ balance: 0, status: 3, slashed: 500_000_000 })],
  ["pool::AdminCap", null, { id: ADMIN_CAP, pool: POOL }],
  ["pool::SlasherCap", null, { id: SLASHER_CAP, pool: POOL }],
  [
    "pool::PoolCreated",
    null,
    { pool: POOL, treasury: TREASURY, admin_cap: ADMIN_CAP, creator: ADMIN },
  ],
  ["pool::PoolOpened", null, { pool: POOL }],
  [
    "staking::Staked",
    null,
    {
      pool: POOL,
      record: RECORD,
      staker: STAKER,
      beneficiary: BENEFICIARY,
      node_id: NODE_ID,
      amount: 1_500_000_000,
    },
  ],
  [
    "staking::Restaked",
    null,
    { pool: POOL, record: RECORD, staker: STAKER, node_id: NODE_ID, amount: 1_000_000_000 },
  ],
  ["staking::ToppedUp", null, { record: RECORD, amount: 500_000_000, balance: 2_000_000_000 }],
  ["staking::UnstakeRequested", null, { record: RECORD, until_ms: UNTIL_MS, by_beneficiary: true }],
  ["staking::UnstakeCancelled", null, { record: RECORD }],
  [
    "staking::Slashed",
    null,
    {
      pool: POOL,
      record: RECORD,
      amount: 500_000_000,
      remaining: 1_500_000_000,
      reason: 7,
      evidence: EVIDENCE,
      reporter: NOBODY,
      reward: 0,
    },
  ],
  [
    "staking::Withdrawn",
    null,
    { record: RECORD, amount: 1_500_000_000, beneficiary: BENEFICIARY },
  ],
  [
    "beneficiary::BeneficiaryChanged",
    null,
    { record: RECORD, beneficiary: NEXT_BENEFICIARY, from_ms: NOTICE_MS },
  ],
  [
    "maintenance::MaintenanceBegan",
    null,
    { record: RECORD, from_ms: STAKED_AT_MS, until_ms: STAKED_AT_MS + DAY_MS },
  ],
  ["maintenance::MaintenanceEnded", null, { record: RECORD, at_ms: STAKED_AT_MS + 1_000 }],
  [
    "k8s_gateway::SealToken",
    null,
    {
      id: TOKEN,
      record: RECORD,
      node_key: NODE_KEY,
      issued_at_ms: STAKED_AT_MS,
      expires_at_ms: EXPIRES_MS,
    },
  ],
  [
    "k8s_gateway::SealTokenIssued",
    null,
    { record: RECORD, token: TOKEN, expires_at_ms: EXPIRES_MS },
  ],
  ["k8s_gateway::SealTokenBurnt", null, { record: RECORD, token: TOKEN }],
  [
    "k8s_gateway::MasterDirectory",
    null,
    { id: DIRECTORY, version: 1, pool: POOL, masters: [master] },
  ],
  ["k8s_gateway::MasterInfo", null, master],
  ["k8s_gateway::DirectoryCreated", null, { directory: DIRECTORY, pool: POOL }],
  [
    "k8s_gateway::MasterListed",
    null,
    {
      directory: DIRECTORY,
      enclave: ENCLAVE,
      url: URL,
      public_key: PUBLIC_KEY,
      tls_key_sha256: TLS_KEY,
    },
  ],
  ["k8s_gateway::MasterRemoved", null, { directory: DIRECTORY, enclave: ENCLAVE }],
  [
    "enclave::EnclaveConfig",
    null,
    {
      id: CONFIG,
      version: 1,
      pool: POOL,
      config_version: 1,
      minimum_config_version: 1,
      pcr0: repeat("a0", 48),
      pcr1: repeat("a1", 48),
      pcr2: repeat("a2", 48),
      document_age_ms: 3_600_000,
      evidence_age_ms: 600_000,
      effective_from_ms: STAKED_AT_MS,
    },
  ],
  [
    "enclave::Enclave",
    null,
    {
      id: ENCLAVE,
      version: 1,
      config: CONFIG,
      config_version: 1,
      public_key: PUBLIC_KEY,
      tls_key_sha256: TLS_KEY,
      evidence: EVIDENCE,
      registered_at_ms: STAKED_AT_MS,
      effective_from_ms: STAKED_AT_MS,
      retired: false,
    },
  ],
  ["enclave::RegistrarCap", null, { id: REGISTRAR_CAP, config: CONFIG }],
  [
    "slashing::Verdict",
    null,
    {
      domain: hex("k3s-daas/enclave/v1"),
      intent: 1,
      enclave: ENCLAVE,
      config_version: 1,
      nonce: 5,
      timestamp_ms: STAKED_AT_MS,
      data: {
        pool: POOL,
        record: RECORD,
        reason: 7,
        evidence: EVIDENCE,
        reporter: REPORTER,
      },
    },
  ],
  [
    "rewards::EpochRoot",
    null,
    {
      domain: hex("k3s-daas/enclave/v1"),
      intent: 2,
      enclave: ENCLAVE,
      config_version: 1,
      nonce: 0,
      timestamp_ms: (DAY + 8) * DAY_MS,
      data: { vault: VAULT, epoch: 0, ...epochRoot },
    },
  ],
  [
    "enclave::EnclaveConfigChanged",
    null,
    {
      config: CONFIG,
      pool: POOL,
      config_version: 1,
      minimum_config_version: 1,
      pcr0: repeat("a0", 48),
      pcr1: repeat("a1", 48),
      pcr2: repeat("a2", 48),
      document_age_ms: 3_600_000,
      evidence_age_ms: 600_000,
      effective_from_ms: STAKED_AT_MS,
    },
  ],
  [
    "enclave::EnclaveRegistered",
    null,
    {
      config: CONFIG,
      enclave: ENCLAVE,
      config_version: 1,
      public_key: PUBLIC_KEY,
      tls_key_sha256: TLS_KEY,
      registrar: REGISTRAR_CAP,
      evidence: EVIDENCE,
      effective_from_ms: STAKED_AT_MS,
    },
  ],
  ["enclave::EnclaveRetired", null, { config: CONFIG, enclave: ENCLAVE }],
  [
    "releases::ReleaseRegistry",
    null,
    {
      id: REGISTRY,
      version: 1,
      pool: POOL,
      minimum: second,
      releases: [standing, released],
    },
  ],
  ["releases::ReleaseCap", null, { id: RELEASE_CAP, registry: REGISTRY }],
  ["releases::RegistryCreated", null, { registry: REGISTRY, pool: POOL }],
  [
    "releases::ReleaseApproved",
    null,
    {
      registry: REGISTRY,
      version: first,
      images: released.images,
      manifest: MANIFEST,
      places: released.places,
    },
  ],
  [
    "releases::ReleaseRevoked",
    null,
    { registry: REGISTRY, version: first, gone_by_ms: STAKED_AT_MS + DAY_MS },
  ],
  ["releases::ReleaseRemoved", null, { registry: REGISTRY, version: first }],
  [
    "releases::MinimumReleaseChanged",
    null,
    { registry: REGISTRY, minimum: second, gone_by_ms: STAKED_AT_MS + 2 * DAY_MS },
  ],
  ["releases::MinimumReleaseLowered", null, { registry: REGISTRY, minimum: first }],
  ["administration::RulesChanged", null, rules],
  [
    "administration::TreasuryWithdrawn",
    null,
    { pool: POOL, amount: 100_000_000, remaining: 400_000_000 },
  ],
  [
    "administration::OffenceChanged",
    null,
    {
      pool: POOL,
      reason: 7,
      basis_points: 10_000,
      daily_cap_basis_points: 10_000,
      in_force: true,
      from_ms: NOTICE_MS,
    },
  ],
  [
    "rewards::Vault",
    null,
    {
      id: VAULT,
      version: 1,
      pool: POOL,
      funds: 5_000_000_000,
      first_day: DAY + 1,
      epoch_days: 7,
      objection_ms: DAY_MS,
      claim_ms: 90 * DAY_MS,
      most_budget: { current: 1_000_000_000, next: 2_000_000_000, from_ms: NOTICE_MS },
    },
  ],
  [
    "rewards::Epoch",
    null,
    {
      id: EPOCH,
      version: 1,
      vault: VAULT,
      pool: POOL,
      number: 0,
      first_day: DAY + 1,
      days: 7,
      ...epochRoot,
      funds: 1_000_000_000,
      enclave: ENCLAVE,
      claimable_from_ms: (DAY + 9) * DAY_MS,
      claimable_until_ms: (DAY + 99) * DAY_MS,
      state: 0,
    },
  ],
  [
    "rewards::VaultCreated",
    null,
    {
      vault: VAULT,
      pool: POOL,
      first_day: DAY + 1,
      epoch_days: 7,
      objection_ms: DAY_MS,
      claim_ms: 90 * DAY_MS,
      most_budget: 1_000_000_000,
    },
  ],
  ["rewards::VaultFunded", null, { vault: VAULT, amount: 5_000_000_000, funds: 5_000_000_000 }],
  ["rewards::BudgetChanged", null, { vault: VAULT, most_budget: 2_000_000_000, from_ms: NOTICE_MS }],
  [
    "rewards::RootPublished",
    null,
    {
      vault: VAULT,
      epoch: EPOCH,
      number: 0,
      ...epochRoot,
      enclave: ENCLAVE,
      claimable_from_ms: (DAY + 9) * DAY_MS,
      claimable_until_ms: (DAY + 99) * DAY_MS,
    },
  ],
  [
    "rewards::EpochVoided",
    null,
    {
      vault: VAULT,
      epoch: EPOCH,
      number: 0,
      enclave: ENCLAVE,
      root: ROOT,
      total_points: 10,
      leaves: 2,
      returned: 1_000_000_000,
    },
  ],
  [
    "rewards::RewardPaid",
    null,
    {
      vault: VAULT,
      epoch: EPOCH,
      number: 0,
      record: RECORD,
      beneficiary: BENEFICIARY,
      points: 4,
      amount: 400_000_000,
    },
  ],
  ["rewards::EpochClosed", null, { vault: VAULT, epoch: EPOCH, number: 0, returned: 600_000_000 }],
  [
    "authority::CapabilityIssued",
    null,
    { object: CONFIG, capability: REGISTRAR_CAP, effective_from_ms: STAKED_AT_MS },
  ],
  ["authority::CapabilityRevoked", null, { object: CONFIG, capability: REGISTRAR_CAP }],
  ["version::Migrated", null, { object: POOL, from: 0, to: 1 }],
];

/** The goldens, as goldens.json holds them. */
export function goldenValues() {
  return values.map(([name, state, value]) => ({
    name,
    ...(state && { case: state }),
    bcs: layouts[name](value).toString("hex"),
    value,
  }));
}

/** Derived addresses: what `sui::derived_object` makes of a parent and a key on a 64-bit machine. */
export function goldenAddresses() {
  return [
    {
      name: "stake_record_address",
      package: PACKAGE_ADDRESS,
      pool: POOL,
      key_type: "staking::StakeKey",
      node_key: NODE_KEY,
      address: "0x34ae0eb1ed6b876713a680dee8bbc5c96fe6c263bf7f9fecff2103f8f44f0c8f",
    },
    {
      name: "enclave_address",
      package: PACKAGE_ADDRESS,
      config: CONFIG,
      key_type: "enclave::EnclaveKey",
      public_key: PUBLIC_KEY,
      address: "0x33618b6c475b2d2e20613158844fc20b519343ffaa2808b7b7fe990c4993e20f",
    },
    {
      name: "epoch_address",
      package: PACKAGE_ADDRESS,
      vault: VAULT,
      key_type: "rewards::EpochKey",
      number: 5,
      address: "0xfb7063329d6cde22981fc83a2385812dc11064e6a98ad0d1a697494a3ea64b68",
    },
  ];
}
