import type { Tensor } from "@tensorflow/tfjs";
import { ANYTHING, checkOptions, FUNCTION, type Rules, whole } from "../../common/options.ts";
import type { Model } from "../../models/model.ts";
import { checkRows } from "../../models/tokens.ts";
import { gatherRows } from "../../runtime/ops.ts";
import { tf } from "../../runtime/tf.ts";
import { topIndices } from "../../runtime/top.ts";
import { loopTurn, type Turn } from "../../runtime/turn.ts";
import { evenBatches } from "../batches.ts";
import { activationAt } from "./activations.ts";
import { dictionaryHook, positionsOfStep, SparseDictionary } from "./dictionary.ts";

/** Prompts to look at through a dictionary. */
export interface ReadFeaturesOptions {
  dictionary: SparseDictionary;
  /** Rows of token ids [rows][positions], of any lengths. */
  tokens: readonly (readonly number[])[];
  /** Hook point, for a dictionary whose files name none. */
  at?: string | undefined;
  /** Features of a position, and of all positions together, largest first. Default 10. */
  top?: number;
  progress?: (done: number, total: number, label: string) => void;
  signal?: AbortSignal;
  /** Lets others in between batches of rows and stretches of a long run. */
  turn?: Turn;
}

/** A dictionary. */
export const DICTIONARY = {
  wants: "what loadDictionary gave",
  fits: (value: unknown): boolean => value instanceof SparseDictionary,
};

const OPTIONS: Rules<ReadFeaturesOptions> = {
  dictionary: DICTIONARY,
  tokens: { wants: "rows of token ids", fits: Array.isArray },
  at: { wants: "a hook name", fits: (value) => typeof value === "string" },
  top: whole(0),
  progress: FUNCTION,
  signal: ANYTHING,
  turn: FUNCTION,
};

/** A feature that is active, and how much. */
export interface ActiveFeature {
  readonly feature: number;
  readonly activation: number;
}

/** A position through a dictionary. */
export interface PositionFeatures {
  readonly token: number;
  /** Features that are active there. */
  readonly l0: number;
  /** |x - x̂|² / |x|²; null where x is 0. */
  readonly error: number | null;
  /** The largest of the active ones, largest first. */
  readonly top: readonly ActiveFeature[];
}

/** A feature over all positions. */
export interface LargeFeature extends ActiveFeature {
  /** Row of its largest activation. */
  readonly row: number;
  readonly position: number;
  /** Mean activation over all positions. */
  readonly mean: number;
  /** Share of the positions where it is active. */
  readonly share: number;
}

/** The faithfulness of a dictionary on some prompts, over all their positions. */
export interface Reconstruction {
  /** 1 - Σ|x - x̂|² / Σ|x - mean x|²; null where all x are equal. */
  readonly explainedVariance: number | null;
  /** The same without each row's first position, whose stream is often so long that the others hardly count beside it. */
  readonly explainedVarianceAfterFirst: number | null;
  /** Mean number of active features. */
  readonly l0: number;
  /** Σ|x - x̂|² / Σ|x|²; null where all x are 0. */
  readonly error: number | null;
}

/** Prompts through a dictionary. */
export interface FeatureReading {
  /** Hook point that was read. */
  readonly hook: string;
  readonly reconstruction: Reconstruction;
  /** By largest activation, largest first. */
  readonly largest: readonly LargeFeature[];
  /** [rows][positions] */
  readonly rows: readonly (readonly PositionFeatures[])[];
}

/**
 * Reads prompts through a sparse dictionary: which features are active where, and how much of the activation they make up.
 * @throws HeadscopeError for options that do not exist or do not fit, what `dictionaryHook` refuses, and activations that are no numbers
 */
export async function readFeatures(model: Model, options: ReadFeaturesOptions): Promise<FeatureReading> {
  checkOptions("readFeatures", options, OPTIONS, ["dictionary", "tokens"]);
  const { dictionary, tokens, at, top = 10, progress, signal, turn = loopTurn(signal) } = options;
  checkRows(tokens, "", { config: model.config });
  const hook = dictionaryHook(model, dictionary, at);
  const tally = new Tally(dictionary, top);
  const onLayer = (): void => signal?.throwIfAborted();
  const most = positionsOfStep(dictionary);
  const longest = Math.max(...tokens.map(({ length }) => length));
  for (const { first, count } of evenBatches(tokens.length, longest)) {
    const rows = tokens.slice(first, first + count);
    const activation = await activationAt(model, rows, hook, { onLayer, turn });
    try {
      const places = rows.flatMap((row, r) => row.map((token, position) => ({ row: first + r, position, token, at: r * activation.shape[1]! + position }))); // biome-ignore format: one line
      for (let from = 0; from < places.length; from += most) {
        tally.add(activation, places.slice(from, from + most));
        await turn();
      }
    } finally {
      activation.dispose();
    }
    progress?.(first + count, tokens.length, "features, rows");
  }
  return { hook, ...tally.reading() };
}

