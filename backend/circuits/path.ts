import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError } from "../errors.ts";
import type { HeadRef } from "../heads/model.ts";
import { formatHead } from "../heads/refs.ts";
import { BATCH_TOKENS } from "../hooks/loss.ts";
import { normalise, UNHOOKED } from "../models/block.ts";
import { blockHook, checkLayer } from "../models/hook-points.ts";
import type { Model } from "../models/model.ts";
import { forwardInTurns } from "../models/turns.ts";
import { parameter } from "../models/weights.ts";
import { gatherRows } from "../runtime/ops.ts";
import { tf } from "../runtime/tf.ts";
import { loopTurn, type Turn } from "../runtime/turn.ts";
import { logitDifference, meanResult, type Pair, type PatchResult, type TokenPair, tokenPairs } from "./patch.ts";

/** Inputs of a head that a path can end in. */
export const PATH_ENDS = ["q", "k", "v"] as const;
export type PathEnd = (typeof PATH_ENDS)[number];

export interface PathOptions {
  pairs: readonly Pair[];
  /** Receivers, all of one layer. */
  into: readonly HeadRef[];
  /** Which of their inputs. */
  through: PathEnd;
  prependBos?: boolean;
  progress?: (done: number, total: number, label: string) => void;
  signal?: AbortSignal;
  /** Lets others in between the senders and stretches of a long run. */
  turn?: Turn;
}

/**
 * Path patching: the corrupt prompt, with one earlier head's output as in the clean prompt, but only in what the receivers
 * compute their queries, keys or values from. It shows which heads compose with them, and how.
 * @returns metrics; `patched` by sender [layers before the receivers'][heads]
 * @throws HeadscopeError for receivers of the first layer or of several layers, and as `patch` does
 * @see Wang et al. 2023, Interpretability in the Wild, path patching; Elhage et al. 2021 for Q-, K- and V-composition
 */
export async function patchPaths(model: Model, options: PathOptions): Promise<PatchResult> {
  const { into, through, progress, signal, turn } = options;
  const layer = receiverLayer(model, into);
  const pairs = tokenPairs(model, options.pairs, options);
  const results: PatchResult[] = [];
  const senders = layer * model.config.n_heads;
  for (const pair of pairs) {
    const told = (done: number) =>
      progress?.(results.length * senders + done, pairs.length * senders, "path patching, senders");
    results.push(await patchPair(model, pair, layer, { into, through, signal, turn, told }));
  }
  return meanResult(results);
}

function receiverLayer({ config }: Model, into: readonly HeadRef[]): number {
  const [first, ...others] = into;
  if (!first) throw new HeadscopeError("usage", "no head is named to receive", { remedy: "give at least one" });
  const odd = others.find(({ layer }) => layer !== first.layer);
  if (odd)
    throw new HeadscopeError("usage", `${formatHead(first)} and ${formatHead(odd)} are in different layers`, {
      remedy: "give receivers of one layer",
    });
  if (first.layer === 0)
    throw new HeadscopeError("usage", `${formatHead(first)} is in the first layer: no head comes before it`, {
      remedy: "give heads of a later layer",
    });
  checkLayer(config, first.layer);
  return first.layer;
}

interface Receivers {
  readonly into: readonly HeadRef[];
  readonly through: PathEnd;
  readonly signal: AbortSignal | undefined;
  readonly turn: Turn | undefined;
  /** Called with the senders done. */
  told(done: number): void;
}

/** One pair's table; the senders are rows of batches that start from the corrupt run's residual before the receivers. */
async function patchPair(model: Model, pair: TokenPair, layer: number, receivers: Receivers): Promise<PatchResult> {
  const { told, signal, turn } = receivers;
  const { n_heads: H } = model.config;
  const senders = layer * H;
  const onLayer = () => signal?.throwIfAborted();
  const clean = await run(model, pair, pair.clean, layer, { onLayer, turn });
  let corrupt: Run | undefined;
  try {
    corrupt = await run(model, pair, pair.corrupt, layer, { onLayer, turn });
    const batches = Math.ceil(senders / Math.max(1, Math.floor(BATCH_TOKENS / pair.clean.length)));
    // As even as they go; the last is filled up, so that all run the same functions.
    const size = Math.ceil(senders / batches);
    const values: number[] = [];
    for (let first = 0; first < senders; first += size) {
      const rows = Array.from({ length: size }, (_, i) => Math.min(first + i, senders - 1));
      values.push(...(await patchSenders(model, pair, layer, rows, { clean, corrupt }, receivers)));
      told(Math.min(first + size, senders));
      await (turn ?? loopTurn(signal))();
    }
    return {
      clean: clean.metric,
      corrupt: corrupt.metric,
      patched: Array.from({ length: layer }, (_, l) => values.slice(l * H, (l + 1) * H)),
    };
  } finally {
    clean.dispose();
    corrupt?.dispose();
  }
}

