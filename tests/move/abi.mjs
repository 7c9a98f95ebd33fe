// move/abi.json: what others link against. Sui's upgrade policy `compatible` lets a package's new
// version add modules, functions and structs and change what is private, public(package) or entry;
// it refuses every change to a public function's signature and to a struct
// (https://docs.sui.io/concepts/sui-move-concepts/packages/upgrade, and move-binary-format's
// compatibility.rs). The check here refuses the same, before anybody pays for a transaction.
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { read } from "./bytecode.mjs";
import { compile } from "./compiler.mjs";
import { PACKAGE, snapshot } from "./files.mjs";

const FILE = join(PACKAGE, "abi.json");

/** What is linked against, of modules as the compiler returns them. */
export function abiOf(modules) {
  const abi = {};
  for (const { name, functions, structs } of read(modules)) {
    abi[name] = { functions: {}, structs: {} };
    for (const { name: called, visibility, type_parameters, parameters, returns } of functions)
      if (visibility === "public")
        abi[name].functions[called] = { type_parameters, parameters, returns };
    for (const { name: called, abilities, type_parameters, fields } of structs)
      abi[name].structs[called] = { abilities, type_parameters, fields };
  }
  return abi;
}

/** Why an upgrade from one to the other is refused; nothing: it is not. */
export function refusals(before, after) {
  const found = [];
  for (const [module, { functions, structs }] of Object.entries(before)) {
    if (!(module in after)) {
      found.push(`module ${module} is gone`);
      continue;
    }
    const same = (kind, name, old, now) => {
      if (now === undefined) found.push(`${kind} ${module}::${name} is gone`);
      else if (JSON.stringify(old) !== JSON.stringify(now))
        found.push(`${kind} ${module}::${name} differs`);
    };
    for (const [name, old] of Object.entries(functions))
      same("public function", name, old, after[module].functions[name]);
    for (const [name, old] of Object.entries(structs))
      same("struct", name, old, after[module].structs[name]);
  }
  return found;
}

export async function modulesOf(files) {
  const result = await compile(files);
  if ("error" in result) throw new Error(result.error);
  return result.modules;
}

/** What abi.json records: the package's id once it is published (null before), and the modules. */
export const recorded = async () => JSON.parse(await readFile(FILE, "utf8"));

/** A line for each function and struct, so that a change is a line. */
function text({ published, modules }) {
  const written = Object.entries(modules).map(([name, { functions, structs }]) => {
    const lines = (entries) =>
      Object.entries(entries)
        .map(([key, value]) => `\n        ${JSON.stringify(key)}: ${JSON.stringify(value)}`)
        .join(",");
    const close = (entries) => (Object.keys(entries).length ? "\n      " : "");
    return (
      `    ${JSON.stringify(name)}: {\n` +
      `      "functions": {${lines(functions)}${close(functions)}},\n` +
      `      "structs": {${lines(structs)}${close(structs)}}\n    }`
    );
  });
  return `{\n  "published": ${JSON.stringify(published)},\n  "modules": {\n${written.join(",\n")}\n  }\n}\n`;
}

/**
 * What to do about a record and the modules of the sources: `refused`, why nothing is written, or
 * `content`, what abi.json has to be. Before the package is published, every change is allowed.
 */
export function decide(record, modules) {
  const refused = record.published === null ? [] : refusals(record.modules, modules);
  return { refused, content: text({ published: record.published, modules }) };
}

/**
 * Checks that the sources are no other than abi.json says. `--write` writes it: before the package
 * is published whatever has changed, after that what is new, and it takes nothing away.
 */
export async function abi(flag) {
  if (flag && flag !== "--write") throw new Error(`unexpected argument ${flag}`);
  const modules = abiOf(await modulesOf(await snapshot(PACKAGE)));
  const { refused, content } = decide(await recorded(), modules);
  for (const reason of refused) console.error(`refused by Sui's policy "compatible": ${reason}`);
  if (refused.length) return false;
  if ((await readFile(FILE, "utf8")) !== content) {
    if (!flag) {
      console.error("move/abi.json is not what the sources are (node tests/move/run.mjs abi --write)");
      return false;
    }
    await writeFile(FILE, content);
    console.log("wrote move/abi.json");
  }
  console.log("abi: ok");
  return true;
}
