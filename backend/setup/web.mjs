import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join, relative, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { SetupError } from "./failure.mjs";
import { filesBelow, readIfThere, sha256Files, writeAtomic } from "./files.mjs";
import { problems } from "./terminal.mjs";

/** @import { Step } from "./runner.mjs" */

const SOURCES = [".ts", ".svelte", ".css", ".html", ".svg", ".js", ".json"];
const HOUR = 3_600_000;

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
  await writeAtomic(join(root, "dist", "web.json"), JSON.stringify({ hash, names }));
  await removeOld(join(web, "assets"), new Set(names.map((name) => join(web, name))));
  return names;
}

/** @param {string} folder @param {Set<string>} keep */
async function removeOld(folder, keep) {
  for (const name of existsSync(folder) ? readdirSync(folder) : []) {
    const path = join(folder, name);
    if (!keep.has(path) && Date.now() - statSync(path).mtimeMs > HOUR) await rm(path, { force: true });
  }
}

/** @param {string} root @returns {string | false} why dist/web is not what the sources say, or false when it is */
export function webNeeded(root) {
  const record = readIfThere(join(root, "dist", "web.json"));
  if (record === undefined) return "not built";
  const { hash, names } = JSON.parse(record);
  if (hash !== webHash(root)) return "sources changed";
  return names.every((/** @type {string} */ name) => existsSync(join(root, "dist", "web", name)))
    ? false
    : "a file is missing";
}

/** @type {Step} */
export const web = {
  name: "front end",
  needed: ({ root }) => webNeeded(root),
  async run({ root }) {
    await buildWeb(root);
  },
};

if (process.argv[1] && import.meta.url === pathToFileURL(resolve(process.argv[1])).href) {
  const root = fileURLToPath(new URL("../..", import.meta.url));
  try {
    void problems.line(`built ${(await buildWeb(root)).length} files in dist/web/`);
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    void problems.line(`build: ${error.message}`);
    process.exitCode = 1;
  }
}
