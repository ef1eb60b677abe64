import { readFileSync } from "node:fs";
import { freemem } from "node:os";
import { HeadscopeError } from "../../common/errors.ts";
import { WEIGHT_TYPES, type WeightType } from "../../common/words.ts";
import type { FormatName } from "../../kernels/formats.ts";
import type { ModelConfig } from "../config.ts";
import type { Part, Parts, Piece } from "../families/family.ts";
import { pieceRows } from "../families/parts.ts";
import type { Checkpoint } from "../formats/checkpoint.ts";
import { heldBytes, heldFormat } from "./held.ts";

/** The memory that a model takes, in bytes, told from a checkpoint's header. */
export interface MemoryEstimate {
  /** Numbers in the model, tied ones once. */
  readonly parameters: number;
  /** The weights as they are held. */
  readonly weights: Readonly<Record<WeightType, number>>;
  /** The form that the kernels hold each part of the q8 weights in, by the names of `slotsOf`. */
  readonly q8Formats: Readonly<Record<string, FormatName>>;
  /** The most that loading and a short forward need at once, the weights included. Caches and activations come on top. */
  readonly peak: Readonly<Record<WeightType, number>>;
}

/**
 * Estimates a model's memory.
 * @param parts of the family, in the checkpoint's own names @param kernels there are kernels, so that narrow matrices are packed
 */
export function estimateMemory(
  config: ModelConfig,
  parts: Parts,
  checkpoint: Pick<Checkpoint, "tensors">,
  kernels: boolean,
): MemoryEstimate {
  const all = Object.entries(parts).map(([name, part]) => ({ name, ...sizes(part, checkpoint, kernels) }));
  const total = (size: (part: (typeof all)[number]) => number): number =>
    all.reduce((sum, part) => sum + size(part), 0);
  const most = (size: (part: (typeof all)[number]) => number): number => Math.max(...all.map(size));
  const parameters = total((part) => part.elements);
  const weights = { f32: 4 * parameters, q8: total((part) => part.q8), bf16: total((part) => part.bf16) };
  // A long input widens a layer at a time, and the unembedding.
  const layer = total((part) => (part.name.startsWith("blocks.") ? 4 * part.elements : 0)) / config.n_layers;
  const widening = Math.max(
    layer,
    4 * (all.find(({ name }) => name === "unembed") ?? all.find(({ name }) => name === "embed"))!.elements,
  );
  const q8Formats = Object.fromEntries(all.map(({ name, format }) => [name, format]));
  return {
    parameters,
    weights,
    q8Formats,
    peak: {
      f32: weights.f32 + most((part) => part.stored + 4 * part.elements),
      q8:
        weights.q8 +
        Math.max(
          widening,
          most((part) => part.stored + 2 * part.q8),
        ),
      bf16:
        weights.bf16 +
        Math.max(
          widening,
          most((part) => part.stored + 4 * part.elements + part.bf16),
        ),
    },
  };
}

/** Numbers of a part, and bytes: of the largest of its tensors in the file, and as they are held. */
function sizes(part: Part, checkpoint: Pick<Checkpoint, "tensors">, kernels: boolean) {
  const elements = part.reduce((sum, piece) => sum + elementsOf(piece), 0);
  const rows = part.reduce((sum, piece) => sum + pieceRows(piece), 0);
  const held = (weights: WeightType): number =>
    part[0]!.shape.length > 1
      ? heldBytes(checkpoint, part, [rows, elements / rows], { weights, kernels })
      : 4 * elements;
  return {
    elements,
    stored: Math.max(...part.map(({ tensor }) => checkpoint.tensors.get(tensor)!.bytes)),
    bf16: held("bf16"),
    q8: held("q8"),
    format: part[0]!.shape.length > 1 ? heldFormat(checkpoint, part, { weights: "q8", kernels }) : ("f32" as const),
  };
}

function elementsOf({ shape, rows, transpose }: Piece): number {
  const [out, width] = transpose ? [shape[1]!, shape[0]!] : [shape[0]!, shape.slice(1).reduce((a, b) => a * b, 1)];
  return (rows?.length ?? out) * width;
}

/**
 * Bytes that this process may still take: HEADSCOPE_MEMORY (bytes, or a number with MB or GB), else what the machine has
 * free, and no more than a container's limit leaves.
 * @throws HeadscopeError (usage) for a HEADSCOPE_MEMORY that is no size
 */
export function availableMemory(env: NodeJS.ProcessEnv = process.env): number {
  const setting = env["HEADSCOPE_MEMORY"];
  if (setting) return parseSize(setting);
  // Node's own availableMemory() counts a container's file cache as taken, which a load has just filled.
  const limit = process.constrainedMemory?.() ?? 0;
  const left = limit > 0 && limit < 2 ** 52 ? limit - process.memoryUsage.rss() : Number.POSITIVE_INFINITY;
  return Math.max(0, Math.min(left, freeMemory()));
}

function freeMemory(): number {
  try {
    const kilobytes = /^MemAvailable:\s+(\d+) kB$/m.exec(readFileSync("/proc/meminfo", "utf8"))?.[1];
    if (kilobytes !== undefined) return 1024 * Number(kilobytes);
  } catch {
    // no Linux: the system says only what is quite unused
  }
  return freemem();
}

function parseSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?) ?(MB|GB|B)?$/i.exec(text.trim());
  const unit = { B: 1, MB: 1e6, GB: 1e9 }[(match?.[2] ?? "B").toUpperCase()];
  if (!match || unit === undefined)
    throw new HeadscopeError("usage", `HEADSCOPE_MEMORY cannot be "${text}"`, { remedy: 'give a size such as "6GB"' });
  return Number(match[1]) * unit;
}

/**
 * Refuses a load that cannot fit.
 * @param available bytes that may be taken
 * @throws HeadscopeError "unsupported" with the estimate, what is available, and the ways that would fit
 */
export function checkMemory(
  path: string,
  estimate: Omit<MemoryEstimate, "q8Formats">,
  type: WeightType,
  available: number,
): void {
  if (estimate.peak[type] <= available) return;
  const fitting = WEIGHT_TYPES.filter(
    (other) => estimate.peak[other] <= available && estimate.weights[other] < estimate.weights[type],
  ).map((other) => `--weights ${other} needs ${size(estimate.peak[other])}`);
  throw new HeadscopeError(
    "unsupported",
    `${path} needs ${size(estimate.peak[type])} to load in ${type} (${size(estimate.weights[type])} of weights), and ${size(available)} of memory are free`,
    { remedy: fitting.length > 0 ? fitting.join(", ") : "free memory, or choose a smaller model" },
  );
}

/**
 * Refuses to read a file whose tensors cannot be held.
 * @param bytes that reading takes at its height
 * @throws HeadscopeError "unsupported"
 */
export function checkHolds(path: string, bytes: number, available = availableMemory()): void {
  if (bytes <= available) return;
  throw new HeadscopeError(
    "unsupported",
    `${path} needs ${size(bytes)} to load, and ${size(available)} of memory are free`,
    { remedy: "free memory, or choose a smaller model" },
  );
}

function size(bytes: number): string {
  return bytes < 1e9 ? `${(bytes / 1e6).toFixed(0)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
}
