import type { Processing, WeightType } from "../../common/words.ts";
import { initBackend } from "../../runtime/backend.ts";
import type { Family } from "../families/index.ts";
import { biasesOf, featuresOf } from "../features.ts";
import type { Model } from "../model.ts";
import { NO_STOPS, type Stops } from "../stops.ts";
import type { Tokenizer } from "../tokenizers/tokenizer.ts";
import { partTensors } from "../weights/weights.ts";
import type { MemoryEstimate } from "./memory.ts";

/** Options of loading a model. */
export interface LoadOptions {
  /**
   * Type in which weights are held: "f32" (default), or "q8", which keeps matrices as the file has them, quantised ones as codes
   * of 4 or 8 bits with their scales: the same values, in about the memory of the file. "bf16" rounds every matrix to bfloat16: half
   * the memory, and of a bfloat16 checkpoint the same values. docs/formats.md has the details.
   */
  weights?: WeightType | undefined;
  /** Weight processing, off by default: fold_ln, center_writing_weights, center_unembed, fold_value_biases. */
  process?: readonly Processing[] | undefined;
  /** Bytes that loading may take; default what is free (see `availableMemory`). */
  memory?: number | undefined;
  /** Families to know beside headscope's own: docs/add-a-family.md. */
  families?: readonly Family[] | undefined;
  /** Called as parts are read, with the share done in [0, 1]. */
  onProgress?: ((done: number) => void) | undefined;
  signal?: AbortSignal | undefined;
}

/** A model's identity and shape. */
export type ModelDescription = Pick<Model, "ref" | "family" | "digest" | "config">;

/** A model's description with its memory, features and tokenizer. */
export interface ModelInspection extends ModelDescription {
  readonly memory: MemoryEstimate;
  /** The features of its transformer, in words. */
  readonly features: readonly string[];
  /** Types in which the checkpoint stores its weights, that of most bytes first. */
  readonly stored: readonly string[];
  readonly tokenizer: Tokenizer | undefined;
  /** The tokens at which its own files end a generation. */
  readonly stops: Stops;
  /** As in `Model`. */
  readonly tokenizerFault: string | undefined;
}

/** A place that a model comes from: a checkpoint of a family, one of a training run, or a construction. */
export interface ModelSource {
  /** The reference that its model carries. */
  readonly ref: string;
  /** Reads the model; without weight processing. */
  load(options: LoadOptions): Promise<Model>;
  /** Describes the model; of a checkpoint of a family no weights are read. */
  describe(): Promise<ModelDescription>;
  inspect(): Promise<ModelInspection>;
  /** Gives a text that changes when the model that the reference names does. */
  version(): string;
  /** Path of its checkpoint in a family's layout; none of a run or a construction. */
  readonly checkpoint?: string;
}

/** Inspects a model that is small and held in float32, which it takes over. */
export async function inspectLoaded(load: () => Promise<Model>): Promise<ModelInspection> {
  await initBackend();
  const model = await load();
  const { ref, family, digest, config, bytes, tokenizer, tokenizerFault, weights } = model;
  const features = featuresOf(config, biasesOf(partTensors(weights).keys()));
  model.dispose();
  const all = { f32: bytes, q8: bytes, bf16: bytes };
  const memory = { parameters: bytes / 4, weights: all, q8Formats: {}, peak: all };
  return { ref, family, digest, config, memory, features, tokenizer, tokenizerFault, stored: ["F32"], stops: NO_STOPS };
}
