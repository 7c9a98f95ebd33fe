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
const NODE_ID = "edge-0001";
const STAKED_AT_MS = 1_700_000_000_000;
const UNTIL_MS = STAKED_AT_MS + 1_000 + 604_800_000;
const EXPIRES_MS = STAKED_AT_MS + 2_592_000_000;

const table = struct({ id, size: u64 });

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
  [
    "staking::StakeRecord",
    "slashed",
    record({ balance: 0, status: 2, slashed: 2_000_000_000 }),
  ],
  [
    "staking::StakeRecord",
    "withdrawn",
    record({ balance: 0, status: 3, slashed: 500_000_000 }),
  ],
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
  ];
}
