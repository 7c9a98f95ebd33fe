// move/traces.json: random sequences of calls, and what the fullnode double does at each. Here they
// become Move tests, which carry the same calls out in Sui's own VM: the same aborts with the same
// module and code, the same events, the same objects. The double writes the file
// (tests/fullnode/src/package/traces/mod.rs, which also says what is left out).
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { testFiles } from "./compiler.mjs";
import { PACKAGE, snapshot } from "./files.mjs";

const MODULE = "traces_of_the_double";

const call = ({ call: name, arguments: numbers }) =>
  `stage.${name}(${numbers.join(", ")});`;

/** What is checked of a step that succeeds. */
function checks({ events, objects }) {
  const lines = [`trace_stage::events(${events.length});`];
  const seen = new Map();
  for (const { type, bcs } of events) {
    const index = seen.get(type) ?? 0;
    seen.set(type, index + 1);
    lines.push(`stage.shows_event<k3s_daas::${type}>(${index}, x"${bcs}");`);
  }
  lines.push("stage.settle();");
  for (const { object, index, bcs } of objects) {
    const place = index === null ? "" : `${index}, `;
    lines.push(`stage.shows_${object}(${place}x"${bcs}");`);
  }
  return lines;
}

const block = (name, head, lines) => `${head}fun ${name}\n${lines.map((l) => `    ${l}\n`).join("")}}\n`;

/** A sequence: one test of all that succeeds, and one for each abort that is looked at, after what
 * succeeded before. */
function sequence({ seed, steps }, looked) {
  const numbered = steps.map((step, index) => ({ ...step, index }));
  const done = numbered.filter((step) => !step.abort);
  const aborted = numbered.filter((step) => step.abort && looked(step));
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
        "let mut stage = trace_stage::begin();",
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

// Each test begins anew, and takes the longer the more there are: of all sequences together, so many
// aborts of a kind are looked at.
const OF_A_KIND = 4;

/** Carries the traces out: the one of a seed, or all with fewer of their aborts. */
export async function traces(seed) {
  const all = JSON.parse(await readFile(join(PACKAGE, "traces.json"), "utf8"));
  const kept = seed ? all.filter((trace) => trace.seed === Number(seed)) : all;
  const files = await snapshot(PACKAGE);
  const kinds = new Map();
  const looked = ({ abort }) => {
    const kind = `${abort.module}::${abort.name}`;
    kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
    return seed || kinds.get(kind) <= OF_A_KIND;
  };
  for (const trace of kept) files[`tests/traces_${trace.seed}.move`] = testsOf(trace, looked);
  const count = kept.reduce((sum, { steps }) => sum + steps.length, 0);
  const aborts = [...kinds.values()].reduce((sum, one) => sum + one, 0);
  console.log(
    `traces: ${kept.length} sequences of ${count} calls, ${aborts} of which abort for ` +
      `${kinds.size} reasons${seed ? "" : `: ${OF_A_KIND} of each looked at`}`,
  );
  return testFiles(files, MODULE);
}
