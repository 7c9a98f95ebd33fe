// Where things lie, and how a folder becomes the map of paths to texts that the compiler takes.
import { execFileSync } from "node:child_process";
import { readFile, readdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));

/** The Move package. */
export const PACKAGE = join(here, "../../move");
/** The sources of Sui's compiler and test VM, in WebAssembly. */
export const COMPILER = join(here, "node_modules/@zktx.io/sui-move-builder/dist");

/** The framework's sources, in the crate that carries them. */
export function frameworkDirectory() {
  const metadata = JSON.parse(
    execFileSync("cargo", ["metadata", "--locked", "--offline", "--format-version", "1"], {
      cwd: join(here, "framework"),
      encoding: "utf8",
      maxBuffer: 64 << 20,
      stdio: ["ignore", "pipe", "inherit"],
    }),
  );
  const crate = metadata.packages.find(({ name }) => name === "moverox-sui");
  if (!crate) throw new Error("tests/move/framework does not depend on moverox-sui");
  return join(dirname(crate.manifest_path), "move");
}

/** Path below `directory` → text, of every Move source and manifest. */
export async function snapshot(directory) {
  const files = {};
  const walk = async (below) => {
    for (const entry of await readdir(join(directory, below), { withFileTypes: true })) {
      const path = below ? `${below}/${entry.name}` : entry.name;
      if (entry.isDirectory()) {
        if (entry.name !== "build" && !entry.name.startsWith(".")) await walk(path);
      } else if (/\.(move|toml|lock)$/.test(entry.name)) {
        files[path] = await readFile(join(directory, path), "utf8");
      }
    }
  };
  await walk("");
  return files;
}
