import { existsSync, readFileSync } from "node:fs";
import { cp, readFile, rename, rm } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { SetupError } from "../failure.mjs";
import {
  filesBelow,
  installFile,
  partOf,
  readIfThere,
  removeLeftovers,
  sha256Files,
  sizeOf,
  writeAtomic,
} from "../files.mjs";
import { withLock } from "../lock.mjs";
import { firstError, isThere, runProcess } from "../process.mjs";
import { whyNotNative } from "./machine.mjs";
import { fetchWheel } from "./pip.mjs";
import { chooseFromWheel, hasLibraries, LIBRARIES, libraryFolder, TENSORFLOW } from "./tensorflow.mjs";

/** @import { Context, Step } from "../runner.mjs" */

const COMPILE = ["-std=c++17", "-O2", "-fPIC", "-DNAPI_VERSION=8"];
const HERE = fileURLToPath(new URL(".", import.meta.url));
const PATCH = join(HERE, "binding.patch");
const LOADER = join(HERE, "quiet-binding.cc");

/** @param {string} root of the repository */
function places(root) {
  const modules = join(root, "node_modules");
  return {
    sources: join(modules, "@tensorflow/tfjs-node-gpu/binding"),
    installed: join(modules, "@tensorflow/tfjs-node-gpu/lib/napi-v8/tfjs_binding.node"),
    nodeApi: join(modules, "node-api-headers/include"),
  };
}

/**
 * Path of the compiled binding (its loader) of these sources: another patch, package, library or folder is another binding.
 * @param {string} root
 * @param {string} cache
 */
export function bindingPath(root, cache) {
  const { sources, nodeApi } = places(root);
  const inputs = [PATCH, LOADER, ...filesBelow(sources, [".cc", ".h"]), join(nodeApi, "node_api.h")];
  const contents = sha256Files([], [...inputs.map((path) => readIfThere(path) ?? ""), TENSORFLOW.sha256, ...COMPILE]);
  const key = sha256Files([], [contents, libraryFolder(cache), process.arch]).slice(0, 16);
  return join(libraryFolder(cache), "bindings", key, "tfjs_binding.node");
}

/** @param {string} binding the loader's path @returns {string} path of the binding proper, beside it */
function loadedBy(binding) {
  return binding.replace(/\.node$/, "-library.node");
}

/** @param {string} a @param {string} b @returns {boolean} whether two files have the same bytes */
function sameFile(a, b) {
  return sizeOf(a) !== undefined && sizeOf(a) === sizeOf(b) && readFileSync(a).equals(readFileSync(b));
}

/** @type {Step} */
export const native = {
  name: "native TensorFlow library",
  needed({ root, cache, env }) {
    const forced = env["HEADSCOPE_BACKEND"];
    if (forced && forced !== "tensorflow") return false;
    const binding = bindingPath(root, cache);
    if (!hasLibraries(cache)) return "not in the cache";
    if (!existsSync(binding)) return "not compiled for this version";
    return sameFile(binding, places(root).installed) ? false : "not in node_modules";
  },
  async run(context) {
    const { root, cache, signal } = context;
    const why = await whyNotNative(cache, existsSync(bindingPath(root, cache)));
    if (why !== undefined) {
      context.skip(`no native TensorFlow library: ${why}; using WebAssembly, slower and with smaller sizes`);
      return;
    }
    await withLock(
      join(cache, "locks", "tensorflow.lock"),
      async () => {
        await removeLeftovers(cache);
        if (!hasLibraries(cache)) await unpackLibraries(context);
        const binding = bindingPath(root, cache);
        if (!existsSync(binding)) await compile(context, binding);
        await installFile(binding, places(root).installed);
      },
      { signal, onWait: (owner) => context.progress(`waiting for ${owner}, which does the same`) },
    );
    await verify(context);
  },
};