/** The metric with each of some senders patched. @param senders layer * heads + head, ascending */
async function patchSenders(
  model: Model,
  pair: TokenPair,
  layer: number,
  senders: readonly number[],
  { clean, corrupt }: Record<"clean" | "corrupt", Run>,
  { into, through, signal, turn }: Receivers,
): Promise<number[]> {
  const { n_heads: H, n_key_value_heads: G, d_model } = model.config;
  const positions = pair.clean.length;
  const given = tf.tidy(() => {
    const lowest = Math.floor(senders[0]! / H);
    const highest = Math.floor(senders.at(-1)! / H);
    // What each sender of these layers writes differently in the clean prompt [heads, positions, d_model].
    const changes = Array.from({ length: highest - lowest + 1 }, (_, i) => {
      const l = lowest + i;
      return changesOf(model, l, clean.z[l]!, corrupt.z[l]!);
    });
    const table = tf.reshape(tf.concat(changes, 0), [-1, positions * d_model]);
    const index = tf.tensor1d(
      senders.map((sender) => sender - lowest * H),
      "int32",
    );
    const change = tf.reshape(gatherRows(table, index), [senders.length, positions, 1, d_model]);
    const heads = through === "q" ? H : G;
    const received = new Set(into.map(({ head }) => (through === "q" ? head : Math.floor((head * G) / H))));
    const mask = tf.tensor4d(
      Array.from({ length: heads }, (_, h) => Number(received.has(h))),
      [1, 1, heads, 1],
    );
    const affine = { gain: tf.scalar(1), bias: tf.mul(change, mask) };
    return { affine, resid: tf.tile(corrupt.resid, [senders.length, 1, 1]) };
  });
  try {
    const input = { resid: given.resid, startLayer: layer, logitsAt: "last" } as const;
    const interventions = new Map([[blockHook(layer, `hook_${through}_input`), given.affine]]);
    const onLayer = () => signal?.throwIfAborted();
    const result = await forwardInTurns(model, input, { interventions, onLayer }, turn);
    const values = logitDifference(result.logits!, pair);
    result.dispose();
    return values;
  } finally {
    tf.dispose([given.resid, given.affine.gain, given.affine.bias]);
  }
}

/**
 * What the stream gets more of when one head of a layer has its clean output [heads, positions, d_model]. Where a norm
 * stands behind attention the heads share it: then the change is that of the normalised sum.
 * @param clean head outputs [1, positions, heads, d_head] @param corrupt alike
 */
function changesOf(model: Model, layer: number, clean: Tensor, corrupt: Tensor): Tensor {
  const W = parameter(model, `blocks.${layer}.attn.W_O`);
  const byHead = (z: Tensor): Tensor => tf.transpose(tf.squeeze(z, [0]), [1, 0, 2]);
  const written = tf.matMul(byHead(tf.sub(clean, corrupt)), W);
  const { ln1Post } = model.weights.blocks[layer]!;
  if (!ln1Post) return written;
  const sum = tf.add(tf.sum(tf.matMul(byHead(corrupt), W), 0, true), parameter(model, `blocks.${layer}.attn.b_O`));
  const after = (x: Tensor): Tensor => normalise(x, ln1Post, "ln1_post", model.config, UNHOOKED);
  return tf.sub(after(tf.add(sum, written)), after(sum));
}

type Run = Awaited<ReturnType<typeof run>>;

/** A prompt's metric, the head outputs z [1, positions, heads, d_head] of the layers before one, and the stream before it. */
async function run(
  model: Model,
  pair: TokenPair,
  tokens: number[],
  layer: number,
  { onLayer, turn }: { onLayer: () => void; turn: Turn | undefined },
) {
  const names = Array.from({ length: layer }, (_, l) => blockHook(l, "attn.hook_z"));
  const before = blockHook(layer, "hook_resid_pre");
  const input = { tokens: [tokens], logitsAt: "last" } as const;
  const result = await forwardInTurns(model, input, { names: [...names, before], onLayer }, turn);
  return {
    metric: logitDifference(result.logits!, pair)[0]!,
    z: names.map((name) => result.activations.get(name) as Tensor),
    resid: result.activations.get(before) as Tensor,
    dispose: result.dispose,
  };
}
