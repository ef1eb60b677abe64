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
  "bench-load": "test/bench/load.ts",
  "bench-ui": "test/bench/ui.ts",
};

const FOLDERS = ["backend", "probes", "synthetic-tasks", "experiments", "test/bench", "test/helpers"];
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
  await writeAtomic(join(dist, "built.json"), JSON.stringify({ hash, names }));
  await removeOldChunks(join(dist, "chunks"), new Set(result.outputFiles.map((file) => file.path)));
  return names;
}

/** @param {string} dist @param {string} path */
function isChunk(dist, path) {
  return relative(dist, path).startsWith("chunks");
}

/** Chunks of earlier builds, once no running process can still import them. @param {string} folder @param {Set<string>} keep */
async function removeOldChunks(folder, keep) {
  if (!existsSync(folder)) return;
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    if (!keep.has(path) && Date.now() - statSync(path).mtimeMs > HOUR) await rm(path, { force: true });
  }
}

/** @param {string} root @returns {string | false} why dist/ is not what the sources say, or false when it is */
export function buildNeeded(root) {
  const record = readIfThere(join(root, "dist", "built.json"));
  if (record === undefined) return "not built";
  const { hash, names } = JSON.parse(record);
  if (hash !== sourcesHash(root)) return "sources changed";
  return names.every((/** @type {string} */ name) => existsSync(join(root, "dist", name)))
    ? false
    : "a file is missing";
}

/** @type {Step} */
export const bundle = {
  name: "build",
  needed: ({ root }) => buildNeeded(root),
  async run({ root }) {
    await build(root);
  },
};

if (process.argv[1] && import.meta.url === pathToFileURL(resolve(process.argv[1])).href) {
  const root = fileURLToPath(new URL("../..", import.meta.url));
  try {
    void problems.line(`built ${(await build(root)).length} files in dist/`);
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    void problems.line(`build: ${error.message}`);
    process.exitCode = 1;
  }
}
