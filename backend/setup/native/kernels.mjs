import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { mkdir, rename, rm } from "node:fs/promises";
import { availableParallelism, cpus } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { SetupError } from "../failure.mjs";
import { filesBelow, installFile, partOf, readIfThere, removeLeftovers, sha256Files, writeAtomic } from "../files.mjs";
import { withLock } from "../lock.mjs";
import { firstError, runProcess } from "../process.mjs";
import { fetchWheel } from "./pip.mjs";
import { chooseHeaders, hasKernelHeaders, hasLibraries, LIBRARIES, libraryFolder, TENSORFLOW } from "./tensorflow.mjs";

/** @import { Context, Step } from "../runner.mjs" */

/** Folder of the kernels' sources, from the root. */
export const KERNEL_SOURCES = "backend/kernels/native";

/** Flags of every build; GCC's own warnings about uninitialised vectors come from its headers. */
export const KERNEL_FLAGS = "-std=c++17 -O3 -ffp-contract=fast -fPIC -fvisibility=hidden -Wno-psabi".split(" ");

/** Flags that make a build this machine's own. */
export const NATIVE_FLAGS = ["-march=native", "-mprefer-vector-width=512"];

/** Characters of a failure that people are shown; the log has all of it. */
const LONGEST_REASON = 200;

/**
 * @typedef {object} KernelRecord what became of the kernels on a kind of machine
 * @property {string} compiler that built them
 * @property {string} [library] name of what was built, in the folder of the record; absent where that failed
 * @property {string | undefined} [digest] SHA-256 of the library: one that was cut off would end the process that loads it
 * @property {string} [failure] why there is none, one line
 */

/** The processor's features as one text: kernels of another set may hold instructions that this one lacks. @returns {string} */
export function processorFeatures() {
  const info = readIfThere("/proc/cpuinfo") ?? "";
  const flags = /^(?:flags|Features)\s*:\s*(.*)$/m.exec(info)?.[1];
  return `${process.arch} ${flags?.trim().split(/\s+/).sort().join(" ") ?? cpus()[0]?.model ?? "unknown"}`;
}

/**
 * Folder of the kernels of these sources for this kind of processor; each compiler's lie in it, and the record of the last.
 * @param {string} root of the repository
 * @param {string} cache
 * @param {string} [features] default this processor's
 */
export function kernelFolder(root, cache, features = processorFeatures()) {
  const sources = filesBelow(join(root, KERNEL_SOURCES), [".cc", ".h"]).map((path) => readIfThere(path) ?? "");
  const flags = [...KERNEL_FLAGS, ...NATIVE_FLAGS].join(" ");
  const key = sha256Files([], [features, flags, TENSORFLOW.sha256, libraryFolder(cache), ...sources]).slice(0, 16);
  return join(libraryFolder(cache), "kernels", key);
}

/** @param {string} folder `kernelFolder` @returns {KernelRecord | undefined} undefined where nobody has tried, or the record is damaged */
export function kernelRecord(folder) {
  try {
    const record = JSON.parse(readIfThere(join(folder, "record.json")) ?? "null");
    const whole = [record?.library, record?.failure].some((text) => typeof text === "string");
    return whole ? record : undefined;
  } catch {
    return undefined;
  }
}

/**
 * The library of a record, where it is as it was built.
 * @param {string} folder `kernelFolder`
 * @param {KernelRecord} record
 * @returns {string | undefined} its path
 */
export function kernelLibraryFile(folder, { library, digest }) {
  const path = library === undefined ? undefined : join(folder, library);
  return path !== undefined && digestOf(path) === digest ? path : undefined;
}

/** @param {string} path @returns {string | undefined} SHA-256 of a file; undefined where it cannot be read */
function digestOf(path) {
  try {
    return createHash("sha256").update(readFileSync(path)).digest("hex");
  } catch {
    return undefined;
  }
}

/** @returns {Promise<string | undefined>} the compiler with its version and build; undefined where there is none */
export async function compilerName() {
  const { code, output } = await runProcess("g++", ["--version"]);
  return code === 0 ? output.split("\n")[0] : undefined;
}

/** @type {Step} */
export const kernels = {
  name: "native kernels",
  async needed({ root, cache, env }) {
    const forced = env["HEADSCOPE_BACKEND"];
    if (env["HEADSCOPE_KERNELS"] === "off" || (forced && forced !== "tensorflow") || !hasLibraries(cache)) return false;
    const compiler = await compilerName();
    if (compiler === undefined) return false; // `doctor` says so
    const folder = kernelFolder(root, cache);
    const record = kernelRecord(folder);
    if (record === undefined) return "not compiled for this processor and version";
    if (record.compiler !== compiler) return "compiled by another compiler";
    const built = record.failure !== undefined || kernelLibraryFile(folder, record) !== undefined;
    return built ? false : "a file is missing or damaged";
  },
  async run(context) {
    const { root, cache, signal, progress, skip } = context;
    const folder = kernelFolder(root, cache);
    await withLock(
      join(cache, "locks", "kernels.lock"),
      async () => {
        if ((await kernels.needed(context)) === false) return; // another process was here
        const compiler = (await compilerName()) ?? "";
        const failure = await buildOrWhyNot(context, folder, compiler);
        if (failure !== undefined) skip(`no native kernels: ${failure}; headscope works without them, more slowly`);
      },
      { signal, onWait: (owner) => progress(`waiting for ${owner}, which compiles the same`) },
    );
  },
};

