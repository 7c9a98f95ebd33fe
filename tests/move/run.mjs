// Builds, tests and checks the Move package with Sui's own compiler, without a network.
//
// usage: node run.mjs build | test [FILTER] | format [--write] | goldens [--write]
import { format } from "./format.mjs";
import { goldens } from "./goldens.mjs";
import { build, test } from "./compiler.mjs";

const commands = {
  build,
  // the bytes that the tests hold must be those of goldens.json before they are asserted
  test: async (filter) => (await goldens()) && (await build()) && (await test(filter)),
  format,
  goldens,
};

const [name, ...rest] = process.argv.slice(2);
if (!(name in commands) || rest.length > 1) {
  console.error("usage: node run.mjs build | test [FILTER] | format [--write] | goldens [--write]");
  process.exit(2);
}
try {
  if (!(await commands[name](...rest))) process.exitCode = 1;
} catch (error) {
  console.error(`run.mjs ${name}: ${error.message}`);
  process.exitCode = 1;
}
