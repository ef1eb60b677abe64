import { readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { buildAlone, outdated, removeOld } from "./build.mjs";
import { SetupError } from "./failure.mjs";
import { filesBelow, sha256Files, writeAtomic } from "./files.mjs";

/** @import { Step } from "./runner.mjs" */

const SOURCES = [".ts", ".svelte", ".css", ".html", ".svg", ".js", ".json"];
const RECORD = "dist/web.json";

/** @param {string} root @returns {string} hash of every source of the front end and of the lock file */
function webHash(root) {
  return sha256Files([join(root, "package-lock.json"), ...filesBelow(join(root, "frontend"), SOURCES)]);
}

/**
 * Builds the front end to dist/web: hashed files first, index.html after them, the record last, so that a server that runs
 * meanwhile always has a whole one. Files of the build before stay for an hour, for the pages that are open.
 * @param {string} root
 * @returns {Promise<string[]>} names of the files in dist/web
 * @throws {SetupError} input, when a source does not compile
 */
export async function buildWeb(root) {
  const hash = webHash(root);
  const { build } = await import("vite");
  const { NODE_ENV } = process.env;
  let result;
  try {
    // What is served is the same whoever builds it: with "test" Svelte's checks for developers would go along, a fifth more to fetch.
    process.env.NODE_ENV = "production";
    result = await build({
      configFile: join(root, "frontend", "vite.config.ts"),
      logLevel: "silent",
      build: { write: false },
    });
  } catch (error) {
    const { message, id } = /** @type {Error & { id?: string }} */ (error);
    const at = id === undefined ? "" : `${relative(root, id)}: `;
    throw new SetupError("input", `${at}${message}`, { remedy: "mend that and run again" });
  } finally {
    // What is started next must not take "production" for its own.
    if (NODE_ENV === undefined) delete process.env.NODE_ENV;
    else process.env.NODE_ENV = NODE_ENV;
  }
  /** @type {Map<string, string | Uint8Array>} */
  const files = new Map();
  for (const { output } of /** @type {import("vite").Rolldown.RolldownOutput[]} */ ([result].flat()))
    for (const file of output) files.set(file.fileName, file.type === "chunk" ? file.code : file.source);
  const pages = join(root, "frontend", "public");
  for (const path of filesBelow(pages, SOURCES)) files.set(relative(pages, path), readFileSync(path));
  const web = join(root, "dist", "web");
  const names = [...files.keys()].sort((a, b) => Number(a === "index.html") - Number(b === "index.html"));
  for (const name of names) await writeAtomic(join(web, name), files.get(name) ?? "");
  await writeAtomic(join(root, RECORD), JSON.stringify({ hash, names }));
  await removeOld(join(web, "assets"), new Set(names.map((name) => join(web, name))));
  return names;
}

/** @param {string} root @returns {string | false} why dist/web is not what the sources say, or false when it is */
export function webNeeded(root) {
  return outdated(join(root, RECORD), join(root, "dist", "web"), () => webHash(root));
}

/** @type {Step} */
export const web = {
  name: "front end",
  needed: ({ root }) => webNeeded(root),
  async run({ root }) {
    await buildWeb(root);
  },
};

await buildAlone(import.meta.url, "dist/web/", buildWeb);
