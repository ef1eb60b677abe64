import { existsSync } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { availableParallelism, totalmem } from "node:os";
import { join } from "node:path";
import packageJson from "../package.json" with { type: "json" };
import { HeadscopeError } from "./common/errors.ts";
import { type KernelChoice, loadKernels } from "./kernels/kernels.ts";
import { listModels, type ModelState } from "./models/sources/pull.ts";
import { cacheDir, dataDir } from "./paths.ts";
import { type BackendChoice, initBackend } from "./runtime/backend.ts";
import { compilerName } from "./setup/native/kernels.mjs";
import { whyNotNative } from "./setup/native/machine.mjs";
import { findPip, PIP_REMEDY } from "./setup/native/pip.mjs";
import { hasLibraries, libraryFolder, TENSORFLOW } from "./setup/native/tensorflow.mjs";

/** Something that should be mended, and how. */
export interface DoctorProblem {
  readonly what: string;
  readonly remedy: string;
  /** Exit code of every other command until it is mended; absent where they work, with less. */
  readonly exitCode?: 1 | 2;
}

/** Report of `headscope doctor`. Sizes in bytes. */
export interface DoctorReport {
  readonly headscope: string;
  readonly node: string;
  readonly platform: string;
  /** The tfjs backend in use; absent when none could be started (then a problem says why). */
  readonly backend?: BackendChoice;
  /** The other backends, and why each is not in use. */
  readonly others: readonly { readonly name: string; readonly why: string }[];
  readonly versions: { readonly tfjs: string; readonly tensorflow?: string };
  /** True when the native binding can register captured functions. */
  readonly functions: boolean;
  /** The native kernels, or why there are none; absent without a backend or with settings that cannot be. */
  readonly kernels?: KernelChoice;
  readonly threads: { readonly used: number; readonly available: number };
  readonly memory: number;
  readonly cache: { readonly folder: string; readonly bytes: number; readonly parts: Readonly<Record<string, number>> };
  readonly data: { readonly folder: string; readonly exists: boolean };
  readonly models: readonly ModelState[];
  readonly problems: readonly DoctorProblem[];
}

/** Looks at this machine: the backend is started, nothing is fetched, built or changed. */
export async function collectDoctor(): Promise<DoctorReport> {
  const problems: DoctorProblem[] = [];
  const backend = await startBackend(problems);
  const kernels = backend && (await startKernels(backend, problems));
  const cache = cacheDir();
  const parts: Record<string, number> = {};
  for (const name of ["models", `tensorflow-${TENSORFLOW.version}`, "downloads"]) {
    const bytes = await bytesBelow(join(cache, name));
    if (bytes > 0) parts[name] = bytes;
  }
  const models = listModels();
  const missing = models.filter((model) => !model.ready);
  if (missing.length > 0) {
    const pip = await findPip(cache, { make: false });
    for (const { name } of missing)
      problems.push({
        what: `the model ${name} is not here`,
        remedy: pip ? `headscope models pull ${name}` : `${PIP_REMEDY}, then: headscope models pull ${name}`,
      });
  }
  return {
    headscope: packageJson.version,
    node: process.version,
    platform: `${process.platform} ${process.arch}`,
    ...(backend ? { backend } : {}),
    others: await others(backend, problems),
    versions: {
      tfjs: packageJson.dependencies["@tensorflow/tfjs"],
      ...(backend?.library ? { tensorflow: backend.library } : {}),
    },
    functions: backend?.functions ?? false,
    ...(kernels ? { kernels } : {}),
    threads: { used: backend?.threads ?? 0, available: availableParallelism() },
    memory: totalmem(),
    cache: { folder: cache, bytes: Object.values(parts).reduce((a, b) => a + b, 0), parts },
    data: { folder: dataDir(), exists: existsSync(dataDir()) },
    models,
    problems,
  };
}

async function startBackend(problems: DoctorProblem[]): Promise<BackendChoice | undefined> {
  try {
    return await initBackend();
  } catch (error) {
    problems.push(problemOf(error));
    return undefined;
  }
}

/** An error that every command would end in, as a problem. @throws it again where it is none of headscope's */
function problemOf(error: unknown): DoctorProblem {
  if (!(error instanceof HeadscopeError)) throw error;
  return { what: error.message, remedy: error.remedy ?? "run npm start", exitCode: error.exitCode };
}

