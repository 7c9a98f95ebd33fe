// The formatter: Mysten Labs' plugin for prettier.
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as prettier from "prettier";
import * as move from "@mysten/prettier-plugin-move";
import { PACKAGE, snapshot } from "./files.mjs";

/** A Move source, formatted. */
export const formatted = (source) =>
  prettier.format(source, { parser: "move", plugins: [move], printWidth: 100, tabWidth: 4 });

/** Checks that every source is formatted; `--write` formats them. */
export async function format(flag) {
  if (flag && flag !== "--write") throw new Error(`unexpected argument ${flag}`);
  let good = true;
  for (const [path, source] of Object.entries(await snapshot(PACKAGE))) {
    if (!path.endsWith(".move")) continue;
    const expected = await formatted(source);
    if (expected === source) continue;
    if (flag) {
      await writeFile(join(PACKAGE, path), expected);
      console.log(`formatted move/${path}`);
    } else {
      console.error(`not formatted: move/${path} (node tests/move/run.mjs format --write)`);
      good = false;
    }
  }
  if (good) console.log("format: ok");
  return good;
}