/** @param {Context} context */
async function unpackLibraries({ cache, signal, progress, log, env }) {
  progress(`fetching ${TENSORFLOW.package} ${TENSORFLOW.version}`);
  const onProgress = (/** @type {number} */ done, /** @type {number} */ total) =>
    progress(
      `fetching ${TENSORFLOW.package} ${TENSORFLOW.version}: ${(done / 1e6).toFixed(0)} of ${(total / 1e6).toFixed(0)} MB`,
    );
  const wheel = await fetchWheel(TENSORFLOW, { cache, signal, onProgress, onOutput: log, env });
  progress("unpacking");
  const { extract } = await import("./wheel.mjs");
  const folder = libraryFolder(cache);
  const part = partOf(folder);
  try {
    await extract(wheel, chooseFromWheel, part, { signal });
    const missing = LIBRARIES.find((name) => !existsSync(join(part, name)));
    if (missing) throw new SetupError("corrupt", `${TENSORFLOW.file} does not hold ${missing}`);
    if (await isThere("strip")) {
      progress("stripping symbols"); // 853 MB become 596
      await Promise.all(LIBRARIES.map((name) => strip(join(part, name), { signal, log })));
    }
    const files = Object.fromEntries(LIBRARIES.map((name) => [name, sizeOf(join(part, name))]));
    await writeAtomic(join(part, "contents.json"), JSON.stringify({ wheel: TENSORFLOW.sha256, files }));
    await rm(folder, { recursive: true, force: true });
    await rename(part, folder);
  } finally {
    await rm(part, { recursive: true, force: true });
  }
  await rm(wheel, { force: true });
}

/** @param {string} path @param {Pick<Context, "signal" | "log">} context */
async function strip(path, { signal, log }) {
  const smaller = `${path}.stripped`;
  const { code } = await runProcess("strip", ["--strip-unneeded", "-o", smaller, path], { signal, onOutput: log });
  if (code === 0) await rename(smaller, path);
  else await rm(smaller, { force: true }); // only larger without it
}

/**
 * Compiles the package's sources with the patch that adds functions, and links them to the cached libraries.
 * @param {Context} context
 * @param {string} binding where the result goes
 */
async function compile({ root, cache, signal, progress, log }, binding) {
  progress("compiling the binding");
  const { applyPatchFile } = await import("./patch.mjs");
  const { sources, nodeApi } = places(root);
  const libraries = libraryFolder(cache);
  const work = partOf(join(cache, "compile"));
  const gcc = async (/** @type {string[]} */ args) => {
    const ran = await runProcess("g++", args, { signal, onOutput: log });
    if (ran.code !== 0)
      throw new SetupError("unsupported", `g++ could not compile the binding: ${firstError(ran.output)}`, {
        remedy: "g++ 9 or later is needed; HEADSCOPE_BACKEND=wasm goes without the native library",
      });
  };
  try {
    await rm(work, { recursive: true, force: true });
    await cp(sources, join(work, "binding"), { recursive: true });
    await applyPatchFile(await readFile(PATCH, "utf8"), work);
    const includes = [`-I${nodeApi}`, `-I${join(libraries, "include")}`];
    const units = filesBelow(join(work, "binding"), [".cc"]);
    const one = (/** @type {string} */ unit) => gcc([...COMPILE, ...includes, "-c", unit, "-o", `${unit}.o`]);
    if (availableParallelism() > 1) await Promise.all(units.map(one));
    else for (const unit of units) await one(unit);
    const built = join(work, "tfjs_binding.node");
    const objects = units.map((unit) => `${unit}.o`);
    const link = LIBRARIES.map((name) => join(libraries, name));
    await gcc(["-shared", "-s", ...objects, "-o", built, ...link, `-Wl,-rpath,${libraries}`, "-Wl,--enable-new-dtags"]);
    await installFile(built, loadedBy(binding));
    // what goes to node_modules is a small loader, which knows where the rest is
    const loader = join(work, "loader.node");
    await gcc([
      ...COMPILE,
      includes[0] ?? "",
      `-DBINDING="${loadedBy(binding)}"`,
      "-shared",
      "-s",
      LOADER,
      "-o",
      loader,
      "-ldl",
    ]);
    await installFile(loader, binding);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** Runs the library once, in a process of its own: a wrong one may end the process. @param {Context} context */
async function verify({ root, signal, progress, log }) {
  progress("trying it");
  const env = { ...process.env, TF_CPP_MIN_LOG_LEVEL: "2" };
  const ran = await runProcess(process.execPath, [join(HERE, "verify-native.cjs")], {
    cwd: root,
    env,
    signal,
    onOutput: log,
  });
  if (ran.code === 0) return;
  await rm(places(root).installed, { force: true });
  throw new SetupError(
    "unsupported",
    `the native library was built but does not work here: ${firstError(ran.output)}`,
    { remedy: "HEADSCOPE_BACKEND=wasm goes without it" },
  );
}
