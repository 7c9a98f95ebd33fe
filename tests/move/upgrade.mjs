// Rehearses upgrades of the package: that abi.mjs refuses what Sui's policy `compatible` would, and
// that objects of the earlier version are taken over by a later one.
import { abiOf, decide, modulesOf, recorded, refusals } from "./abi.mjs";
import { testFiles } from "./compiler.mjs";
import { PACKAGE, snapshot } from "./files.mjs";

/** Changes to the sources: what, module, from, to, and what is refused of it. A `to` of null takes the
 * module away; further edits of the same module come after. */
const CHANGES = [
  [
    "a public function takes one more argument",
    "staking",
    "public fun share_stake(record: StakeRecord) {",
    "public fun share_stake(record: StakeRecord, _: u64) {",
    "public function staking::share_stake differs",
  ],
  [
    "a public function writes what it read",
    "administration",
    "public fun migrate_treasury(pool: &Pool, ",
    "public fun migrate_treasury(pool: &mut Pool, ",
    "public function administration::migrate_treasury differs",
  ],
  [
    "a public function is gone",
    "releases",
    "public fun minimum(",
    "public fun least(",
    "public function releases::minimum is gone",
  ],
  [
    "a public function is the package's alone",
    "treasury",
    "public fun value(",
    "public(package) fun value(",
    "public function treasury::value is gone",
  ],
  [
    "a public function returns something else",
    "rewards",
    "public fun left(epoch: &Epoch): u64 { epoch.funds.value() }",
    "public fun left(epoch: &Epoch): u128 { epoch.funds.value() as u128 }",
    "public function rewards::left differs",
  ],
  [
    "a struct has one more field",
    "authority",
    "public struct CapabilityRevoked has copy, drop { object: ID, capability: ID }",
    "public struct CapabilityRevoked has copy, drop { object: ID, capability: ID, x: Option<ID> }",
    "struct authority::CapabilityRevoked differs",
    // what makes the event has to go along, or it would not compile
    [
      "CapabilityRevoked { object: object.to_inner(), capability }",
      "CapabilityRevoked { object: object.to_inner(), capability, x: option::none() }",
    ],
  ],
  [
    "a struct's fields change places",
    "authority",
    "CapabilityRevoked has copy, drop { object: ID, capability: ID }",
    "CapabilityRevoked has copy, drop { capability: ID, object: ID }",
    "struct authority::CapabilityRevoked differs",
  ],
  [
    "a struct has one more ability",
    "version",
    "public struct Migrated has copy, drop {",
    "public struct Migrated has copy, drop, store {",
    "struct version::Migrated differs",
  ],
  [
    "a struct loses an ability",
    "rewards",
    "public struct Leaf has copy, drop {",
    "public struct Leaf has drop {",
    "struct rewards::Leaf differs",
  ],
  [
    "a struct is gone",
    "rewards",
    "public struct Leaf has",
    "public struct Said has",
    "struct rewards::Leaf is gone",
    ["&Leaf {", "&Said {"],
  ],
  [
    "a module is gone",
    "beneficiary",
    "module k3s_daas::beneficiary;",
    null,
    "module beneficiary is gone",
  ],
  [
    "a struct's type parameter has another constraint",
    "statement",
    "IntentMessage<T: copy + drop> has",
    "IntentMessage<T: drop> has",
    "struct statement::IntentMessage differs",
  ],
  [
    "a private function, a private constant and an entry change",
    "k8s_gateway",
    "fun find(directory: &MasterDirectory, enclave: ID)",
    "entry fun new_here() {}\n\nfun find(directory: &MasterDirectory, enclave: ID)",
    null,
  ],
  [
    "a struct and a public function come",
    "version",
    "public fun current()",
    "public fun added(): Added { Added {} }\npublic struct Added has copy, drop {}\npublic fun current()",
    null,
  ],
];

/** The package's sources with one place changed. */
function changed(files, module, from, to) {
  const path = `sources/${module}.move`;
  if (files[path].split(from).length !== 2)
    throw new Error(`move/${path} does not have once: ${from}`);
  const { [path]: source, ...others } = files;
  return to === null ? others : { ...others, [path]: source.replace(from, () => to) };
}

