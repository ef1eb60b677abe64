import type { Tensor } from "@tensorflow/tfjs";
import { z } from "zod";
import { HeadscopeError } from "../backend/common/errors.ts";
import { Random, randomRows } from "../backend/common/random.ts";
import { allFinite, notFinite } from "../backend/hooks/finite.ts";
import { localWindow } from "../backend/models/config.ts";
import { forward } from "../backend/models/forward/forward.ts";
import type { Model } from "../backend/models/model.ts";
import { checkRows, tokenPool } from "../backend/models/tokens.ts";
import { softCap } from "../backend/models/transformer/attention.ts";
import { normaliseHeads, type Rotation, rotate } from "../backend/models/transformer/block.ts";
import { blockHook } from "../backend/models/transformer/hook-points.ts";
import { requireSoftmax } from "../backend/models/transformer/kernels/index.ts";
import { tf } from "../backend/runtime/tf.ts";
import { loopTurn } from "../backend/runtime/turn.ts";
import { fitLength, meanMetric, type Probe, type ProbeContext, refuse, summarise } from "./base.ts";
import { filler } from "./haystack.ts";

const TOKENS = 512;
const REPEATS = 500;

const parameters = z.object({
  samples: z.int().min(1).default(8).describe("texts, where no tokens are given (kvpress: 50 of BookSum)"),
  tokens: z.int().min(1).default(TOKENS).describe("tokens of a text"),
  repeats: z.int().min(2).default(REPEATS).describe("positions at which the mean query and key stand"),
});
type Params = z.output<typeof parameters>;

/** Heads whose mean query looks far back, as kvpress scores them instead of training gates. */
export const onTheFly: Probe<typeof parameters> = {
  name: "on-the-fly",
  title: "Reach of a head's mean query",
  description:
    "The mean query and the mean key of a head stand at `repeats` positions and are rotated there. The score is the mean of the running sums of the last query's " +
    "attention: 1 where all of it lies on the first position, 0 on the last, about 0.5 where it is even. Mean over a KV head's query heads. One forward a text.",
  source: "NVIDIA/kvpress 0.5.5, duo_attention_on_the_fly",
  parameters,
  meanings: {
    "on-the-fly": {
      meaning: "Mean of the running sums of attention from the last position: how far back the mean query looks.",
      range: [0, 1],
      chance: ({ repeats }) => repeats && (repeats + 1) / (2 * repeats),
    },
  },
  async run(model, params, context) {
    refuse(context, "on-the-fly", "cases");
    const { config } = model;
    requireSoftmax(config, "probe on-the-fly");
    if (config.positional_embedding_type !== "rotary")
      throw new HeadscopeError("unsupported", `${model.ref} rotates no queries, and this score is made of rotations`, {
        remedy: "score its heads by another probe, such as retrieval",
      });
    const repeats = fitLength("repeats", params.repeats, REPEATS, config.n_ctx);
    const rows = rowsOf(model, params, context);
    checkRows(rows, "", { config });
    const turn = loopTurn(context.signal);
    const tables: number[][][] = [];
    for (const row of rows) {
      context.progress?.(tables.length, rows.length, "texts");
      await turn();
      tables.push(scoresOn(model, row, repeats));
    }
    context.progress?.(rows.length, rows.length, "texts");
    const metric = { ...meanMetric(tables), axis: "kvHeads" as const };
    return {
      params: { ...params, repeats, samples: rows.length },
      tokens: rows,
      metrics: { "on-the-fly": metric },
      summary: summarise(metric.values),
    };
  },
};

function rowsOf(model: Model, { samples, tokens }: Params, { tokens: given, seed = 0 }: ProbeContext): number[][] {
  if (given) return given;
  const length = fitLength("tokens", tokens, TOKENS, model.config.n_ctx);
  const { tokenizer } = model;
  if (!tokenizer) return randomRows(tokenPool(model), samples, length, new Random(seed));
  const encode = (text: string): number[] => tokenizer.encode(text, { prependBos: false });
  const head = tokenizer.bos === undefined ? [] : [tokenizer.bos];
  return Array.from({ length: samples }, (_, i) =>
    [...head, ...filler(length, new Random(seed, i), encode)].slice(0, length),
  );
}

/** The score of every KV head on one text [layers][KV heads]. */
function scoresOn(model: Model, row: readonly number[], repeats: number): number[][] {
  const { n_layers } = model.config;
  const names = Array.from({ length: n_layers }, (_, l) =>
    (["attn.hook_q", "attn.hook_k"] as const).map((name) => blockHook(l, name)),
  );
  const result = forward(model, { tokens: [[...row]], logitsAt: "none" }, { names: names.flat() });
  try {
    const scores = names.map(([q, k], layer) =>
      tf.tidy(() => {
        const { qNorm, kNorm } = model.weights.blocks[layer]!;
        const mean = (name: string, norm: Tensor | undefined): Tensor =>
          tf.mean(normaliseHeads(tf.squeeze(result.activations.get(name)!, [0]), norm, model.config), 0); // [heads, d_head]
        const reach = meanReach(model, layer, { query: mean(q!, qNorm), key: mean(k!, kNorm), repeats });
        return [...reach.dataSync()];
      }),
    );
    if (!scores.every(allFinite)) throw notFinite(model, "mean queries and keys", [[...row]]);
    return scores;
  } finally {
    result.dispose();
  }
}

/** A head's mean query and key, and the positions that they are put at. */
interface MeanVectors {
  /** [heads, d_head] */
  query: Tensor;
  /** [KV heads, d_head] */
  key: Tensor;
  repeats: number;
}

/** Mean of the running sums of the last query's attention, mean over each group. @returns [KV heads] */
function meanReach(model: Model, layer: number, { query, key, repeats }: MeanVectors): Tensor {
  const { config } = model;
  const { n_heads: H, n_key_value_heads: G, d_head: D, attn_scale, attn_scores_soft_cap } = config;
  const local = localWindow(config, layer) !== undefined;
  const tables = model.rotaryUpTo(repeats, local)!;
  const from = (first: number, count: number): Rotation => {
    const part = (t: Tensor): Tensor => tf.expandDims(tf.slice(t, first, count), 1);
    return { cos: part(tables.cos), sin: part(tables.sin) };
  };
  const last = rotate(tf.reshape(query, [1, H, D]), from(repeats - 1, 1), config);
  const keys = rotate(tf.tile(tf.reshape(key, [1, G, D]), [repeats, 1, 1]), from(0, repeats), config); // [repeats, KV heads, D]
  const products = tf.matMul(tf.reshape(last, [G, H / G, D]), tf.transpose(keys, [1, 2, 0])); // [KV heads, group, repeats]
  const attention = tf.softmax(softCap(tf.mul(products, attn_scale), attn_scores_soft_cap));
  // A key at position j is in the running sums of j and all behind it.
  const shares = tf.div(tf.range(repeats, 0, -1), repeats);
  return tf.mean(tf.sum(tf.mul(attention, shares), -1), -1);
}
