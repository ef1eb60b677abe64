import { existsSync, statSync } from "node:fs";
import { HeadscopeError, unknownName } from "../errors.ts";
import { checkpointFile, checkpointSteps, runIds } from "../paths.ts";
import { initBackend } from "../runtime/backend.ts";
import { CATALOGUE } from "./catalogue.ts";
import { toyInduction } from "./constructed.ts";
import { describeCheckpoint, FAMILIES, type Family } from "./families/index.ts";
import { biasesIn, biasesOf, featuresOf } from "./features.ts";
import { type Checkpoint, openCheckpoint } from "./formats/checkpoint.ts";
import type { Tokenizer } from "./formats/tokenizer.ts";
import { tokenizerOf } from "./formats/tokenizer-files.ts";
import { hubModelPath } from "./hub/cache.ts";
import { isHubRef } from "./hub/ref.ts";
import { availableMemory, checkFits, estimateMemory, type MemoryEstimate, type WeightType } from "./memory.ts";
import { Model } from "./model.ts";
import { PartReader } from "./part-reader.ts";
import { type Processing, processModel } from "./processing.ts";
import { modelDigest, modelFile } from "./pull.ts";
import { isRunFile, modelOfParameters, parametersDigest, readRunCheckpoint } from "./run-checkpoint.ts";

export interface LoadOptions {
  /**
   * How weights are held: "f32" (default), or "q8", which keeps quantised ones as 8-bit codes with their scales
   * and widens them where they are used: the same values, a quarter of the memory. "bf16" rounds every matrix to
   * bfloat16 and widens it where it is used: half the memory, and of a bfloat16 checkpoint the same values.
   */
  weights?: WeightType;
  /** Weight processing, off by default: fold_ln, center_writing_weights, center_unembed, fold_value_biases. */
  process?: readonly Processing[];
  /** Bytes that loading may take; default what is free (see `availableMemory`). */
  memory?: number;
  /** Families to know beside headscope's own: docs/add-a-family.md. */
  families?: readonly Family[];
  /** Called as parts are read, with the share done in [0, 1]. */
  onProgress?: (done: number) => void;
  signal?: AbortSignal;
}

/**
 * Loads a model.
 * @param ref a catalogue name (smollm2-135m, toy-induction), run:ID or run:ID@step, hf:org/name[@revision] of one that is in
 * the Hugging Face cache, or the path of a checkpoint file or folder
 * @throws HeadscopeError for an unknown name, a model that is not pulled, a checkpoint that is corrupt or of an unknown family,
 * one that does not fit the memory, weight processing that does not apply
 */
export async function loadModel(ref: string, options: LoadOptions = {}): Promise<Model> {
  await initBackend();
  return processModel(await readSource(ref, options), options.process ?? []);
}

async function readSource(ref: string, options: LoadOptions): Promise<Model> {
  const source = resolve(ref);
  if (source.kind === "constructed") return toyInduction();
  if (source.kind === "run") {
    const { config, parameters } = await readRunCheckpoint(source.path);
    return modelOfParameters(source.ref, config, parameters);
  }
  return withCheckpoint(source.path, (checkpoint) => readModel(ref, checkpoint, source.digest, options));
}

/** A model's identity and shape. */
export type ModelDescription = Pick<Model, "ref" | "family" | "digest" | "config">;

/**
 * Describes a model without reading its weights, which may yet turn out to be unreadable.
 * @param ref as for `loadModel`
 * @throws HeadscopeError as `loadModel` does, but for what only the weights can show, such as NaN
 */
export async function describeModel(ref: string): Promise<ModelDescription> {
  const source = resolve(ref);
  if (source.kind === "constructed") {
    await initBackend();
    const model = toyInduction();
    model.dispose();
    const { family, digest, config } = model;
    return { ref, family, digest, config };
  }
  if (source.kind === "run") {
    const { config, parameters } = await readRunCheckpoint(source.path);
    return { ref: source.ref, family: "toy", digest: parametersDigest(config, parameters), config };
  }
  return withCheckpoint(source.path, async (checkpoint) => {
    const { family, config } = describeCheckpoint(checkpoint);
    return { ref, family: family.name, digest: source.digest ?? (await checkpoint.digest()), config };
  });
}

/** What there is to know of a model without reading its weights. */
export interface ModelInspection extends ModelDescription {
  readonly memory: MemoryEstimate;
  /** What the model is made of, in words. */
  readonly features: readonly string[];
  /** Types in which the checkpoint stores its weights, that of most bytes first. */
  readonly stored: readonly string[];
  readonly tokenizer: Tokenizer | undefined;
  /** As in `Model`. */
  readonly tokenizerFault: string | undefined;
}

/**
 * Describes a model with the memory that it takes and its tokenizer; of a checkpoint no weights are read.
 * @param ref as for `loadModel`
 * @throws as `describeModel`
 */
export async function inspectModel(ref: string): Promise<ModelInspection> {
  const source = resolve(ref);
  if (source.kind !== "checkpoint") {
    const model = await loadModel(ref);
    const { family, digest, config, bytes, tokenizer, tokenizerFault, weights } = model;
    const features = featuresOf(config, biasesOf(weights.blocks[0]!));
    model.dispose();
    const all = { f32: bytes, q8: bytes, bf16: bytes };
    const memory = { parameters: bytes / 4, weights: all, peak: all };
    return { ref: model.ref, family, digest, config, memory, features, stored: ["F32"], tokenizer, tokenizerFault };
  }
  return withCheckpoint(source.path, async (checkpoint) => {
    const { family, config, parts } = describeCheckpoint(checkpoint);
    return {
      ref,
      family: family.name,
      digest: source.digest ?? (await checkpoint.digest()),
      config,
      memory: estimateMemory(config, parts, checkpoint),
      features: featuresOf(config, biasesIn(parts)),
      stored: storedTypes(checkpoint),
      ...(await tokenizerOf(checkpoint)),
    };
  });
}

