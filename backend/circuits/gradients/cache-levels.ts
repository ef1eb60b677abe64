import type { Tensor } from "@tensorflow/tfjs";
import { headModel } from "../../common/heads/model.ts";
import { ANYTHING, checkOptions, FUNCTION, type Rules, real } from "../../common/options.ts";
import { type CacheLevels, createLevels } from "../../heads/levels.ts";
import { type LayerLevels, levelsOf, type SampledPage, scaledNumbers } from "../../models/cache/forms/kvquant.ts";
import { gradientsBefore, keyRotation } from "../../models/cache/forms/rotation.ts";
import { PAGE } from "../../models/cache/page-rows.ts";
import { forward } from "../../models/forward/forward.ts";
import type { Model } from "../../models/model.ts";
import { checkRows } from "../../models/tokens.ts";
import { tf } from "../../runtime/tf.ts";
import { loopTurn } from "../../runtime/turn.ts";
import { gradientInTurns } from "./gradient.ts";

/** Options of `findLevels`. */
export interface LevelOptions {
  /** Rows of token ids, each at least a page of 128 tokens; what is behind the last whole page of a row counts in the loss alone. */
  readonly tokens: readonly (readonly number[])[];
  /** Share of each vector that stays as it is, half at either end, default 0.01. */
  readonly outliers?: number;
  readonly signal?: AbortSignal | undefined;
  readonly progress?: ((done: number, total: number, label: string) => void) | undefined;
}

const OPTIONS: Rules<LevelOptions> = {
  tokens: ANYTHING,
  outliers: real(0, 0.2),
  signal: ANYTHING,
  progress: FUNCTION,
};
const OUTLIERS = 0.01;

/** A layer's keys after the rotation and its values in one row, [tokens, KV heads, d_head], and the loss's gradients with respect to both. */
interface RowOfLayer {
  readonly keys: Float32Array;
  readonly values: Float32Array;
  readonly byKeys: Float32Array;
  readonly byValues: Float32Array;
}

/**
 * KVQuant's levels of a model, learned of a sample: in each layer k-means of the keys before the rotation, and of the values, each number
 * weighed by its diagonal Fisher information, which is the squared gradient of the row's mean cross-entropy with respect to it.
 * Vectors are those of the policy: a key's channel over a page, a token's values; a row's first token is in none.
 * @throws HeadscopeError (input) for rows shorter than a page or beyond the context
 */
export async function findLevels(model: Model, options: LevelOptions): Promise<CacheLevels> {
  checkOptions("findLevels", options, OPTIONS, ["tokens"]);
  const { tokens, outliers = OUTLIERS, signal, progress } = options;
  checkRows(tokens, "the sample", { config: model.config, least: PAGE });
  const { n_layers } = model.config;
  const turn = loopTurn(signal);
  const pages: SampledPage[][] = Array.from({ length: n_layers }, () => []);
  const total = tokens.length + n_layers;
  for (const [i, row] of tokens.entries()) {
    progress?.(i, total, "gradients, then levels");
    const layers = await rowGradients(model, row, turn);
    for (const [l, layer] of layers.entries()) pages[l]!.push(...pagesOf(model, l, layer));
  }
  const layers: CacheLevels["layers"] = [];
  for (let layer = 0; layer < n_layers; layer++) {
    await turn();
    progress?.(tokens.length + layer, total, "gradients, then levels");
    layers.push(levelsOfLayer(model, layer, pages[layer]!, outliers));
    pages[layer] = [];
  }
  progress?.(total, total, "gradients, then levels");
  const count = tokens.reduce((sum, row) => sum + row.length, 0);
  return createLevels(headModel(model), layers, { outliers, rows: tokens.length, tokens: count });
}

function levelsOfLayer(model: Model, layer: number, pages: readonly SampledPage[], outliers: number) {
  const turns = keyRotation(model.config, layer)?.turns;
  const scaled = scaledNumbers(pages, { outliers, turns });
  const [two, three, four] = [2, 3, 4].map((bits) => levelsOf(scaled, bits)) as [LayerLevels, LayerLevels, LayerLevels];
  const of = (part: keyof LayerLevels) => ({ 2: [...two[part]], 3: [...three[part]], 4: [...four[part]] });
  return { keys: of("keys"), values: of("values") };
}

/** By layer, what a row's loss says of its keys and values. */
async function rowGradients(model: Model, row: readonly number[], turn: () => Promise<void>): Promise<RowOfLayer[]> {
  const { n_layers, d_vocab, d_vocab_out = d_vocab } = model.config;
  const hooks = (layer: number) => {
    const key = keyRotation(model.config, layer) ? "attn.hook_rot_k" : "attn.hook_k";
    return [`blocks.${layer}.${key}`, `blocks.${layer}.attn.hook_v`] as const;
  };
  const names = Array.from({ length: n_layers }, (_, layer) => hooks(layer)).flat();
  const { gradients } = await gradientInTurns(model, {
    input: { tokens: [[...row]], logitsAt: "all" },
    metric: (logits) => crossEntropy(logits, row, d_vocab_out),
    names,
    turn,
  });
  try {
    const run = forward(model, { tokens: [[...row]], logitsAt: "none" }, { names });
    try {
      const numbers = (of: { get(name: string): Tensor | undefined }, name: string) =>
        of.get(name)!.dataSync() as Float32Array;
      return Array.from({ length: n_layers }, (_, layer) => {
        const [key, value] = hooks(layer);
        return {
          keys: numbers(run.activations, key),
          values: numbers(run.activations, value),
          byKeys: numbers(gradients, key),
          byValues: numbers(gradients, value),
        };
      });
    } finally {
      run.dispose();
    }
  } finally {
    gradients.dispose();
  }
}

/** Mean cross-entropy of each token of a row given those before it, in nats. @param logits [1, positions, outputs] */
function crossEntropy(logits: Tensor, row: readonly number[], outputs: number): Tensor {
  const before = tf.slice(logits, [0, 0, 0], [1, row.length - 1, outputs]);
  const next = tf.cast(tf.oneHot(tf.tensor2d([row.slice(1)], undefined, "int32"), outputs), "float32");
  return tf.neg(tf.div(tf.sum(tf.mul(tf.logSoftmax(before), next)), row.length - 1));
}

/** The whole pages of each KV head, their squared gradients as weights. */
function pagesOf({ config }: Model, layer: number, { keys, values, byKeys, byValues }: RowOfLayer): SampledPage[] {
  const { n_key_value_heads: heads, d_head: width } = config;
  const turns = keyRotation(config, layer)?.turns;
  const count = Math.floor(keys.length / (heads * width) / PAGE);
  const pages: SampledPage[] = [];
  for (let head = 0; head < heads; head++)
    for (let page = 0; page < count; page++) {
      const positions = Int32Array.from({ length: PAGE }, (_, t) => page * PAGE + t);
      const own = (of: Float32Array): Float32Array => {
        const out = new Float32Array(PAGE * width);
        positions.forEach((position, t) => {
          const at = (position * heads + head) * width;
          out.set(of.subarray(at, at + width), t * width);
        });
        return out;
      };
      const [dk, dv] = [own(byKeys), own(byValues)];
      if (turns) gradientsBefore(dk, positions, turns);
      const weights = { keys: dk.map((g) => g * g), values: dv.map((g) => g * g) };
      pages.push({ keys: own(keys), values: own(values), positions, firstRows: page === 0 ? 1 : 0, weights });
    }
  return pages;
}
