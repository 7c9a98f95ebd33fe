// One value, or a few, of every struct and event that a node, a master or a person decodes. The
// Move tests bring each about by real calls, put these ids in the place of theirs, and compare.
import { option, struct, types, vector } from "./bcs.mjs";

const { u8, u16, u32, u64, bool, id, bytes, string } = types;

const repeat = (byte, length = 32) => `0x${byte.repeat(length)}`;
const PACKAGE_ADDRESS = repeat("da");
const RECORD = repeat("11");
const POOL = repeat("22");
const STAKER = repeat("33");
const TOKEN = repeat("44");
const SLASHER_CAP = repeat("55");
const ADMIN_CAP = repeat("66");
const NODE_KEY = `0x00${"77".repeat(32)}`;
const NAMES = repeat("88");
const ADMIN = repeat("99");
const NOBODY = repeat("00");
const EVIDENCE = repeat("ee");
const CONFIG = repeat("aa");
const ENCLAVE = repeat("bb");
const DIRECTORY = repeat("cc");
const REGISTRAR_CAP = repeat("dd");
const REGISTRY = repeat("ab");
const RELEASE_CAP = repeat("cd");
const REPORTER = repeat("fe");
const PUBLIC_KEY = repeat("71");
const TLS_KEY = repeat("72");
const ROOT_HASH = repeat("01");
const PCR11 = repeat("02");
const LAUNCH = repeat("07", 48);
const URL = "https://m.example.org:8443";
const NODE_ID = "edge-0001";
const STAKED_AT_MS = 1_700_000_000_000;
const UNTIL_MS = STAKED_AT_MS + 1_000 + 604_800_000;
const EXPIRES_MS = STAKED_AT_MS + 2_592_000_000;

const table = struct({ id, size: u64 });

const masterInfo = struct({ url: string, enclave: id, public_key: bytes, tls_key_sha256: bytes });
const releaseVersion = struct({ major: u32, minor: u32, patch: u32 });
const release = struct({
  version: releaseVersion,
  root_hash: bytes,
  pcr11: bytes,
  launch_measurements: vector(struct({ tee: u8, digest: bytes })),
  approved_at_ms: u64,
  revoked_at_ms: option(u64),
});