function storedTypes({ tensors }: Checkpoint): string[] {
  const bytes = new Map<string, number>();
  for (const tensor of tensors.values()) bytes.set(tensor.type, (bytes.get(tensor.type) ?? 0) + tensor.bytes);
  return [...bytes].sort(([, a], [, b]) => b - a).map(([type]) => type);
}

/**
 * What a reference stands for now, as a text: it changes when a run has saved a later step or a file was written anew, and
 * then an open model is not what the reference names any more.
 * @throws HeadscopeError as `loadModel` does for a name, before anything is read
 */
export function modelVersion(ref: string): string {
  const source = resolve(ref);
  if (source.kind === "constructed") return ref;
  const { mtimeMs, size } = statSync(source.path);
  return `${source.kind === "run" ? source.ref : source.path} ${mtimeMs} ${size}`;
}

/** Where a model comes from; a pulled one's digest is on record. */
type Source =
  | { readonly kind: "constructed" }
  | { readonly kind: "run"; readonly path: string; readonly ref: string }
  | { readonly kind: "checkpoint"; readonly path: string; readonly digest: string | undefined };

function resolve(ref: string): Source {
  if (ref.startsWith("run:")) return resolveRun(ref);
  if (isHubRef(ref)) return { kind: "checkpoint", path: hubModelPath(ref), digest: undefined };
  const known = Object.hasOwn(CATALOGUE, ref) ? CATALOGUE[ref] : undefined;
  if (known?.kind === "constructed") return { kind: "constructed" };
  const path = known ? modelFile(ref) : ref;
  if (path === undefined) {
    throw new HeadscopeError("missing", `model ${ref} is not on this machine`, {
      remedy: `run \`headscope models pull ${ref}\``,
    });
  }
  if (!existsSync(path)) {
    if (/[/\\]|\.(gguf|safetensors)$/.test(ref))
      throw new HeadscopeError("missing", `there is no file or folder ${ref}`, { remedy: "check the path" });
    throw unknownName("model", ref, Object.keys(CATALOGUE));
  }
  if (path.endsWith(".safetensors") && isRunFile(path)) return { kind: "run", path, ref };
  return { kind: "checkpoint", path, digest: known ? modelDigest(ref) : undefined };
}

/** `run:ID@step`, or `run:ID` for its last checkpoint. The ref that comes back always has the step. */
function resolveRun(ref: string): Source {
  const { id, step } = parseRunRef(ref);
  const steps = checkpointSteps(id);
  if (steps.length === 0) {
    if (!runIds().includes(id)) throw unknownName("run", id, runIds());
    throw new HeadscopeError("missing", `run ${id} has no checkpoint yet`, {
      remedy: `wait for it, or go on with \`headscope train --resume ${id}\``,
    });
  }
  if (step !== undefined && !steps.includes(step))
    throw new HeadscopeError("usage", `run ${id} has no checkpoint at step ${step}`, {
      remedy: `choose one of ${steps.join(", ")}`,
    });
  const chosen = step ?? steps.at(-1)!;
  return { kind: "run", path: checkpointFile(id, chosen), ref: `run:${id}@${chosen}` };
}

/**
 * Reads `run:ID` or `run:ID@step`.
 * @throws HeadscopeError (usage) for anything else
 */
export function parseRunRef(ref: string): { id: string; step: number | undefined } {
  const found = /^run:([A-Za-z0-9-]+)(?:@(\d+))?$/.exec(ref);
  if (!found) throw new HeadscopeError("usage", `"${ref}" names no run`, { remedy: "write run:ID or run:ID@step" });
  return { id: found[1]!, step: found[2] === undefined ? undefined : Number(found[2]) };
}

/**
 * Opens the checkpoint that a model was loaded from, for as long as `use` takes.
 * @param ref as for `loadModel`
 * @throws HeadscopeError "unsupported" for a model that comes from no checkpoint: a run or a built-in one
 */
export async function withCheckpointOf<T>(ref: string, use: (checkpoint: Checkpoint) => Promise<T>): Promise<T> {
  const source = resolve(ref);
  if (source.kind === "checkpoint") return withCheckpoint(source.path, use);
  throw new HeadscopeError("unsupported", `${ref} comes from no checkpoint`, {
    remedy: "export it for TransformerLens: --format transformer-lens",
  });
}

async function withCheckpoint<T>(path: string, use: (checkpoint: Checkpoint) => Promise<T>): Promise<T> {
  const checkpoint = await openCheckpoint(path);
  try {
    return await use(checkpoint);
  } finally {
    await checkpoint.close();
  }
}

async function readModel(
  ref: string,
  checkpoint: Checkpoint,
  digest: string | undefined,
  options: LoadOptions,
): Promise<Model> {
  const { family, config, parts } = describeCheckpoint(checkpoint, [...(options.families ?? []), ...FAMILIES]);
  const estimate = estimateMemory(config, parts, checkpoint);
  checkFits(checkpoint.path, estimate, options.weights ?? "f32", options.memory ?? availableMemory());
  const reader = new PartReader(checkpoint, parts, options);
  try {
    return new Model({
      ref,
      family: family.name,
      digest: digest ?? (await checkpoint.digest()),
      config,
      weights: await reader.weights(config),
      ...(await tokenizerOf(checkpoint)),
    });
  } catch (error) {
    reader.dispose();
    throw error;
  }
}
