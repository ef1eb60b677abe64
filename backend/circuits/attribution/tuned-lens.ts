import type { Tensor, Tensor2D } from "@tensorflow/tfjs";
import { HeadscopeError } from "../../common/errors.ts";
import { ANYTHING, checkOptions, FUNCTION, type Rules, real, whole } from "../../common/options.ts";
import { forward } from "../../models/forward/forward.ts";
import type { Model } from "../../models/model.ts";
import { checkRows } from "../../models/tokens.ts";
import { blockHook } from "../../models/transformer/hook-points.ts";
import { tf } from "../../runtime/tf.ts";
import { loopTurn, type Turn } from "../../runtime/turn.ts";
import { evenBatches } from "../batches.ts";
import { streamLogits } from "../loss.ts";

export interface TunedLensOptions {
  /** Rows of token ids of the text that the maps are fitted on. */
  tokens: readonly (readonly number[])[];
  /** Weight of the penalty on how far a map is from the identity, in units of a feature's variance. Default 0.1. */
  ridge?: number | undefined;
  /** Tokens that are held out of the fit, to judge it. Default 64, at most a fifth. */
  heldOut?: number | undefined;
  progress?: (done: number, total: number, label: string) => void;
  signal?: AbortSignal | undefined;
  /** Lets others in between layers. */
  turn?: Turn | undefined;
}

const OPTIONS: Rules<TunedLensOptions> = {
  tokens: { wants: "rows of token ids", fits: Array.isArray },
  ridge: real(0),
  heldOut: whole(1),
  progress: FUNCTION,
  signal: ANYTHING,
  turn: FUNCTION,
};

/** The distance of what a lens reads from what the model says, on tokens that were held out: mean KL in nats. */
export interface LensQuality {
  /** Hook name. */
  at: string;
  /** Of the stream as it is. */
  logit: number;
  /** Of the stream through its map. */
  tuned: number;
}

/** An affine map a layer from its stream to the one behind the last layer. */
export interface TunedLens {
  /** Tokens that the maps were fitted on. */
  readonly fitted: number;
  readonly heldOut: number;
  readonly quality: readonly LensQuality[];
  /** @param stream before a layer [n, d_model] @returns as behind the last layer [n, d_model], a new tensor */
  apply(layer: number, stream: Tensor): Tensor;
  dispose(): void;
}

/** An affine map x + (x - mean) · change + shift. */
interface LayerMap {
  /** [1, d_model] */
  readonly mean: Tensor;
  readonly shift: Tensor;
  /** [d_model, d_model] */
  readonly change: Tensor;
}

/** Fewest tokens that maps are fitted on. */
const FEWEST = 32;
/** Steps in which the maps are solved for; their residual is then below rounding. */
const STEPS = 60;

/**
 * Fits an affine map a layer on a text, by least squares from the stream before the layer to the one behind the last layer, shrunk
 * towards the identity (the logit lens). First positions of rows are left out: their streams are those of attention sinks.
 * @throws HeadscopeError for rows that do not fit the model, or too few tokens
 * @see Belrose et al. 2023, Eliciting Latent Predictions from Transformers with the Tuned Lens, who minimise KL instead; Din et al. 2023,
 * Jump to Conclusions, for least squares
 */
export async function tuneLens(model: Model, options: TunedLensOptions): Promise<TunedLens> {
  checkOptions("tuneLens", options, OPTIONS, ["tokens"]);
  const { tokens, ridge = 0.1, heldOut: most = 64, progress, signal, turn = loopTurn(signal) } = options;
  checkRows(tokens, "the text", { config: model.config, least: 2 });
  const { n_layers } = model.config;
  const count = tokens.reduce((sum, row) => sum + row.length - 1, 0);
  if (count < FEWEST)
    throw new HeadscopeError("input", `the text has ${count} tokens behind the first of its rows`, {
      remedy: `give at least ${FEWEST}, better some thousands`,
    });
  const heldOut = Math.min(most, Math.floor(count / 5));
  const streams = await streamsOf(model, tokens, turn);
  const maps: LayerMap[] = [];
  let said: Tensor | undefined;
  try {
    // Spread evenly, so that they are of all of the text.
    const held = Array.from({ length: heldOut }, (_, i) => Math.floor(((i + 0.5) * count) / heldOut));
    const kept = Array.from({ length: count }, (_, i) => i).filter((i) => !held.includes(i));
    const pick = (layer: number, rows: readonly number[]): Tensor =>
      tf.gather(streams[layer]!, tf.tensor1d([...rows], "int32"));
    const quality: LensQuality[] = [];
    said = tf.tidy(() => tf.logSoftmax(streamLogits(model, pick(n_layers, held))));
    for (let layer = 0; layer < n_layers; layer++) {
      const map = tf.tidy(() => fitMap(pick(layer, kept), pick(n_layers, kept), ridge));
      maps.push(map);
      const [logit, tuned] = tf.tidy(() => {
        const own = pick(layer, held);
        return [own, mapped(own, map)].map((x) => distance(said!, tf.logSoftmax(streamLogits(model, x))));
      });
      const values = [logit!, tuned!].map((t) => t.dataSync()[0]!);
      tf.dispose([logit!, tuned!]);
      quality.push({ at: blockHook(layer, "hook_resid_pre"), logit: values[0]!, tuned: values[1]! });
      progress?.(layer + 1, n_layers, "tuned lens, layers");
      await turn();
    }
    return {
      fitted: kept.length,
      heldOut,
      quality,
      apply: (layer, stream) => tf.tidy(() => mapped(stream, maps[layer]!)),
      dispose: () => disposeMaps(maps),
    };
  } catch (error) {
    disposeMaps(maps);
    throw error;
  } finally {
    tf.dispose([...streams, ...(said ? [said] : [])]);
  }
}

