import type { Tensor, Tensor2D } from "@tensorflow/tfjs";
import { HeadscopeError } from "../../common/errors.ts";
import type { DictionaryArchitecture } from "../../common/words.ts";
import type { Model } from "../../models/model.ts";
import { activationWidth, checkHookName, isPattern } from "../../models/transformer/hook-points.ts";
import { tf } from "../../runtime/tf.ts";

/** The weights of a sparse dictionary, of row vectors; whoever has them disposes them. */
export interface DictionaryWeights {
  /** [width, size] */
  readonly W_enc: Tensor;
  /** [size] */
  readonly b_enc: Tensor;
  /** [size, width] */
  readonly W_dec: Tensor;
  /** [width] */
  readonly b_dec: Tensor;
  /** Of jumprelu, the value that a feature must exceed [size]. */
  readonly threshold?: Tensor;
}

/** Facts about a sparse dictionary. */
export interface DictionaryFacts {
  /** Folder that it was read from, or another name for errors. */
  readonly path: string;
  readonly architecture: DictionaryArchitecture;
  /** Numbers that it reads at a position. */
  readonly width: number;
  /** Features. */
  readonly size: number;
  /** Hook point that it was trained on, where its files say so. */
  readonly hook?: string | undefined;
  /** Model that it was trained on, by the name that its trainer had for it. */
  readonly trainedOn?: string | undefined;
  /** Of topk, features that may be active at a position. */
  readonly k?: number | undefined;
  /** Takes b_dec off what is read. */
  readonly centred: boolean;
}

/**
 * A sparse dictionary (sparse autoencoder): an activation as a sum of few of many directions. f = σ((x - b_dec) W_enc + b_enc),
 * x ≈ f W_dec + b_dec, with σ by architecture.
 * @see Bricken et al. 2023, Towards Monosemanticity; Gao et al. 2024 (topk); Rajamanoharan et al. 2024 (jumprelu)
 */
export class SparseDictionary {
  readonly facts: DictionaryFacts;
  readonly #weights: DictionaryWeights;

  /** @param weights owned by the dictionary from here on */
  constructor(facts: DictionaryFacts, weights: DictionaryWeights) {
    this.facts = facts;
    this.#weights = weights;
  }

  /** Activations of all features. @param x [n, width] @returns [n, size], a new tensor, nothing negative in it */
  encode(x: Tensor): Tensor {
    return tf.tidy(() => {
      const { W_enc, b_enc, b_dec } = this.#weights;
      const read = this.facts.centred ? tf.sub(x, b_dec) : x;
      return this.#activate(tf.add(tf.matMul(read as Tensor2D, W_enc as Tensor2D), b_enc));
    });
  }

  /** @param before what the encoder gives [n, size] */
  #activate(before: Tensor): Tensor {
    const active = tf.relu(before);
    switch (this.facts.architecture) {
      case "standard":
        return active;
      case "jumprelu":
        return tf.mul(active, tf.cast(tf.greater(before, this.#weights.threshold!), "float32"));
      case "topk":
        return largestOf(active, this.facts.k!);
    }
  }

  /** The activation that features make together. @param features [n, size] @returns [n, width], a new tensor */
  decode(features: Tensor): Tensor {
    const { W_dec, b_dec } = this.#weights;
    return tf.tidy(() => tf.add(tf.matMul(features as Tensor2D, W_dec as Tensor2D), b_dec));
  }

  /**
   * Sum of the directions of some features times their activations, without the bias.
   * @param features [n, size] @param chosen feature ids @returns [n, width], a new tensor
   */
  written(features: Tensor, chosen: readonly number[]): Tensor {
    return tf.tidy(() => {
      const index = tf.tensor1d([...new Set(chosen)], "int32");
      return tf.matMul(tf.gather(features, index, 1) as Tensor2D, tf.gather(this.#weights.W_dec, index) as Tensor2D);
    });
  }

  /** Frees the weights. */
  dispose(): void {
    tf.dispose(Object.values(this.#weights));
  }
}

/** Numbers that one step of encoding holds: 32 MB. */
const STEP = 2 ** 23;

/** Positions that go through a dictionary together, so that a step's memory is bounded. */
export function positionsOfStep({ facts: { size, width } }: SparseDictionary): number {
  return Math.max(1, Math.floor(STEP / Math.max(size, width)));
}

/** The k largest numbers of each row, in their places; 0 elsewhere. @param values [n, size], nothing negative in it */
function largestOf(values: Tensor, k: number): Tensor {
  const [rows, size] = values.shape as [number, number];
  const largest = tf.topk(values, k); // [n, k] both
  const row = tf.tile(tf.reshape(tf.range(0, rows, 1, "int32"), [rows, 1]), [1, k]);
  const places = tf.stack([row, tf.cast(largest.indices, "int32")], 2); // [n, k, 2]
  return tf.scatterND(tf.reshape(places, [rows * k, 2]), tf.reshape(largest.values, [rows * k]), [rows, size]);
}

/**
 * The hook point of a model that a dictionary reads.
 * @param at for a dictionary whose files name none
 * @throws HeadscopeError (mismatch) for a dictionary of another width or another hook point than `at`, or one that the model lacks;
 * (usage) for an `at` that the model lacks; (unsupported) for patterns and the final norm; (input) where nobody names a hook point
 */
export function dictionaryHook({ config, ref }: Model, { facts }: SparseDictionary, at?: string): string {
  const { path, hook: own, width } = facts;
  if (own !== undefined && at !== undefined && own !== at)
    throw new HeadscopeError("mismatch", `${path} is a dictionary of ${own}, not of ${at}`, {
      remedy: "leave the hook point out, or take a dictionary of that one",
      field: "at",
    });
  const hook = own ?? at;
  if (hook === undefined)
    throw new HeadscopeError("input", `${path} does not say which hook point it is of`, {
      remedy: "name it (--at), such as blocks.5.hook_resid_post",
      field: "at",
    });
  try {
    checkHookName(config, hook);
  } catch (error) {
    if (own === undefined || !(error instanceof HeadscopeError)) throw error;
    throw new HeadscopeError("mismatch", `${path} is a dictionary of ${own}, which ${ref} does not have`, {
      remedy: "take a dictionary that was trained on this model",
      cause: error,
    });
  }
  if (isPattern(hook) || hook.startsWith("ln_final."))
    throw new HeadscopeError("unsupported", `no dictionary is read at ${hook}`, {
      remedy: "choose a hook point of a block that has a vector at a position, such as blocks.5.hook_resid_post",
      field: "at",
    });
  const numbers = activationWidth(config, hook).reduce((product, length) => product * length, 1);
  if (numbers !== width)
    throw new HeadscopeError("mismatch", `${path} reads ${width} numbers, and ${hook} of ${ref} has ${numbers}`, {
      remedy: "take a dictionary that was trained on this model",
    });
  return hook;
}

/** @throws HeadscopeError (usage) for a feature that a dictionary does not have */
export function checkFeatures({ facts }: SparseDictionary, features: readonly number[]): void {
  const beyond = features.find((feature) => !Number.isSafeInteger(feature) || feature < 0 || feature >= facts.size);
  if (beyond === undefined) return;
  throw new HeadscopeError("usage", `there is no feature ${beyond} in ${facts.path}`, {
    remedy: `features are 0 to ${facts.size - 1}`,
    field: "features",
  });
}