/** A position of a row, and where its activation lies. */
interface Place {
  readonly row: number;
  readonly position: number;
  readonly token: number;
  /** Row of the activation, all rows' positions one behind the other. */
  readonly at: number;
}

/** Sums over positions, as they come in. */
class Tally {
  readonly #dictionary: SparseDictionary;
  readonly #top: number;
  readonly #rows: PositionFeatures[][] = [];
  readonly #largest: Float32Array;
  readonly #where: { row: number; position: number }[] = [];
  readonly #sums: Float64Array;
  readonly #counts: Uint32Array;
  readonly #all: Spread;
  readonly #afterFirst: Spread;

  constructor(dictionary: SparseDictionary, top: number) {
    const { size, width } = dictionary.facts;
    this.#dictionary = dictionary;
    this.#top = top;
    this.#largest = new Float32Array(size);
    this.#sums = new Float64Array(size);
    this.#counts = new Uint32Array(size);
    this.#all = new Spread(width);
    this.#afterFirst = new Spread(width);
  }

  /** Adds positions. @param activation [rows, positions, width] */
  add(activation: Tensor, places: readonly Place[]): void {
    const { size, width } = this.#dictionary.facts;
    const tensors = tf.tidy(() => {
      const index = tf.tensor1d(
        places.map(({ at }) => at),
        "int32",
      );
      const x = gatherRows(tf.reshape(activation, [-1, width]), index);
      const features = this.#dictionary.encode(x);
      return [x, features, this.#dictionary.decode(features)];
    });
    const [x, features, decoded] = tensors.map((tensor) => tensor.dataSync() as Float32Array);
    tf.dispose(tensors);
    places.forEach((place, p) => {
      const part = (values: Float32Array, length: number): Float32Array =>
        values.subarray(p * length, (p + 1) * length);
      const [own, again] = [part(x!, width), part(decoded!, width)];
      const error = this.#all.add(own, again);
      if (place.position > 0) this.#afterFirst.add(own, again);
      const active = part(features!, size);
      const l0 = this.#count(active, place);
      const top = topIndices(active, Math.min(this.#top, l0)).map((feature) => ({ feature, activation: active[feature]! })); // biome-ignore format: one line
      this.#rows[place.row] ??= [];
      this.#rows[place.row]!.push({ token: place.token, l0, error, top });
    });
  }

  /** Features that are active at a position, which go into the sums. */
  #count(active: Float32Array, { row, position }: Place): number {
    let l0 = 0;
    for (let feature = 0; feature < active.length; feature++) {
      const activation = active[feature]!;
      if (activation <= 0) continue;
      l0++;
      this.#counts[feature]!++;
      this.#sums[feature]! += activation;
      if (activation <= this.#largest[feature]!) continue;
      this.#largest[feature] = activation;
      this.#where[feature] = { row, position };
    }
    return l0;
  }

  reading(): Omit<FeatureReading, "hook"> {
    const { positions } = this.#all;
    const active = topIndices(this.#largest, this.#top).filter((feature) => this.#counts[feature]! > 0);
    return {
      reconstruction: {
        explainedVariance: this.#all.explained,
        explainedVarianceAfterFirst: this.#afterFirst.explained,
        l0: this.#counts.reduce((sum, count) => sum + count, 0) / positions,
        error: this.#all.error,
      },
      largest: active.map((feature) => ({
        feature,
        activation: this.#largest[feature]!,
        ...this.#where[feature]!,
        mean: this.#sums[feature]! / positions,
        share: this.#counts[feature]! / positions,
      })),
      rows: this.#rows,
    };
  }
}

/** Sums of the squares of activations and of what is left of them. */
class Spread {
  positions = 0;
  #square = 0;
  #left = 0;
  readonly #sum: Float64Array;

  constructor(width: number) {
    this.#sum = new Float64Array(width);
  }

  /** Adds a position. @returns its |x - x̂|² / |x|²; null where x is 0 */
  add(x: Float32Array, decoded: Float32Array): number | null {
    let [left, square] = [0, 0];
    for (let d = 0; d < x.length; d++) {
      left += (x[d]! - decoded[d]!) ** 2;
      square += x[d]! ** 2;
      this.#sum[d]! += x[d]!;
    }
    this.positions++;
    this.#left += left;
    this.#square += square;
    return square === 0 ? null : left / square;
  }

  get error(): number | null {
    return this.#square === 0 ? null : this.#left / this.#square;
  }

  /** Share of the variance that is explained; null where nothing varies. */
  get explained(): number | null {
    const variance = this.#square - this.#sum.reduce((sum, total) => sum + total ** 2, 0) / Math.max(1, this.positions);
    // Sums in 64 bits of numbers in 32: what is left of equal numbers is rounding.
    return variance > 1e-12 * this.#square ? 1 - this.#left / variance : null;
  }
}
