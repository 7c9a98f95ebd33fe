// move/traces.json: random sequences of calls, and what the fullnode double does at each. Here they
// become Move tests, which carry the same calls out in Sui's own VM: the same aborts with the same
// module and code, the same events, the same coins to the same accounts, the same objects. The double
// writes the file (tests/fullnode/src/package/traces/mod.rs, which also says what is left out).
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { testFiles } from "./compiler.mjs";
import { PACKAGE, snapshot } from "./files.mjs";

const MODULE = "traces_of_the_double";

const call = ({ call: name, arguments: numbers }) =>
  `stage.${name}(${numbers.join(", ")});`;

/** What is checked of a step that succeeds. */
function checks({ events, paid, given, shared, objects }) {
  const lines = [`trace_stage::events(${events.length});`];
  const seen = new Map();
  for (const { type, bcs } of events) {
    const index = seen.get(type) ?? 0;
    seen.set(type, index + 1);
    lines.push(`stage.shows_event<k3s_daas::${type}>(${index}, x"${bcs}");`);
  }
  lines.push(`stage.settle(${given}, ${shared});`);
  for (const { account, amount } of paid) lines.push(`stage.pays(@${account}, ${amount});`);
  for (const { object, index, bcs, blake2b } of objects) {
    const place = index === null ? "" : `${index}, `;
    lines.push(`stage.shows_${object}(${place}x"${bcs ?? blake2b}");`);
  }
  return lines;
}

const block = (name, head, lines) => `${head}fun ${name}\n${lines.map((l) => `    ${l}\n`).join("")}}\n`;

/** A sequence: one test of all that succeeds, and one for each abort that is looked at, after what
 * succeeded before. */
function sequence({ seed, steps }, looked) {
  const numbered = steps.map((step, index) => ({ ...step, index }));
  const done = numbered.filter((step) => !step.abort);
  const aborted = numbered.filter(({ abort, index }) => abort && looked(steps[index]));
  const parts = [];
  for (const step of done) {
    const name = `do_${seed}_${step.index}(stage: &mut Stage) {`;
    parts.push(block(name, "", [call(step), ...checks(step)]));
  }
  // up to a step
  const upTo = done.map(({ index }) => `if (end > ${index}) do_${seed}_${index}(stage);`);
  parts.push(block(`run_${seed}(stage: &mut Stage, end: u64) {`, "", upTo));
  parts.push(
    block(`sequence_${seed}_does_the_same() {`, "#[test]\n", [
      "let mut stage = trace_stage::begin();",
      `run_${seed}(&mut stage, ${steps.length});`,
      "stage.end();",
    ]),
  );
  for (const step of aborted) {
    const { module, name, code } = step.abort;
    const head = `#[test, expected_failure(abort_code = k3s_daas::${module}::${name})]\n// ${code}\n`;
    parts.push(
      block(`sequence_${seed}_step_${step.index}_aborts_the_same() {`, head, [
        "let mut stage = trace_stage::begin_without_comparing();",
        `run_${seed}(&mut stage, ${step.index});`,
        call(step),
        "stage.end();",
      ]),
    );
  }
  return parts;
}

/** The Move tests of a sequence, a module of its own: the compiler is slow with big ones. */
export function testsOf(trace, looked = () => true) {
  return (
    `/// A sequence of calls that the double has carried out.\n#[test_only]\n` +
    `module k3s_daas::${MODULE}_${trace.seed};\n\nuse k3s_daas::trace_stage::{Self, Stage};\n\n` +
    sequence(trace, looked).join("\n")
  );
}

// Each abort is a test that begins anew, and takes the longer the more comes before: of the steps of a
// kind that abort for the same reason, so many are looked at, those with the least before them.
const OF_A_KIND = 1;

/** The steps that abort and are looked at when all sequences are carried out. */
function chosen(all) {
  const kinds = new Map();
  for (const { steps } of all) {
    let before = 0;
    for (const step of steps) {
      if (!step.abort) {
        before += 1;
        continue;
      }
      const kind = `${step.call} ${step.abort.module}::${step.abort.name}`;
      kinds.set(kind, [...(kinds.get(kind) ?? []), { step, before }]);
    }
  }
  const first = [...kinds.values()].flatMap((steps) =>
    steps.sort((a, b) => a.before - b.before).slice(0, OF_A_KIND),
  );
  return new Set(first.map(({ step }) => step));
}

/** Carries the traces out: the one of a seed, or all with fewer of their aborts. */
export async function traces(seed) {
  const all = JSON.parse(await readFile(join(PACKAGE, "traces.json"), "utf8"));
  const kept = seed ? all.filter((trace) => trace.seed === Number(seed)) : all;
  const files = await snapshot(PACKAGE);
  const few = chosen(all);
  const looked = (step) => Boolean(seed) || few.has(step);
  for (const trace of kept) files[`tests/traces_${trace.seed}.move`] = testsOf(trace, looked);
  const steps = kept.flatMap((trace) => trace.steps);
  const aborts = steps.filter(({ abort }) => abort);
  const reasons = new Set(aborts.map(({ abort }) => `${abort.module}::${abort.name}`));
  console.log(
    `traces: ${kept.length} sequences of ${steps.length} steps, ${aborts.length} of which abort for ` +
      `${reasons.size} reasons: ${seed ? "all" : few.size} looked at`,
  );
  return testFiles(files, MODULE);
}