function disposeMaps(maps: readonly LayerMap[]): void {
  for (const { mean, shift, change } of maps) tf.dispose([mean, shift, change]);
}

function mapped(x: Tensor, { mean, shift, change }: LayerMap): Tensor {
  return tf.add(tf.add(x, shift), tf.matMul(tf.sub(x, mean) as Tensor2D, change as Tensor2D));
}

/** Streams before every layer and behind the last, of all positions but the first of each row [tokens, d_model]. */
async function streamsOf(model: Model, tokens: readonly (readonly number[])[], turn: Turn): Promise<Tensor[]> {
  const { n_layers } = model.config;
  const names = Array.from({ length: n_layers }, (_, layer) => blockHook(layer, "hook_resid_pre"));
  const parts: Tensor[][] = Array.from({ length: n_layers + 1 }, () => []);
  try {
    const longest = Math.max(...tokens.map((row) => row.length));
    for (const { first, count } of evenBatches(tokens.length, longest)) {
      const rows = tokens.slice(first, first + count);
      const run = forward(model, { tokens: rows, logitsAt: "none" }, { names });
      const all = [...names.map((name) => run.activations.get(name)!), run.resid];
      for (const [layer, stream] of all.entries())
        for (const [r, row] of rows.entries())
          parts[layer]!.push(tf.tidy(() => tf.squeeze(tf.slice(stream, [r, 1], [1, row.length - 1]), [0])));
      run.dispose();
      await turn();
    }
    return parts.map((own) => tf.concat(own));
  } finally {
    tf.dispose(parts.flat());
  }
}

/** The map that takes x to y with the least squares, its change penalised in units of x's deviations. */
function fitMap(x: Tensor, y: Tensor, ridge: number): { mean: Tensor; shift: Tensor; change: Tensor } {
  const [n] = x.shape as [number];
  const missing = tf.sub(y, x);
  const [mean, shift] = [tf.mean(x, 0, true), tf.mean(missing, 0, true)];
  const centred = tf.sub(x, mean);
  const deviation = tf.sqrt(tf.add(tf.mean(tf.square(centred), 0, true), 1e-12)); // [1, d_model]
  const features = tf.div(centred, deviation) as Tensor2D;
  const width = features.shape[1];
  const gram = tf.add(tf.div(tf.matMul(features, features, true), n), tf.mul(tf.eye(width), Math.max(ridge, 1e-4)));
  const wanted = tf.div(tf.matMul(features, tf.sub(missing, shift) as Tensor2D, true), n);
  const solution = solve(gram as Tensor2D, wanted as Tensor2D);
  return { mean, shift, change: tf.div(solution, tf.transpose(deviation)) };
}

/** Solves A X = B for a positive definite A, every column by conjugate gradients. */
function solve(a: Tensor2D, b: Tensor2D): Tensor {
  const product = (x: Tensor, y: Tensor): Tensor => tf.sum(tf.mul(x, y), 0, true);
  let state = [tf.zerosLike(b), b, b] as Tensor[]; // solution, residual, direction
  for (let step = 0; step < STEPS; step++) {
    state = tf.tidy(() => {
      const [x, r, p] = state as [Tensor, Tensor, Tensor];
      const ap = tf.matMul(a, p as Tensor2D);
      const squares = product(r, r);
      const alpha = tf.div(squares, tf.add(product(p, ap), 1e-30));
      const next = tf.sub(r, tf.mul(alpha, ap));
      const beta = tf.div(product(next, next), tf.add(squares, 1e-30));
      return [tf.add(x, tf.mul(alpha, p)), next, tf.add(next, tf.mul(beta, p))];
    });
  }
  return state[0]!;
}

/** Mean KL from what the model says to what a lens reads. @param said, read log-probabilities [n, d_vocab] */
function distance(said: Tensor, read: Tensor): Tensor {
  return tf.mean(tf.sum(tf.mul(tf.exp(said), tf.sub(said, read)), -1));
}