/**
 * Builds, tries and records. Whatever fails, an interruption apart, is recorded: nothing else hangs on the kernels.
 * @param {Context} context
 * @param {string} folder
 * @param {string} compiler
 * @returns {Promise<string | undefined>} why there are none
 */
async function buildOrWhyNot(context, folder, compiler) {
  const { cache } = context;
  const library = `kernels-${sha256Files([], [compiler]).slice(0, 8)}.node`;
  const work = partOf(join(cache, "compile-kernels"));
  try {
    await removeLeftovers(cache);
    await fetchHeaders(context);
    const built = await compile(context, work);
    await verify(context, built);
    await installFile(built, join(folder, library));
  } catch (error) {
    if (!(error instanceof SetupError) || error.kind === "cancelled") throw error;
    // What may be otherwise the next time is tried again then.
    if (error.kind === "unsupported") await record(folder, { compiler, failure: error.message });
    return error.message;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  await record(folder, { compiler, library, digest: digestOf(join(folder, library)) });
  return undefined;
}

/** @param {string} folder @param {KernelRecord} what */
async function record(folder, what) {
  await writeAtomic(join(folder, "record.json"), JSON.stringify(what));
}

/** Caches of earlier versions lack some of the wheel's headers. @param {Context} context */
async function fetchHeaders({ cache, signal, progress, log, env }) {
  if (hasKernelHeaders(cache)) return;
  progress(`fetching the headers of ${TENSORFLOW.package} ${TENSORFLOW.version}`);
  const wheel = await fetchWheel(TENSORFLOW, { cache, signal, onOutput: log, env });
  const { extract } = await import("./wheel.mjs");
  const folder = libraryFolder(cache);
  const part = partOf(join(cache, "headers"));
  try {
    await extract(wheel, chooseHeaders, part, { signal });
    await rm(join(folder, "include"), { recursive: true, force: true });
    await rename(join(part, "include"), join(folder, "include"));
  } finally {
    await rm(part, { recursive: true, force: true });
  }
  await rm(wheel, { force: true });
}

/**
 * Compiles the sources, a unit on each processor, and links them to the cached libraries.
 * @param {Context} context
 * @param {string} work folder that is the caller's to remove
 * @returns {Promise<string>} path of what was built
 */
async function compile({ root, cache, signal, progress, log }, work) {
  progress("compiling the kernels");
  const libraries = libraryFolder(cache);
  const gcc = async (/** @type {string[]} */ args) => {
    const ran = await runProcess("g++", args, { signal, onOutput: log });
    if (ran.code !== 0) throw new SetupError("unsupported", `g++ could not compile them: ${firstError(ran.output)}`);
  };
  await rm(work, { recursive: true, force: true });
  await mkdir(work, { recursive: true });
  const includes = [`-I${join(libraries, "include")}`, `-I${join(root, "node_modules/node-api-headers/include")}`];
  const units = filesBelow(join(root, KERNEL_SOURCES), [".cc"]);
  const objects = units.map((_, i) => join(work, `${i}.o`));
  const queue = units.map((unit, i) => [
    ...KERNEL_FLAGS,
    ...NATIVE_FLAGS,
    ...includes,
    "-c",
    unit,
    "-o",
    objects[i] ?? "",
  ]);
  const worker = async () => {
    for (let args = queue.shift(); args; args = queue.shift()) await gcc(args);
  };
  await Promise.all(Array.from({ length: availableParallelism() }, worker));
  const built = join(work, "kernels.node");
  const link = LIBRARIES.map((name) => join(libraries, name));
  await gcc(["-shared", "-s", ...objects, "-o", built, ...link, `-Wl,-rpath,${libraries}`, "-pthread"]);
  return built;
}

/** Tries a build in a process of its own: a wrong one may end the process. @param {Context} context @param {string} built */
async function verify({ root, signal, progress, log }, built) {
  progress("trying the kernels");
  const script = join(fileURLToPath(new URL(".", import.meta.url)), "verify-kernels.cjs");
  const env = { ...process.env, TF_CPP_MIN_LOG_LEVEL: "2" };
  const ran = await runProcess(process.execPath, [script, built], { cwd: root, env, signal, onOutput: log });
  const why = firstError(ran.output).slice(0, LONGEST_REASON);
  if (ran.code !== 0) throw new SetupError("unsupported", `they were compiled but do not work here: ${why}`);
}
