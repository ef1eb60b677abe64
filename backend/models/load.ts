import { statSync } from "node:fs";
import { basename, dirname } from "node:path";
import { HeadscopeError } from "../common/errors.ts";
import type { Processing } from "../common/words.ts";
import { fileInside } from "../files.ts";
import { giveBackMemory } from "../kernels/kernels.ts";
import { dataDir } from "../paths.ts";
import { initBackend } from "../runtime/backend.ts";
import type { Checkpoint } from "./formats/checkpoint.ts";
import { Model } from "./model.ts";
import { checkpointSource, withCheckpoint } from "./sources/checkpoint.ts";
import { constructedSource } from "./sources/constructed.ts";
import { hubModelPath } from "./sources/hub/cache.ts";
import { pulledModel } from "./sources/pull.ts";
import {
  type CatalogueReference,
  type ModelReference,
  parseReference,
  type RunReference,
} from "./sources/reference.ts";
import { isRunFile, runSource } from "./sources/run-checkpoint.ts";
import { runCheckpointFile } from "./sources/run-file.ts";
import type { LoadOptions, ModelDescription, ModelInspection, ModelSource } from "./sources/source.ts";
import { processedDigest, processWeights } from "./weights/processing.ts";

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
  const source = await sourceOf(ref);
  const model = processModel(await source.load(options), options.process ?? []);
  giveBackMemory(); // of what was read and packed
  return model;
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

/**
 * Describes a model without reading its weights, which may yet turn out to be unreadable.
 * @param ref as for `loadModel`
 * @throws HeadscopeError as `loadModel` does, but for what only the weights can show, such as NaN
 */
export async function describeModel(ref: string | ModelReference): Promise<ModelDescription> {
  return (await sourceOf(ref)).describe();
}

/**
 * Describes a model with the memory that it takes and its tokenizer; of a family's checkpoint no weights are read.
 * @param ref as for `loadModel`
 * @throws as `describeModel`
 */
export async function inspectModel(ref: string | ModelReference): Promise<ModelInspection> {
  return (await sourceOf(ref)).inspect();
}

/**
 * Gives a text for the model that a reference names now: it changes when a run has saved a later step or a file was written
 * anew, and then an open model is not what the reference names any more.
 * @throws HeadscopeError as `loadModel` does for a name, before anything is read
 */
export async function modelVersion(ref: string | ModelReference): Promise<string> {
  return (await sourceOf(ref)).version();
}

/**
 * Opens the checkpoint that a model was loaded from, for as long as `use` takes.
 * @param ref as for `loadModel`
 * @throws HeadscopeError "unsupported" for a model that comes from no checkpoint: a run or a built-in one
 */
export async function withCheckpointOf<T>(ref: string, use: (checkpoint: Checkpoint) => Promise<T>): Promise<T> {
  const { checkpoint } = await sourceOf(ref);
  if (checkpoint !== undefined) return withCheckpoint(checkpoint, use);
  throw new HeadscopeError("unsupported", `${ref} comes from no checkpoint`, {
    remedy: "export it for TransformerLens: --format transformer-lens",
  });
}

async function sourceOf(model: string | ModelReference): Promise<ModelSource> {
  const reference = typeof model === "string" ? parseReference(model, "existing") : model;
  switch (reference.kind) {
    case "run":
      return resolveRun(reference);
    case "hub":
      return checkpointSource(await hubModelPath(reference.text), reference.text);
    case "catalogue":
      return resolveNamed(reference);
    case "path":
      return resolvePath(reference.text);
  }
}

function resolveNamed({ name, model }: CatalogueReference): ModelSource {
  if (model.kind === "constructed") return constructedSource(name);
  const pulled = pulledModel(name);
  if (pulled !== undefined) return checkpointSource(pulled.path, name, `sha256:${pulled.manifest.sha256}`);
  throw new HeadscopeError("missing", `model ${name} is not on this machine`, {
    remedy: `run \`headscope models pull ${name}\``,
  });
}

function resolvePath(path: string): ModelSource {
  if (path.includes("\0") || statSync(path, { throwIfNoEntry: false }) === undefined)
    throw new HeadscopeError("missing", `there is no file or folder ${path}`, { remedy: "check the path" });
  return path.endsWith(".safetensors") && isRunFile(path) ? runSource(path, path) : checkpointSource(path, path);
}

/** A run's checkpoint at a step or its last one. The ref that comes back always has the step. */
async function resolveRun(reference: RunReference): Promise<ModelSource> {
  const { path, ref } = runCheckpointFile(reference);
  await fileInside(dirname(path), basename(path), dataDir());
  return runSource(path, ref);
}
