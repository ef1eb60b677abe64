import { createHash } from "node:crypto";
import { closeSync, fstatSync, readSync } from "node:fs";
import { modelConfigSchema } from "../../common/api/model-config.ts";
import { HeadscopeError } from "../../common/errors.ts";
import { openRegularSync } from "../../files.ts";
import { writeFileAtomic } from "../../paths.ts";
import { tf } from "../../runtime/tf.ts";
import type { ModelConfig } from "../config.ts";
import { jsonFault } from "../formats/json-file.ts";
import {
  encodeSafetensors,
  parseSafetensorsHeader,
  readSafetensors,
  type SafetensorsHeader,
  safetensorsHeaderBytes,
} from "../formats/safetensors/safetensors.ts";
import { Model } from "../model.ts";
import { parameterLayout, parametersOf, weightsOver } from "../weights/trainable.ts";
import { versionOf } from "./checkpoint.ts";
import { checkHolds } from "./memory.ts";
import { inspectLoaded, type ModelSource } from "./source.ts";

const FORMAT = "headscope.checkpoint/1";

/** Name of the tensor that says which weights pruning has left. */
const MASK = "mask";

const GRADIENT_PATHS = ["kernel", "functions"] as const;

/**
 * Computation of a run's gradients: by the kernel of narrow models (docs/kernels.md), or by compiled functions of tensors. The two differ
 * by the order of float32 sums, so that a run goes on by what it began with.
 */
export type GradientPath = (typeof GRADIENT_PATHS)[number];

/** A training run at a step: the model, and what its optimiser needs to go on. */
export interface RunCheckpoint {
  step: number;
  seed: number;
  config: ModelConfig;
  /** The run's spec, for whoever finds the file. */
  spec: unknown;
  /** The path that computed the gradients; files of earlier versions do not say it. */
  gradients?: GradientPath | undefined;
  /** Parameters in the order of `parameterLayout` [parameters]. */
  parameters: Float32Array;
  /** The optimiser's vectors [parameters] each; none in a file for reading only. */
  vectors: readonly Float32Array[];
  /** In a run that is pruned, 1 for weights that are there and 0 for others [parameters]. */
  mask?: Float32Array | undefined;
}

/** The part of a checkpoint that its header says. */
export type RunDescription = Omit<RunCheckpoint, "parameters" | "vectors" | "mask">;

/** Identity of parameters under a config, `sha256:…`. */
function parametersDigest(config: ModelConfig, parameters: Float32Array): string {
  const hash = createHash("sha256").update(JSON.stringify(config));
  hash.update(new Uint8Array(parameters.buffer, parameters.byteOffset, parameters.byteLength));
  return `sha256:${hash.digest("hex")}`;
}

/** Writes a checkpoint, whole or not at all. @returns its size and the digest of the model in it */
export async function writeRunCheckpoint(
  path: string,
  checkpoint: RunCheckpoint,
): Promise<{ bytes: number; digest: string }> {
  const { step, seed, config, spec, gradients, parameters, vectors, mask } = checkpoint;
  const shape = [parameters.length];
  const named = [parameters, ...vectors].map(
    (data, i) => [i === 0 ? "parameters" : `optimiser.${i - 1}`, data] as const,
  );
  if (mask) named.push([MASK, mask]);
  const tensors = Object.fromEntries(named.map(([name, data]) => [name, { dtype: "F32" as const, shape, data }]));
  const metadata = { format: FORMAT, step: `${step}`, seed: `${seed}`, config: JSON.stringify(config), spec: JSON.stringify(spec), ...(gradients && { gradients }) }; // biome-ignore format: a table
  const parts = [...encodeSafetensors(tensors, metadata)];
  await writeFileAtomic(path, parts);
  return {
    bytes: parts.reduce((sum, part) => sum + part.byteLength, 0),
    digest: parametersDigest(config, parameters),
  };
}

/** Tells whether a file begins as a checkpoint of a run does, of whatever version; false for what can't be read. */
export function isRunFile(path: string): boolean {
  const head = Buffer.alloc(65_536);
  try {
    const file = openRegularSync(path);
    try {
      return head.toString("latin1", 0, readSync(file, head)).includes('"headscope.checkpoint/');
    } finally {
      closeSync(file);
    }
  } catch {
    return false;
  }
}

/** Longest description of a model or a run in a checkpoint, in characters: theirs have some thousand. */
const LONGEST_DESCRIPTION = 2 ** 20;

/**
 * Reads a checkpoint. Nothing is made of what it says of itself before that fits its tensors.
 * @throws HeadscopeError for a file that is corrupt, of another version, or larger than the memory
 */
export async function readRunCheckpoint(path: string): Promise<RunCheckpoint> {
  let description!: RunDescription;
  const { tensors } = await readSafetensors(path, (header) => {
    description = describe(path, header);
  });
  const vectors = vectorNames(tensors).map((name) => tensors.get(name)!.data as Float32Array);
  if (vectors.some((v) => v.some((x) => !Number.isFinite(x))))
    throw damaged(path, "the checkpoint holds NaN or infinity");
  const mask = tensors.has(MASK) ? vectors.pop() : undefined;
  if (mask?.some((x) => x !== 0 && x !== 1))
    throw damaged(path, "the checkpoint's mask holds something else than 0 and 1");
  const [parameters, ...rest] = vectors;
  return { ...description, parameters: parameters!, vectors: rest, ...(mask && { mask }) };
}