/** Loads the kernels. That there are none is something to mend where there could be some. */
async function startKernels(backend: BackendChoice, problems: DoctorProblem[]): Promise<KernelChoice | undefined> {
  try {
    const kernels = loadKernels();
    if (kernels.ready || kernels.remedy === undefined || backend.name !== "tensorflow") return kernels;
    const compiler = await compilerName();
    const why = compiler === undefined ? "there is no C++ compiler" : kernels.why;
    problems.push({
      what: `no native kernels: ${why}`,
      remedy:
        compiler === undefined
          ? "install g++ (Debian, Ubuntu: apt-get install g++), then run npm start"
          : kernels.remedy,
    });
    return { ...kernels, why };
  } catch (error) {
    problems.push(problemOf(error));
    return undefined;
  }
}

async function others(backend: BackendChoice | undefined, problems: DoctorProblem[]): Promise<DoctorReport["others"]> {
  const wasm = { name: "wasm", why: "slower; HEADSCOPE_BACKEND=wasm forces it" };
  if (backend?.name === "tensorflow") {
    if (!backend.functions)
      problems.push({
        what: "the native binding was built without headscope's patch, so that nothing is captured",
        remedy: "remove node_modules/@tensorflow/tfjs-node-gpu/lib and run npm start",
      });
    return [wasm];
  }
  if (process.env["HEADSCOPE_BACKEND"] === "wasm")
    return [{ name: "tensorflow", why: "HEADSCOPE_BACKEND asks for wasm" }];
  const cache = cacheDir();
  const reason = await whyNotNative(cache, existsSync(join(libraryFolder(cache), "bindings")));
  const why = reason ?? (hasLibraries(cache) ? "its binding is not built here" : "it is not in the cache");
  problems.push({
    what: `no native TensorFlow library: ${why}`,
    remedy: reason
      ? "then run npm start; without it sizes are smaller and times longer"
      : "run npm start, which builds it",
  });
  return [{ name: "tensorflow", why }, ...(backend ? [] : [wasm])];
}

/** Bytes of all files below a folder, 0 when it is not there. */
async function bytesBelow(folder: string): Promise<number> {
  if (!existsSync(folder)) return 0;
  const entries = await readdir(folder, { withFileTypes: true, recursive: true });
  const sizes = await Promise.all(
    entries
      .filter((entry) => entry.isFile())
      .map(async (entry) => (await stat(join(entry.parentPath, entry.name)).catch(() => undefined))?.size ?? 0),
  );
  return sizes.reduce((a, b) => a + b, 0);
}

/** The kernels for people. */
function kernelLine(kernels: KernelChoice | undefined): string {
  if (!kernels?.ready)
    return `none, so that all is slower: ${kernels?.why ?? "there is no backend, or its settings cannot be"}`;
  return `${kernels.why}, ${kernels.threads} ${kernels.threads === 1 ? "thread" : "threads"}`;
}

/** Bytes for people: `98 MB`. */
function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(0)} MB`;
}

/** The report as text for a terminal. */
export function formatDoctor(report: DoctorReport): string {
  const { backend, versions, cache, threads } = report;
  const rows: [string, string][] = [
    ["headscope", `${report.headscope}, Node.js ${report.node.slice(1)}, ${report.platform}`],
    ["backend", backend ? `${backend.name}: ${backend.why}` : "none"],
    ...report.others.map(({ name, why }): [string, string] => ["", `not ${name}: ${why}`]),
    ["versions", `tfjs ${versions.tfjs}${versions.tensorflow ? `, TensorFlow ${versions.tensorflow}` : ""}`],
    ["capture", report.functions ? "captured functions, with XLA where it pays" : "none on this backend: runs eagerly"],
    ["kernels", kernelLine(report.kernels)],
    ["threads", `${threads.used} of ${threads.available}`],
    ["memory", megabytes(report.memory)],
    ["cache", `${cache.folder} (${megabytes(cache.bytes)})`],
    ...Object.entries(cache.parts).map(([name, bytes]): [string, string] => ["", `${name}: ${megabytes(bytes)}`]),
    ["data", `${report.data.folder}${report.data.exists ? "" : " (not made yet)"}`],
    ...report.models.map(({ name, title, bytes, ready, kind, licence }, i): [string, string] => {
      const state =
        kind === "constructed" ? "built in memory" : ready ? `here, ${megabytes(bytes ?? 0)}` : "not pulled";
      return [i === 0 ? "models" : "", `${name}: ${title}, ${licence}; ${state}`];
    }),
  ];
  const width = Math.max(...rows.map(([name]) => name.length)) + 2;
  const lines = rows.map(([name, text]) => `${name.padEnd(width)}${text}`);
  if (report.problems.length === 0) return [...lines, "", "Nothing to mend."].join("\n");
  const problems = report.problems.flatMap(({ what, remedy }) => [`- ${what}`, `  ${remedy}`]);
  return [...lines, "", "To mend:", ...problems].join("\n");
}