/** Name → layout. */
const layouts = {
  "staking::Pool": struct({
    id,
    version: u64,
    minimum_stake: u64,
    unbonding_ms: u64,
    seal_token_ms: u64,
    reporter_basis_points: u64,
    treasury: u64,
    staked: u64,
    names: table,
  }),
  "staking::StakeRecord": struct({
    id,
    version: u64,
    pool: id,
    staker: id,
    node_id: string,
    node_key: bytes,
    balance: u64,
    status: u8,
    staked_at_ms: u64,
    unbonding_until_ms: option(u64),
    slashed: u64,
    seal_token: option(id),
  }),
  "staking::AdminCap": struct({ id, pool: id }),
  "staking::SlasherCap": struct({ id, pool: id }),
  "staking::PoolCreated": struct({ pool: id, admin_cap: id, creator: id }),
  "staking::Staked": struct({ pool: id, record: id, staker: id, node_id: string, amount: u64 }),
  "staking::Restaked": struct({ pool: id, record: id, staker: id, node_id: string, amount: u64 }),
  "staking::ToppedUp": struct({ record: id, amount: u64, balance: u64 }),
  "staking::UnstakeRequested": struct({ record: id, until_ms: u64 }),
  "staking::UnstakeCancelled": struct({ record: id }),
  "staking::Slashed": struct({
    pool: id,
    record: id,
    amount: u64,
    remaining: u64,
    reason: u16,
    evidence: bytes,
    reporter: id,
    reward: u64,
  }),
  "staking::Withdrawn": struct({ record: id, amount: u64 }),
  "k8s_gateway::SealToken": struct({
    id,
    record: id,
    node_key: bytes,
    issued_at_ms: u64,
    expires_at_ms: u64,
  }),
  "k8s_gateway::SealTokenIssued": struct({ record: id, token: id, expires_at_ms: u64 }),
  "k8s_gateway::SealTokenBurnt": struct({ record: id, token: id }),
  "k8s_gateway::MasterDirectory": struct({
    id,
    version: u64,
    pool: id,
    masters: vector(masterInfo),
  }),
  "k8s_gateway::MasterInfo": masterInfo,
  "k8s_gateway::DirectoryCreated": struct({ directory: id, pool: id }),
  "k8s_gateway::MasterListed": struct({ directory: id, enclave: id, url: string }),
  "k8s_gateway::MasterRemoved": struct({ directory: id, enclave: id }),
  "enclave::EnclaveConfig": struct({
    id,
    version: u64,
    pool: id,
    config_version: u64,
    minimum_config_version: u64,
    pcr0: bytes,
    pcr1: bytes,
    pcr2: bytes,
    document_age_ms: u64,
    evidence_age_ms: u64,
    effective_from_ms: u64,
  }),
  "enclave::Enclave": struct({
    id,
    version: u64,
    config: id,
    config_version: u64,
    public_key: bytes,
    tls_key_sha256: bytes,
    nonce: u64,
    registered_at_ms: u64,
    effective_from_ms: u64,
    retired: bool,
  }),
  "enclave::RegistrarCap": struct({ id, config: id }),
  // what an enclave signs for a slash
  "enclave::IntentMessage": struct({
    domain: bytes,
    intent: u8,
    enclave: id,
    config_version: u64,
    nonce: u64,
    timestamp_ms: u64,
    data: struct({
      pool: id,
      record: id,
      basis_points: u64,
      reason: u16,
      evidence: bytes,
      reporter: id,
    }),
  }),
  "enclave::EnclaveConfigChanged": struct({
    config: id,
    pool: id,
    config_version: u64,
    minimum_config_version: u64,
    effective_from_ms: u64,
  }),
  "enclave::EnclaveRegistered": struct({
    config: id,
    enclave: id,
    config_version: u64,
    public_key: bytes,
    registrar: option(id),
  }),
  "enclave::EnclaveRetired": struct({ config: id, enclave: id }),
  // what a node signs so that another account may stake for it
  "delegation::StakeProof": struct({
    domain: bytes,
    pool: id,
    staker: id,
    node_id: string,
    node_key: bytes,
  }),
  "releases::ReleaseRegistry": struct({
    id,
    version: u64,
    pool: id,
    minimum: releaseVersion,
    releases: vector(release),
  }),
  "releases::ReleaseCap": struct({ id, registry: id }),
  "releases::RegistryCreated": struct({ registry: id, pool: id }),
  "releases::ReleaseApproved": struct({
    registry: id,
    version: releaseVersion,
    root_hash: bytes,
    pcr11: bytes,
  }),
  "releases::ReleaseRevoked": struct({ registry: id, version: releaseVersion }),
  "releases::ReleaseRemoved": struct({ registry: id, version: releaseVersion }),
  "releases::MinimumReleaseChanged": struct({ registry: id, minimum: releaseVersion }),
  "administration::RulesChanged": struct({
    pool: id,
    minimum_stake: u64,
    unbonding_ms: u64,
    seal_token_ms: u64,
    reporter_basis_points: u64,
  }),
  "administration::TreasuryWithdrawn": struct({ pool: id, amount: u64, remaining: u64 }),
  "administration::NameReleased": struct({ pool: id, record: id, node_id: string }),
  "authority::CapabilityIssued": struct({ object: id, capability: id, effective_from_ms: u64 }),
  "authority::CapabilityRevoked": struct({ object: id, capability: id }),
  "version::Migrated": struct({ object: id, from: u64, to: u64 }),
};

const hex = (text) => `0x${Buffer.from(text).toString("hex")}`;

const master = { url: URL, enclave: ENCLAVE, public_key: PUBLIC_KEY, tls_key_sha256: TLS_KEY };
const first = { major: 0, minor: 1, patch: 0 };
const second = { major: 0, minor: 2, patch: 3 };
const released = {
  version: first,
  root_hash: ROOT_HASH,
  pcr11: PCR11,
  launch_measurements: [{ tee: 0, digest: LAUNCH }],
  approved_at_ms: STAKED_AT_MS,
  revoked_at_ms: STAKED_AT_MS + 1,
};
const rules = {
  pool: POOL,
  minimum_stake: 2_000_000_000,
  unbonding_ms: 604_800_000,
  seal_token_ms: 2_592_000_000,
  reporter_basis_points: 1_000,
};

const record = (change) => ({
  id: RECORD,
  version: 1,
  pool: POOL,
  staker: STAKER,
  node_id: NODE_ID,
  node_key: NODE_KEY,
  balance: 1_500_000_000,
  status: 0,
  staked_at_ms: STAKED_AT_MS,
  unbonding_until_ms: null,
  slashed: 0,
  seal_token: null,
  ...change,
});

