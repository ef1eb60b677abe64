import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { HeadscopeError } from "../common/errors.ts";
import { checkOptions } from "../common/options.ts";
import { cacheDir } from "../paths.ts";
import { hasNative, RawTensor } from "../runtime/ops.ts";
import { tf } from "../runtime/tf.ts";
import type { KernelRecord } from "../setup/native/kernels.mjs";
import { KERNEL_SOURCES, kernelFolder, kernelLibraryFile, kernelRecord } from "../setup/native/kernels.mjs";
import { formatCode, formatOf } from "./formats.ts";
import { kernelTensor, runKernel } from "./op.ts";
import { kernelSettings, THREADS } from "./settings.ts";

/** The kernels of this process, or the reason why there are none. */
export interface KernelChoice {
  readonly ready: boolean;
  /** One line: the instructions that they use, or why there are none. */
  readonly why: string;
  /** Threads that they use; 0 without kernels. */
  readonly threads: number;
  /** Advice where there could be kernels. */
  readonly remedy?: string;
}

/** The compiled library as Node.js loads it. Pages go by numbers (backend/kernels/native/attention/pages.h). */
export interface Library {
  /** Registers the ops and sets the number of threads; gives the instructions that are used. */
  start(threads: number): string;
  giveBack(): void;
  /** @param kind the number of a kind of cached rows @param channels of the keys, ascending; of none the keys have all */
  makePage(kind: number, width: number, rows: number, channels: Int32Array): number;
  /** A page of `rows` rows that begins with those of another; -1 where there is none. */
  copyPage(page: number, rows: number): number;
  /** Copies rows of a page into another of its kind and width, or what codes and fewer channels stand for; an error says what does not fit. */
  copyRows(from: number, row: number, to: number, toRow: number, count: number): void;
  freePage(page: number): boolean;
  /** Bytes of rows of keys, then those of as many values. */
  readPage(page: number, row: number, count: number): Uint8Array;
  fillPage(page: number, row: number, bytes: Uint8Array): void;
  /** A page of codes with the rows of another; `codePage` of coding.ts says of what. */
  codePage(page: number, settings: Int32Array, levels: Float32Array, positions: Int32Array): number;
  /** @param turns [positions, 2, rotary / 2] */
  makeRotation(rotary: number, turns: Float32Array): number;
  freeRotation(rotation: number): boolean;
  /** Bytes of one page. */
  bytesOf(page: number): number;
  /** Bytes of all pages. */
  pageBytes(): number;
}

const require = createRequire(import.meta.url);
let choice: KernelChoice | undefined;
let library: Library | undefined;

/**
 * Loads the kernels that the set-up compiled for this processor, once for this process, and tries them on a known product.
 * The backend must be there (`initBackend`).
 * @throws HeadscopeError (usage) for settings that cannot be
 */
export function loadKernels(): KernelChoice {
  choice ??= load();
  return choice;
}

/** Says that kernels can be called. @throws as `loadKernels` */
export function hasKernels(): boolean {
  return loadKernels().ready;
}

/**
 * Says that kernels wait to be loaded, without starting a backend: what `hasKernels` will say, unless they fail then.
 * @throws as `loadKernels`
 */
export function expectsKernels(): boolean {
  if (choice) return choice.ready;
  const backend = process.env["HEADSCOPE_BACKEND"];
  return kernelSettings().wanted && (!backend || backend === "tensorflow") && compiled()?.file !== undefined;
}

/**
 * Changes the number of threads, which changes no result.
 * @throws HeadscopeError (usage) for a number that cannot be, (unsupported) without kernels
 */
export function useThreads(threads: number): void {
  checkOptions("useThreads", { threads }, { threads: THREADS });
  kernelLibrary().start(threads);
  choice = { ...loadKernels(), threads };
}

/** The library itself. @throws HeadscopeError (unsupported) without kernels */
export function kernelLibrary(): Library {
  const { why } = loadKernels();
  if (!library) throw new HeadscopeError("unsupported", `there are no kernels: ${why}`);
  return library;
}

/** Gives memory that was freed back to the system, which the C library does not do by itself; nothing without kernels. */
export function giveBackMemory(): void {
  library?.giveBack();
}

function load(): KernelChoice {
  const { wanted, threads } = kernelSettings();
  if (!wanted) return none("HEADSCOPE_KERNELS is off");
  if (!hasNative()) return none("they belong to the native TensorFlow library");
  const { record, file } = compiled() ?? {};
  if (!record) return none("they are not compiled for this processor and version", COMPILE);
  if (record.failure !== undefined) return none(record.failure, "setup.log in the cache folder has all that was said");
  if (!file) return none("their library is missing or damaged", COMPILE);
  try {
    const loaded = require(file) as Library;
    const instructions = loaded.start(threads);
    const fault = selfTest();
    if (fault) return none(fault, REBUILD);
    library = loaded;
    return { ready: true, why: instructions, threads };
  } catch (error) {
    return none(`they do not load: ${firstLine(error)}`, REBUILD);
  }
}

const COMPILE = "run npm start where there is a C++ compiler";
const REBUILD = "remove kernels/ in the folder of the TensorFlow library in the cache and run npm start";

function none(why: string, remedy?: string): KernelChoice {
  return { ready: false, why, threads: 0, ...(remedy === undefined ? {} : { remedy }) };
}

/** The set-up's record of the kernels of this processor and these sources, and their library where it is whole. */
interface Compiled {
  readonly record: KernelRecord;
  readonly file: string | undefined;
}
let whole: Compiled | undefined;

/** The build of the set-up; a library that was found whole is not read again. */
function compiled(): Compiled | undefined {
  if (whole) return whole;
  const root = repository();
  const folder = root && kernelFolder(root, cacheDir());
  const record = folder && kernelRecord(folder);
  if (!record) return undefined;
  const found = { record, file: kernelLibraryFile(folder, record) };
  if (found.file !== undefined) whole = found;
  return found;
}

/** The folder with the kernels' sources, seen from the bundle or from the sources. */
function repository(): string | undefined {
  for (let folder = dirname(fileURLToPath(import.meta.url)); ; folder = dirname(folder)) {
    if (existsSync(join(folder, KERNEL_SOURCES))) return folder;
    if (folder === dirname(folder)) return undefined;
  }
}

/** Multiplies small whole numbers, whose products are exact in any order. @returns what is wrong */
function selfTest(): string | undefined {
  const [rows, width] = [17, 40];
  const values = Float32Array.from({ length: rows * width }, (_, i) => (i % 7) - 3);
  const x = Float32Array.from({ length: width }, (_, i) => (i % 5) - 2);
  const handles = [tf.tensor1d(values), tf.tensor2d(x, [1, width])];
  const layout = { format: formatCode(formatOf("f32")), rows, width };
  const packed = runKernel("HsPack", { ...layout, T: { type: "float32" } }, [handles[0]!])[0]!;
  const weights = new RawTensor(packed.id, "uint8", packed.shape);
  const y = kernelTensor("HsMatVec", { ...layout, bytes: false, T: { type: "uint8" } }, [handles[1]!, weights]);
  const wrong = [...y.dataSync()].findIndex(
    (value, r) => value !== x.reduce((sum, v, i) => sum + v * values[r * width + i]!, 0),
  );
  for (const handle of [...handles, weights, y]) handle.dispose();
  return wrong < 0 ? undefined : `row ${wrong} of a known product is wrong`;
}

function firstLine(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split("\n")[0]!;
}