/**
 * Reads what a checkpoint's header says, for the few places that can't wait; no tensor is read.
 * @throws HeadscopeError as `readRunCheckpoint` does
 */
export function describeRunFile(path: string): RunDescription {
  const file = openRegularSync(path);
  try {
    const read = (offset: number, bytes: number): Uint8Array => {
      const buffer = new Uint8Array(bytes);
      return buffer.subarray(0, readSync(file, buffer, 0, bytes, offset));
    };
    const { size } = fstatSync(file);
    const header = read(8, safetensorsHeaderBytes(path, size, read(0, 8)));
    return describe(path, parseSafetensorsHeader({ path, size, header }));
  } finally {
    closeSync(file);
  }
}

/** The description in a checkpoint's header, once it fits the tensors. */
function describe(path: string, { metadata, tensors }: SafetensorsHeader): RunDescription {
  if (metadata["format"] !== FORMAT) {
    const label = metadata["format"] ?? "no format";
    throw new HeadscopeError(
      "unsupported",
      `${path}: the checkpoint says ${label.slice(0, 80)}, this version reads ${FORMAT}`,
      { remedy: "train the run again, or use the version that made it" },
    );
  }
  const config = described(path, metadata, "config");
  const checked = modelConfigSchema.safeParse(config);
  if (!checked.success) {
    const { path: field, message } = checked.error.issues[0]!;
    throw damaged(path, `the checkpoint's config cannot be: ${field.join(".")}: ${message}`.slice(0, 300));
  }
  const spec = described(path, metadata, "spec");
  const [step, seed] = (["step", "seed"] as const).map((name) => {
    const value = Number(metadata[name]);
    if (Number.isSafeInteger(value) && value >= 0) return value;
    throw damaged(path, `the checkpoint's ${name} is no whole number`);
  }) as [number, number];
  const expected = parametersOf(checked.data);
  const names = vectorNames(tensors);
  const odd = names.map((name) => tensors.get(name)!).find((v) => v.dtype !== "F32" || v.bytes / 4 !== expected);
  if (!names.includes("parameters") || odd) {
    const label = odd
      ? `${odd.bytes / (odd.dtype === "F32" ? 4 : 1)} ${odd.dtype === "F32" ? "numbers" : `bytes of ${odd.dtype}`}`
      : "none";
    throw damaged(path, `the checkpoint's model has ${expected} parameters and the file ${label}`);
  }
  // The vectors, and the parameters once more as the model's tensors.
  checkHolds(path, 4 * expected * (names.length + 2));
  // As it is written: the digest is of this text.
  const gradients = GRADIENT_PATHS.find((name) => name === metadata["gradients"]);
  return { step, seed, config: config as ModelConfig, spec, gradients };
}

/** Names of the vectors in a file: the parameters, then the optimiser's, then the mask. */
function vectorNames(tensors: { has(name: string): boolean }): string[] {
  const names: string[] = [];
  for (let name = "parameters"; tensors.has(name); name = `optimiser.${names.length - 1}`) names.push(name);
  return tensors.has(MASK) ? [...names, MASK] : names;
}

/** One of the JSON texts in a checkpoint's header. */
function described(path: string, metadata: Readonly<Record<string, string>>, name: "config" | "spec"): unknown {
  const text = metadata[name] ?? "";
  if (text.length > LONGEST_DESCRIPTION) throw damaged(path, `the checkpoint's ${name} has ${text.length} characters`);
  try {
    const value = JSON.parse(text) as unknown;
    const fault = jsonFault(text);
    if (fault === undefined) return value;
    throw new SyntaxError(fault);
  } catch (cause) {
    throw damaged(path, `the checkpoint's description can't be read (${name})`, cause);
  }
}

function damaged(path: string, why: string, cause?: unknown): HeadscopeError {
  return new HeadscopeError("corrupt", `${path}: ${why}`, { remedy: "use another checkpoint of the run", cause });
}

/** The model of a checkpoint. @param ref how the user named it */
export function modelOfParameters(ref: string, config: ModelConfig, parameters: Float32Array): Model {
  const weights = weightsOver(config, parameterLayout(config), ({ offset, size, shape }) =>
    tf.tensor(parameters.slice(offset, offset + size), [...shape]),
  );
  return new Model({ ref, family: "toy", digest: parametersDigest(config, parameters), config, weights });
}

/** A run's checkpoint as a model's source. @param ref the reference with its step, or the path */
export function runSource(path: string, ref: string): ModelSource {
  const load = async (): Promise<Model> => {
    const { config, parameters } = await readRunCheckpoint(path);
    return modelOfParameters(ref, config, parameters);
  };
  return {
    ref,
    load,
    async describe() {
      const { config, parameters } = await readRunCheckpoint(path);
      return { ref, family: "toy", digest: parametersDigest(config, parameters), config };
    },
    inspect: () => inspectLoaded(load),
    version: () => versionOf(ref, path),
  };
}