/** A sentence is printed for each change that the check takes for another than it is. */
async function refusesWhatSuiRefuses(files, modules) {
  let good = true;
  const check = (what, before, after, expected) => {
    const found = refusals(before, after).join();
    if (found === (expected ?? "")) return;
    console.error(`where ${what}, refused is [${found}], expected [${expected ?? ""}]`);
    good = false;
  };
  for (const [what, module, from, to, expected, ...further] of CHANGES) {
    const edited = [[from, to], ...further].reduce(
      (sources, [old, now]) => changed(sources, module, old, now),
      files,
    );
    check(what, modules, abiOf(await modulesOf(edited)), expected);
  }
  // what would not compile in this package
  const phantom = structuredClone(modules);
  phantom.statement.structs.IntentMessage.type_parameters[0].phantom = true;
  check("a type parameter is phantom", modules, phantom, "struct statement::IntentMessage differs");
  const generic = structuredClone(modules);
  generic.scheduled.functions.has_next.type_parameters[0].pop();
  const differs = "public function scheduled::has_next differs";
  check("a type parameter has another constraint", modules, generic, differs);
  return good;
}

/** Before the package is published everything may be recorded anew, after that only what is added. */
function recordsWhatIsAllowed(modules) {
  const less = structuredClone(modules);
  delete less.treasury.functions.value;
  const cases = [
    ["a function goes before the publication", null, modules, less, 0],
    ["a function goes after the publication", "0xda", modules, less, 1],
    ["a function comes after the publication", "0xda", less, modules, 0],
  ];
  let good = true;
  for (const [what, published, before, after, count] of cases) {
    const { refused, content } = decide({ published, modules: before }, after);
    const written = JSON.parse(content);
    if (
      refused.length === count &&
      written.published === published &&
      JSON.stringify(written.modules) === JSON.stringify(after)
    )
      continue;
    console.error(`where ${what}, refused is [${refused}]`);
    good = false;
  }
  return good;
}

/** What version 2 brings along besides its number. */
const SECOND = `/// A later version's own: a function on an object that the first one made.
module k3s_daas::second;

use k3s_daas::{pool::Pool, staking::StakeRecord};
use sui::dynamic_field;

/// What version 1 could not keep is kept beside.
public struct LabelKey() has copy, drop, store;

public fun set_label(pool: &Pool, record: &mut StakeRecord, label: vector<u8>) {
    record.assert_own(pool);
    dynamic_field::add(record.uid_mut(), LabelKey(), label);
}

public fun label(record: &StakeRecord): vector<u8> {
    *dynamic_field::borrow(record.uid(), LabelKey())
}
`;
const SECOND_TESTS = `#[test_only]
module k3s_daas::migration_tests_of_the_second;

use k3s_daas::{administration, pool, second, staking, version, world::{Self, account, sui}};
use std::unit_test::{assert_eq, destroy};

#[test]
fun record_of_version_1_is_taken_over_and_used() {
    assert_eq!(version::current(), 2);
    let mut world = world::begin();
    let mut record = world.stake(1, sui(5));
    let (pool, treasury, _, _, _) = world.slasher_parts();
    pool.set_version_for_testing(1);
    treasury.set_version_for_testing(1);
    record.set_version_for_testing(1);
    let (pool, admin, _, _, _) = world.parts();
    pool.migrate(admin);
    staking::migrate_record(pool, &mut record);
    second::set_label(pool, &mut record, b"later");
    assert_eq!(second::label(&record), b"later");
    let (pool, treasury, _, _, _) = world.slasher_parts();
    administration::migrate_treasury(pool, treasury);
    world.act_as(account(1));
    world.ask_back(&mut record);
    world.wait(7 * 86_400_000);
    assert_eq!(world.withdraw(&mut record), sui(5));
    destroy(record);
    world.end();
}

#[test, expected_failure(abort_code = pool::EWrongVersion)]
fun version_2_does_not_work_on_a_pool_of_version_1() {
    let mut world = world::begin();
    let mut record = world.stake(1, sui(5));
    let (pool, _, _, _, _) = world.parts();
    pool.set_version_for_testing(1);
    second::set_label(pool, &mut record, b"early");
    destroy(record);
    world.end();
    abort
}
`;

/** Version 2 of the package, compiled: nothing of it is refused, and it takes objects over. */
async function secondVersion(files, modules) {
  const second = {
    ...changed(files, "version", "const VERSION: u64 = 1;", "const VERSION: u64 = 2;"),
    "sources/second.move": SECOND,
  };
  const refused = refusals(modules, abiOf(await modulesOf(second)));
  if (refused.length) {
    console.error(`version 2 would be refused: ${refused}`);
    return false;
  }
  const tests = { ...second, "tests/second_tests.move": SECOND_TESTS };
  // the goldens show version 1
  return testFiles(tests, "migration_tests");
}

/** Rehearses upgrades. */
export async function upgrade() {
  const files = await snapshot(PACKAGE);
  const { modules } = await recorded();
  const good = recordsWhatIsAllowed(modules) && (await refusesWhatSuiRefuses(files, modules));
  if (!good || !(await secondVersion(files, modules))) return false;
  console.log(`upgrade: ok, ${CHANGES.length} changes and a second version`);
  return true;
}
