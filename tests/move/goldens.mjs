// move/goldens.json: the bytes and the aborts that the Move tests assert and the Rust client
// decodes. move/tests/goldens.move: the same bytes, for the Move tests.
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { modulesOf } from "./abi.mjs";
import { read } from "./bytecode.mjs";
import { PACKAGE, snapshot } from "./files.mjs";
import { formatted } from "./format.mjs";
import { goldenAddresses, goldenValues } from "./values.mjs";

/** Every `#[error(code = N)]` constant of the sources. */
async function aborts() {
  const found = [];
  for (const [path, source] of Object.entries(await snapshot(PACKAGE)).sort()) {
    if (!path.startsWith("sources/")) continue;
    const module = /^module\s+\w+::(\w+)/m.exec(source)[1];
    const error = /#\[error\(code = (\d+)\)\]\s*const (\w+): vector<u8> =\s*b"([^"]*)";/g;
    const here = [...source.matchAll(error)];
    if (here.length !== source.split("#[error").length - 1)
      throw new Error(`move/${path}: an #[error] constant is not of the expected form`);
    here.forEach(([, code, name, text], index) => {
      if (Number(code) !== index)
        throw new Error(`move/${path}: ${name} has code ${code}, expected ${index}`);
      found.push({ module, code: index, name, text });
    });
  }
  return found;
}

/** The functions of each module in the order of the bytecode, which an abort's location counts. */
const functionOrder = (modules) =>
  Object.fromEntries(modules.map(({ name, functions }) => [name, functions.map((f) => f.name)]));

/** Each abort with the functions that raise it. */
function located(found, modules) {
  const raised = new Map();
  for (const { name: module, functions } of modules)
    for (const { name, aborts: sites } of functions)
      for (const { code } of sites) {
        // an `#[error]` constant: 0b1100 above the code
        if (code >> 60n !== 0b1100n) continue;
        const key = `${module} ${(code >> 48n) & 0xffn}`;
        raised.set(key, (raised.get(key) ?? new Set()).add(name));
      }
  return found.map((abort) => ({
    ...abort,
    functions: [...(raised.get(`${abort.module} ${abort.code}`) ?? [])],
  }));
}

const functionName = ({ name, case: state }) =>
  `${name.replace("::", "_")}${state ? `_${state}` : ""}`
    .replace(/([a-z])([A-Z])/g, "$1_$2")
    .toLowerCase();

async function contents() {
  const structs = goldenValues();
  const addresses = goldenAddresses();
  const modules = read(await modulesOf(await snapshot(PACKAGE)));
  const found = located(await aborts(), modules);
  const unraised = found.filter(({ functions }) => !functions.length);
  if (unraised.length) throw new Error(`nothing raises ${unraised.map(({ name }) => name)}`);
  const json = JSON.stringify(
    { structs, addresses, aborts: found, functions: functionOrder(modules) },
    null,
    2,
  );
  const move = [
    "// The bytes of goldens.json. Written by `node tests/move/run.mjs goldens --write`.",
    "#[test_only]",
    "module k3s_daas::goldens;",
    ...structs.map(
      (golden) => `\npublic fun ${functionName(golden)}(): vector<u8> { x"${golden.bcs}" }`,
    ),
    ...addresses.map(({ name, address }) => `\npublic fun ${name}(): address { @${address} }`),
  ];
  return {
    "goldens.json": `${json}\n`,
    "tests/goldens.move": await formatted(`${move.join("\n")}\n`),
  };
}

/** What no test asserts: an abort that none expects, bytes that none compares. */
async function unasserted() {
  const files = await snapshot(PACKAGE);
  const tests = Object.keys(files)
    .filter((path) => path.startsWith("tests/") && path !== "tests/goldens.move")
    .map((path) => files[path])
    .join("\n");
  const expected = (await aborts())
    .map(({ module, name }) => `${module}::${name}`)
    .filter((abort) => !tests.includes(`expected_failure(abort_code = ${abort})`));
  const compared = [
    ...goldenValues().map(functionName),
    ...goldenAddresses().map(({ name }) => name),
  ]
    .map((name) => `goldens::${name}()`)
    .filter((call) => !tests.includes(call));
  return [...expected, ...compared];
}

/** Checks that both files are what the values and the sources make; `--write` writes them. */
export async function goldens(flag) {
  if (flag && flag !== "--write") throw new Error(`unexpected argument ${flag}`);
  let good = true;
  for (const [path, expected] of Object.entries(await contents())) {
    const file = join(PACKAGE, path);
    if ((await readFile(file, "utf8").catch(() => "")) === expected) continue;
    if (flag) {
      await writeFile(file, expected);
      console.log(`wrote move/${path}`);
    } else {
      console.error(
        `move/${path} is not what its sources make (node tests/move/run.mjs goldens --write)`,
      );
      good = false;
    }
  }
  for (const name of await unasserted()) {
    console.error(`no Move test asserts ${name}`);
    good = false;
  }
  if (good) console.log("goldens: ok");
  return good;
}
