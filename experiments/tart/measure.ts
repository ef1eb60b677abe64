import { z } from "zod";
import { evenBatches } from "../../backend/circuits/batches.ts";
import { streamLogits } from "../../backend/circuits/loss.ts";
import { Random } from "../../backend/common/random.ts";
import { KvCache } from "../../backend/models/cache/kv-cache.ts";
import { forward } from "../../backend/models/forward/forward.ts";
import type { Model } from "../../backend/models/model.ts";
import { normalise } from "../../backend/models/transformer/block.ts";
import { UNHOOKED } from "../../backend/models/transformer/hook.ts";
import { gatherRows } from "../../backend/runtime/ops.ts";
import { tf } from "../../backend/runtime/tf.ts";
import { loopTurn, type Turn } from "../../backend/runtime/turn.ts";
import {
  type LabelledText,
  type LabelledTexts,
  labelTokens,
  promptTokens,
} from "../../synthetic-tasks/demonstrations/index.ts";
import type { MeasurementMeans } from "../base.ts";
import { drawTexts } from "./texts.ts";

/** Prompts in which a text is embedded: it alone, or behind all the shots but itself, as the paper does. */
export const EMBEDDINGS = ["alone", "leave-one-out"] as const;

/** Schema of what is measured of one task and one seed. */
export const taskValues = z.object({
  /** Labels of the shots, and of the queries. */
  shots: z.array(z.int()),
  queries: z.array(z.int()),
  /** By number of shots. */
  byShots: z.array(
    z.object({
      /** Inner products of the embeddings of the shots and, behind them, the queries [items][items]. */
      products: z.array(z.array(z.number())),
      /** Of each query, the logit of the second label less that of the first, behind the shots. */
      margins: z.array(z.number()),
    }),
  ),
});
/** All that is measured of one task and one seed. */
export type TaskValues = z.output<typeof taskValues>;

/** The sizes of a measurement. */
export interface TaskSettings {
  readonly seed: number;
  /** Numbers of shots, ascending, all even. */
  readonly shots: readonly number[];
  /** Number of queries, even. */
  readonly prompts: number;
  readonly embedding: (typeof EMBEDDINGS)[number];
}

/** Runs the shots and queries of a task through a model: its answers in context, and its embeddings of the texts. */
export async function measureTask(
  model: Model,
  texts: LabelledTexts,
  { seed, shots: counts, prompts, embedding }: TaskSettings,
  { progress, signal }: MeasurementMeans,
): Promise<TaskValues> {
  const { shots, queries } = drawTexts(texts, { shots: counts.at(-1)!, queries: prompts }, new Random(seed));
  const read = { texts, turn: loopTurn(signal) };
  const alone = embedding === "alone" ? (await readTexts(model, [], [...shots, ...queries], read)).embeddings : [];
  const byShots: TaskValues["byShots"] = [];
  for (const [c, count] of counts.entries()) {
    progress(c, counts.length);
    const shown = shots.slice(0, count);
    const { embeddings, margins } = await readTexts(model, shown, queries, read);
    const own: Float32Array[] = [];
    if (embedding === "alone") own.push(...alone.slice(0, count), ...alone.slice(shots.length));
    else {
      for (const shot of shown) {
        const others = shown.filter((other) => other !== shot);
        own.push(...(await readTexts(model, others, [shot], read)).embeddings);
      }
      own.push(...embeddings);
    }
    byShots.push({ products: own.map((a) => own.map((b) => dot(a, b))), margins });
  }
  return { shots: shots.map(({ label }) => label), queries: queries.map(({ label }) => label), byShots };
}

/** Readings of texts behind demonstrations. */
interface Readings {
  /** By text, the mean over its tokens of the stream behind the final norm [d_model]. */
  readonly embeddings: Float32Array[];
  /** By text, the logit of the second label less that of the first as the next token. */
  readonly margins: number[];
}

/** Reads texts, each behind the same demonstrations, which are read once. */
async function readTexts(
  model: Model,
  demonstrations: readonly LabelledText[],
  queries: readonly LabelledText[],
  { texts, turn }: { texts: LabelledTexts; turn: Turn },
): Promise<Readings> {
  const prompts = queries.map((query) => promptTokens(model, texts, { demonstrations, query }));
  const start = prompts[0]!.texts.at(-1)![0];
  const rows = prompts.map(({ tokens }) => tokens.slice(start));
  const labels = labelTokens(model, texts);
  const shared = start > 0 ? new KvCache(model.config) : undefined;
  const readings: Readings = { embeddings: [], margins: [] };
  try {
    if (shared)
      forward(model, { tokens: [prompts[0]!.tokens.slice(0, start)], cache: shared, logitsAt: "none" }).dispose();
    for (const { first, count } of evenBatches(rows.length, Math.max(...rows.map(({ length }) => length)))) {
      await turn();
      const part = rows.slice(first, first + count);
      const cache = shared && KvCache.join(part.map(() => shared.fork()));
      try {
        const { embeddings, margins } = readRows(model, part, labels, cache);
        readings.embeddings.push(...embeddings);
        readings.margins.push(...margins);
      } finally {
        cache?.dispose();
      }
    }
    return readings;
  } finally {
    shared?.dispose();
  }
}

/** The same of rows of tokens, texts with a colon behind them. */
function readRows(
  model: Model,
  rows: readonly (readonly number[])[],
  labels: readonly number[],
  cache: KvCache | undefined,
): Readings {
  const { config, weights } = model;
  const { resid } = forward(model, { tokens: rows, logitsAt: "none", ...(cache ? { cache } : {}) });
  const [, positions, width] = resid.shape as [number, number, number];
  const [means, logits] = tf.tidy(() => {
    const normed = normalise(resid, weights.lnFinal, "ln_final", { config, hook: UNHOOKED }); // [rows, positions, d_model]
    const shares = rows.map(({ length }) => Array.from({ length: positions }, (_, t) => (t < length - 1 ? 1 / (length - 1) : 0))); // biome-ignore format: one line
    const ends = rows.map(({ length }, r) => r * positions + length - 1);
    const streams = gatherRows(tf.reshape(resid, [-1, width]), tf.tensor1d(ends, "int32"));
    return [
      tf.sum(tf.mul(normed, tf.expandDims(tf.tensor2d(shares), -1)), 1), // [rows, d_model]
      tf.gather(streamLogits(model, streams), [...labels], 1), // [rows, labels]
    ];
  });
  const [embedded, answered] = [means!, logits!].map((tensor) => tensor.dataSync() as Float32Array);
  tf.dispose([resid, means!, logits!]);
  return {
    embeddings: rows.map((_, r) => embedded!.slice(r * width, (r + 1) * width)),
    margins: rows.map((_, r) => answered![r * labels.length + 1]! - answered![r * labels.length]!),
  };
}

function dot(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}
