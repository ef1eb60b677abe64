import { statSync } from "node:fs";
import { basename, dirname } from "node:path";
import { HeadscopeError, unknownName } from "../common/errors.ts";
import type { Processing, WeightType } from "../common/words.ts";
import { fileInside } from "../files.ts";
import { checkpointFile, checkpointSteps, dataDir, runIds } from "../paths.ts";
import { initBackend } from "../runtime/backend.ts";
import { describeCheckpoint, FAMILIES, type Family } from "./families/index.ts";
import { biasesOf, featuresOf } from "./features.ts";
import type { Checkpoint } from "./formats/checkpoint.ts";
import { openCheckpoint } from "./formats/open.ts";
import { Model } from "./model.ts";
import { toyInduction } from "./sources/constructed.ts";
import { hubModelPath } from "./sources/hub/cache.ts";
import { pulledModel } from "./sources/pull.ts";
import {
  type CatalogueReference,
  type ModelReference,
  parseReference,
  type RunReference,
} from "./sources/reference.ts";
import { isRunFile, modelOfParameters, parametersDigest, readRunCheckpoint } from "./sources/run-checkpoint.ts";
import { NO_STOPS, type Stops, stopsOf } from "./stops.ts";
import { tokenizerOf } from "./tokenizers/files/files.ts";
import type { Tokenizer } from "./tokenizers/tokenizer.ts";
import { availableMemory, checkFits, estimateMemory, type MemoryEstimate } from "./weights/memory.ts";
import { processedDigest, processWeights } from "./weights/processing.ts";
import { readWeights } from "./weights/read.ts";
import { partTensors } from "./weights/weights.ts";

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
 * the Hugging Face cache, or the path of a checkpoint file or folder; or one of these as `parseReference` has read it, where
 * another rule than a script's decides what is a path
 * @throws HeadscopeError for an unknown name, a model that is not pulled, a checkpoint that is corrupt or of an unknown family,
 * one that does not fit the memory, weight processing that does not apply
 */
export async function loadModel(ref: string | ModelReference, options: LoadOptions = {}): Promise<Model> {
  await initBackend();
  return processModel(await readSource(ref, options), options.process ?? []);
}

/**
 * Processes a model just loaded, which it takes over; without switches it is the model itself.
 * @throws HeadscopeError as `processWeights` does; the model is then freed
 */
export function processModel(model: Model, switches: readonly Processing[]): Model {
  if (switches.length === 0) return model;
  const { ref, family, tokenizer, tokenizerFault, stops } = model;
  const digest = processedDigest(model.digest, switches);
  try {
    const processed = processWeights(model.config, model.weights, switches, ref);
    return new Model({ ref, family, digest, tokenizer, tokenizerFault, stops, ...processed });
  } catch (error) {
    model.dispose();
    throw error;
  }
}

async function readSource(ref: string | ModelReference, options: LoadOptions): Promise<Model> {
  const source = await resolve(ref);
  if (source.kind === "constructed") return toyInduction();
  if (source.kind === "run") {
    const { config, parameters } = await readRunCheckpoint(source.path);
    return modelOfParameters(source.ref, config, parameters);
  }
  return withCheckpoint(source.path, (checkpoint) => readModel(source.ref, checkpoint, source.digest, options));
}

/** A model's identity and shape. */
export type ModelDescription = Pick<Model, "ref" | "family" | "digest" | "config">;

/**
 * Describes a model without reading its weights, which may yet turn out to be unreadable.
 * @param ref as for `loadModel`
 * @throws HeadscopeError as `loadModel` does, but for what only the weights can show, such as NaN
 */