/** [name, case or null, value]: a struct that has several states has a case for each. */
const values = [
  [
    "staking::Pool",
    null,
    {
      id: POOL,
      version: 1,
      minimum_stake: 1_000_000_000,
      unbonding_ms: 604_800_000,
      seal_token_ms: 2_592_000_000,
      reporter_basis_points: 1_000,
      treasury: 500_000_000,
      staked: 1_500_000_000,
      names: { id: NAMES, size: 1 },
    },
  ],
  ["staking::StakeRecord", "staked", record({})],
  ["staking::StakeRecord", "active", record({ seal_token: TOKEN })],
  [
    "staking::StakeRecord",
    "unbonding",
    record({ status: 1, unbonding_until_ms: UNTIL_MS, slashed: 500_000_000 }),
  ],
  ["staking::StakeRecord", "slashed", record({ balance: 0, status: 2, slashed: 2_000_000_000 })],
  ["staking::StakeRecord", "withdrawn", record({ balance: 0, status: 3, slashed: 500_000_000 })],
  ["staking::AdminCap", null, { id: ADMIN_CAP, pool: POOL }],
  ["staking::SlasherCap", null, { id: SLASHER_CAP, pool: POOL }],
  ["staking::PoolCreated", null, { pool: POOL, admin_cap: ADMIN_CAP, creator: ADMIN }],
  [
    "staking::Staked",
    null,
    { pool: POOL, record: RECORD, staker: STAKER, node_id: NODE_ID, amount: 1_500_000_000 },
  ],
  [
    "staking::Restaked",
    null,
    { pool: POOL, record: RECORD, staker: STAKER, node_id: NODE_ID, amount: 1_000_000_000 },
  ],
  ["staking::ToppedUp", null, { record: RECORD, amount: 500_000_000, balance: 2_000_000_000 }],
  ["staking::UnstakeRequested", null, { record: RECORD, until_ms: UNTIL_MS }],
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
  ["staking::Withdrawn", null, { record: RECORD, amount: 1_500_000_000 }],
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
  ["k8s_gateway::MasterListed", null, { directory: DIRECTORY, enclave: ENCLAVE, url: URL }],
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
      nonce: 0,
      registered_at_ms: STAKED_AT_MS,
      effective_from_ms: STAKED_AT_MS,
      retired: false,
    },
  ],
  ["enclave::RegistrarCap", null, { id: REGISTRAR_CAP, config: CONFIG }],
  [
    "enclave::IntentMessage",
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
        basis_points: 2_500,
        reason: 7,
        evidence: EVIDENCE,
        reporter: REPORTER,
      },
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
      registrar: REGISTRAR_CAP,
    },
  ],
  ["enclave::EnclaveRetired", null, { config: CONFIG, enclave: ENCLAVE }],
  [
    "delegation::StakeProof",
    null,
    {
      domain: hex("k3s-daas/stake/v1"),
      pool: POOL,
      staker: STAKER,
      node_id: NODE_ID,
      node_key: NODE_KEY,
    },
  ],
  [
    "releases::ReleaseRegistry",
    null,
    {
      id: REGISTRY,
      version: 1,
      pool: POOL,
      minimum: second,
      releases: [
        { ...released, version: second, launch_measurements: [], revoked_at_ms: null },
        released,
      ],
    },
  ],
  ["releases::ReleaseCap", null, { id: RELEASE_CAP, registry: REGISTRY }],
  ["releases::RegistryCreated", null, { registry: REGISTRY, pool: POOL }],
  [
    "releases::ReleaseApproved",
    null,
    { registry: REGISTRY, version: first, root_hash: ROOT_HASH, pcr11: PCR11 },
  ],
  ["releases::ReleaseRevoked", null, { registry: REGISTRY, version: first }],
  ["releases::ReleaseRemoved", null, { registry: REGISTRY, version: first }],
  ["releases::MinimumReleaseChanged", null, { registry: REGISTRY, minimum: second }],
  ["administration::RulesChanged", null, rules],
  [
    "administration::TreasuryWithdrawn",
    null,
    { pool: POOL, amount: 100_000_000, remaining: 400_000_000 },
  ],
  ["administration::NameReleased", null, { pool: POOL, record: RECORD, node_id: NODE_ID }],
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
      address: "0xbfd4bc486bc14ea98e4bae1eaa42e6c8f61301c79b433c4175e4c059da413747",
    },
  ];
}
