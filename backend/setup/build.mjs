import { existsSync, readdirSync, statSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join, relative, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { SetupError } from "./failure.mjs";
import { filesBelow, readIfThere, sha256Files, writeAtomic } from "./files.mjs";
import { buildSecondSignal } from "./native/second-signal.mjs";
import { problems } from "./terminal.mjs";

/** @import { Step } from "./runner.mjs" */

/** Bundles: name below dist/ (without .js) to source. */
const ENTRIES = {
  index: "backend/index.ts",
  "cli/main": "backend/cli/main.ts",
  worker: "backend/workers/worker.ts",
  "chat-template": "backend/models/tokenizers/chat/program.ts",
  "models/pull": "backend/models/sources/pull.ts",
  bench: "test/bench/bench.ts",
  "bench-load": "test/bench/children/load.ts",
  "bench-decode": "test/bench/children/decode.ts",
  "bench-eap-ig": "test/bench/children/eap-ig.ts",
  "bench-cost": "test/bench/cost.ts",
  "bench-ui": "test/bench/ui.ts",
};

const FOLDERS = ["backend", "probes", "synthetic-tasks", "experiments", "test/bench", "test/helpers"];
const RECORD = "dist/built.json";
const HOUR = 3_600_000;

/** @param {string} root @returns {string} hash of every source and of the lock file */
function sourcesHash(root) {
  const sources = FOLDERS.flatMap((folder) => filesBelow(join(root, folder), [".ts", ".mjs", ".json", ".cc"]));
  return sha256Files([join(root, "package.json"), join(root, "package-lock.json"), ...sources]);
}

/**
 * Bundles headscope's own sources to dist/: modules that share chunks, packages left outside, with source maps.
 * Files appear whole; the record of what was built comes last.
 * @param {string} root
 * @param {Record<string, string>} [entries] for tests
 * @returns {Promise<string[]>} names of the files in dist/
 * @throws {SetupError} input, when a source does not compile
 */
export async function build(root, entries = ENTRIES) {
  const hash = sourcesHash(root);
  const esbuild = await import("esbuild");
  const dist = join(root, "dist");
  let result;
  try {
    result = await esbuild.build({
      absWorkingDir: root,
      entryPoints: entries,
      outdir: dist,
      bundle: true,
      splitting: true,
      chunkNames: "chunks/[name]-[hash]",
      format: "esm",
      platform: "node",
      target: "node20.19",
      packages: "external",
      sourcemap: true,
      write: false,
      logLevel: "silent",
    });
  } catch (error) {
    const [first] = /** @type {import("esbuild").BuildFailure} */ (error).errors ?? [];
    if (!first) throw error;
    const at = first.location ? `${first.location.file}:${first.location.line}: ` : "";
    throw new SetupError("input", `${at}${first.text}`, { remedy: "mend that line and run again" });
  }
  const names = result.outputFiles.map((file) => relative(dist, file.path));
  const chunksFirst = [...result.outputFiles].sort(
    (a, b) => Number(isChunk(dist, b.path)) - Number(isChunk(dist, a.path)),
  );
  for (const file of chunksFirst) await writeAtomic(file.path, file.contents);
  await buildSecondSignal(root);
  await writeAtomic(join(root, RECORD), JSON.stringify({ hash, names }));
  await removeOld(join(dist, "chunks"), new Set(result.outputFiles.map((file) => file.path)));
  return names;
}

/** @param {string} dist @param {string} path */
function isChunk(dist, path) {
  return relative(dist, path).startsWith("chunks");
}

/** Removes files of earlier builds, once no process or page can still ask for them. @param {string} folder @param {Set<string>} keep */
export async function removeOld(folder, keep) {
  for (const name of existsSync(folder) ? readdirSync(folder) : []) {
    const path = join(folder, name);
    const written = statSync(path, { throwIfNoEntry: false })?.mtimeMs; // another build may have renamed it by now
    if (written !== undefined && !keep.has(path) && Date.now() - written > HOUR) await rm(path, { force: true });
  }
}

/**
 * Compares what was built with its sources.
 * @param {string} record path of the record that the build wrote last: the hash of the sources, and the names of the files
 * @param {string} folder of the files
 * @param {() => string} hashOf hash of the sources as they are now
 * @returns {string | false} why the folder is not what the sources say, or false when it is
 */
export function outdated(record, folder, hashOf) {
  const text = readIfThere(record);
  if (text === undefined) return "not built";
  const { hash, names } = JSON.parse(text);
  if (hash !== hashOf()) return "sources changed";
  return names.every((/** @type {string} */ name) => existsSync(join(folder, name))) ? false : "a file is missing";
}

/** @param {string} root @returns {string | false} why dist/ is not what the sources say, or false when it is */
export function buildNeeded(root) {
  return outdated(join(root, RECORD), join(root, "dist"), () => sourcesHash(root));
}

/** @type {Step} */
export const bundle = {
  name: "build",
  needed: ({ root }) => buildNeeded(root),
  async run({ root }) {
    await build(root);
  },
};

/**
 * Builds where a script was started by itself.
 * @param {string} script its import.meta.url
 * @param {string} folder where it builds
 * @param {(root: string) => Promise<string[]>} make gives the names of the files
 */
export async function buildAlone(script, folder, make) {
  if (!process.argv[1] || script !== pathToFileURL(resolve(process.argv[1])).href) return;
  try {
    const names = await make(fileURLToPath(new URL("../..", import.meta.url)));
    void problems.line(`built ${names.length} files in ${folder}`);
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    void problems.line(`build: ${error.message}`);
    process.exitCode = 1;
  }
}

await buildAlone(import.meta.url, "dist/", build);