export async function describeModel(ref: string | ModelReference): Promise<ModelDescription> {
  const source = await resolve(ref);
  if (source.kind === "constructed") {
    await initBackend();
    const model = toyInduction();
    model.dispose();
    const { family, digest, config } = model;
    return { ref: source.ref, family, digest, config };
  }
  if (source.kind === "run") {
    const { config, parameters } = await readRunCheckpoint(source.path);
    return { ref: source.ref, family: "toy", digest: parametersDigest(config, parameters), config };
  }
  return withCheckpoint(source.path, async (checkpoint) => {
    const { family, config } = describeCheckpoint(checkpoint);
    return { ref: source.ref, family: family.name, digest: source.digest ?? (await checkpoint.digest()), config };
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
  /** The tokens and texts at which its own files end a generation. */
  readonly stops: Stops;
  /** As in `Model`. */
  readonly tokenizerFault: string | undefined;
}

/**
 * Describes a model with the memory that it takes and its tokenizer; of a checkpoint no weights are read.
 * @param ref as for `loadModel`
 * @throws as `describeModel`
 */
export async function inspectModel(ref: string | ModelReference): Promise<ModelInspection> {
  const source = await resolve(ref);
  if (source.kind !== "checkpoint") {
    const model = await loadModel(ref);
    const { family, digest, config, bytes, tokenizer, tokenizerFault, weights } = model;
    const features = featuresOf(config, biasesOf(partTensors(weights).keys()));
    model.dispose();
    const all = { f32: bytes, q8: bytes, bf16: bytes };
    const memory = { parameters: bytes / 4, weights: all, peak: all };
    const known = { ref: model.ref, family, digest, config, memory, features, tokenizer, tokenizerFault };
    return { ...known, stored: ["F32"], stops: NO_STOPS };
  }
  return withCheckpoint(source.path, async (checkpoint) => {
    const { family, config, parts } = describeCheckpoint(checkpoint);
    const read = await tokenizerOf(checkpoint);
    return {
      ref: source.ref,
      family: family.name,
      digest: source.digest ?? (await checkpoint.digest()),
      config,
      memory: estimateMemory(config, parts, checkpoint),
      features: featuresOf(config, biasesOf(Object.keys(parts))),
      stored: storedTypes(checkpoint),
      ...read,
      stops: await stopsOf(checkpoint, config, read.tokenizer),
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
export async function modelVersion(ref: string | ModelReference): Promise<string> {
  const source = await resolve(ref);
  if (source.kind === "constructed") return source.ref;
  const { mtimeMs, size } = statSync(source.path);
  return `${source.kind === "run" ? source.ref : source.path} ${mtimeMs} ${size}`;
}

/** Where a model comes from, with the reference that a model carries; a pulled one's digest is on record. */
type Source =
  | { readonly kind: "constructed"; readonly ref: string }
  | { readonly kind: "run"; readonly path: string; readonly ref: string }
  | { readonly kind: "checkpoint"; readonly path: string; readonly ref: string; readonly digest: string | undefined };

async function resolve(model: string | ModelReference): Promise<Source> {
  const reference = typeof model === "string" ? parseReference(model, "existing") : model;
  switch (reference.kind) {
    case "run":
      return resolveRun(reference);
    case "hub":
      return checkpointAt(await hubModelPath(reference.text), reference.text);
    case "catalogue":
      return resolveNamed(reference);
    case "path":
      return resolvePath(reference.text);
  }
}

function checkpointAt(path: string, ref: string, digest?: string): Source {
  return { kind: "checkpoint", path, ref, digest };
}

function resolveNamed({ name, model }: CatalogueReference): Source {
  if (model.kind === "constructed") return { kind: "constructed", ref: name };
  const pulled = pulledModel(name);
  if (pulled !== undefined) return checkpointAt(pulled.path, name, `sha256:${pulled.manifest.sha256}`);
  throw new HeadscopeError("missing", `model ${name} is not on this machine`, {
    remedy: `run \`headscope models pull ${name}\``,
  });
}

function resolvePath(path: string): Source {
  if (path.includes("\0") || statSync(path, { throwIfNoEntry: false }) === undefined)
    throw new HeadscopeError("missing", `there is no file or folder ${path}`, { remedy: "check the path" });
  return path.endsWith(".safetensors") && isRunFile(path) ? { kind: "run", path, ref: path } : checkpointAt(path, path);
}

/** A run's checkpoint at a step or its last one. The ref that comes back always has the step. */
async function resolveRun({ id, step }: RunReference): Promise<Source> {
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
  const path = checkpointFile(id, chosen);
  await fileInside(dirname(path), basename(path), dataDir());
  return { kind: "run", path, ref: `run:${id}@${chosen}` };
}

/**
 * Opens the checkpoint that a model was loaded from, for as long as `use` takes.
 * @param ref as for `loadModel`
 * @throws HeadscopeError "unsupported" for a model that comes from no checkpoint: a run or a built-in one
 */
export async function withCheckpointOf<T>(ref: string, use: (checkpoint: Checkpoint) => Promise<T>): Promise<T> {
  const source = await resolve(ref);
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
  const tokenizer = await tokenizerOf(checkpoint);
  return new Model({
    ref,
    family: family.name,
    digest: digest ?? (await checkpoint.digest()),
    config,
    ...tokenizer,
    stops: await stopsOf(checkpoint, config, tokenizer.tokenizer),
    weights: await readWeights(checkpoint, config, parts, options),
  });
}
