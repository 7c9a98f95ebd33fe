// Builds, tests and checks the Move package with Sui's own compiler, without a network.
//
// usage: node run.mjs build | test [FILTER] | upgrade | traces [SEED] | format [--write] | goldens [--write] | abi [--write]
import { abi } from "./abi.mjs";
import { format } from "./format.mjs";
import { goldens } from "./goldens.mjs";
import { build, test } from "./compiler.mjs";
import { traces } from "./traces.mjs";
import { upgrade } from "./upgrade.mjs";

const commands = {
  build,
  // the bytes that the tests hold must be those of goldens.json before they are asserted
  test: async (filter) =>
    (await goldens()) &&
    (await build()) &&
    (filter || ((await abi()) && (await upgrade()) && (await traces()))) &&
    (await test(filter)),
  upgrade,
  traces,
  format,
  goldens,
  abi,
};

const [name, ...rest] = process.argv.slice(2);
if (!(name in commands) || rest.length > 1) {
  console.error(
    "usage: node run.mjs build | test [FILTER] | upgrade | traces [SEED] | format [--write] | goldens [--write] | " +
      "abi [--write]",
  );
  process.exit(2);
}
try {
  if (!(await commands[name](...rest))) process.exitCode = 1;
} catch (error) {
  console.error(`run.mjs ${name}: ${error.message}`);
  process.exitCode = 1;
}
