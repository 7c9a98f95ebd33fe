// Sui's Move compiler and unit-test VM.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { COMPILER, PACKAGE, frameworkDirectory, snapshot } from "./files.mjs";

// Nothing here may depend on a network: what the compiler's package asks for lies beside it.
globalThis.fetch = async (url) => {
  if (!String(url).startsWith("file:")) throw new Error(`no network here: ${url}`);
  const headers = { "content-type": "application/wasm" };
  return new Response(await readFile(new URL(url)), { headers });
};

/** Hands the compiler the framework that the manifest leaves implicit. */
class Framework {
  #directory = frameworkDirectory();

  async fetch(_repository, _revision, folder) {
    return snapshot(join(this.#directory, folder.split("/").pop()));
  }
  async fetchLocal(path) {
    throw new Error(`the package has no local dependencies, and asked for ${path}`);
  }
  async fetchFile() {
    return null;
  }
  getResolvedSha(_repository, revision) {
    return revision;
  }
}

async function load(entry) {
  const compiler = await import(
    entry === "full" ? "@zktx.io/sui-move-builder/full" : "@zktx.io/sui-move-builder"
  );
  const wasm = await readFile(join(COMPILER, entry, "sui_move_wasm_bg.wasm"));
  await compiler.initMovePackageBuilder({ wasm });
  return compiler;
}

const input = (files) => ({ files, network: "mainnet", fetcher: new Framework(), lintFlag: "all" });

/** The modules of a package, in bytecode (base64), or an error. */
export async function compile(files) {
  const compiler = await load("lite");
  return compiler.prepareMovePackagePublish(input(files));
}

/** Compiles as `sui client publish` would; a warning is a failure. */
export async function build() {
  const compiler = await load("lite");
  const result = await compile(await snapshot(PACKAGE));
  if ("error" in result) {
    console.error(result.error);
    return false;
  }
  if (result.warnings?.length) {
    console.error([result.warnings].flat().join("\n"));
    console.error("the compiler warns: that is a failure here");
    return false;
  }
  const bytes = result.modules.map((module) => Buffer.from(module, "base64").length);
  const digest = Buffer.from(result.digest).toString("hex");
  console.log(
    `built with Sui ${await compiler.getPinnedSuiVersion()}: ${bytes.length} modules, ` +
      `${bytes.reduce((sum, length) => sum + length, 0)} bytes, digest ${digest}`,
  );
  return true;
}

/** Leaves of a file's tests those whose `module::name` contains the filter. */
function only(filter, source) {
  const module = /^module\s+\w+::(\w+)/m.exec(source)?.[1];
  return source.replace(/#\[test\b[^\]]*\](?=\s*(?:public\s+)?fun\s+(\w+))/g, (attribute, name) =>
    `${module}::${name}`.includes(filter) ? attribute : "#[allow(unused_function)]",
  );
}

/** Runs the unit tests of the package; at least one must run, and none may fail. */
export async function test(filter) {
  return testFiles(await snapshot(PACKAGE), filter);
}

/** Runs the unit tests of these files. */
export async function testFiles(files, filter) {
  if (filter) {
    for (const path of Object.keys(files).filter((path) => path.startsWith("tests/")))
      files[path] = only(filter, files[path]);
  }
  const compiler = await load("full");
  const result = await compiler.testMovePackage(input(files));
  if ("error" in result) {
    console.error(result.error);
    return false;
  }
  console.log(result.output);
  const totals = /Total tests: (\d+); passed: (\d+); failed: (\d+)/.exec(result.output);
  if (!totals || totals[1] === "0") {
    console.error(`no test ran${filter ? `: none has "${filter}" in its name` : ""}`);
    return false;
  }
  // the line that .ci/run counts
  console.log(`${totals[2]} passed, ${totals[3]} failed`);
  return result.passed && totals[3] === "0";
}
