import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError } from "../../common/errors.ts";
import { formatHead, formatKvHead, type Head } from "../../common/heads/head.ts";
import { ANYTHING, checkOptions, FUNCTION, oneOf, type Rules, YES_OR_NO } from "../../common/options.ts";
import { PATH_ENDS, PATH_FORMS, type PathEnd, type PathForm } from "../../common/patching.ts";
import { notFinite } from "../../hooks/finite.ts";
import { replaceWhere } from "../../hooks/intervention-kinds.ts";
import { forward } from "../../models/forward/forward.ts";
import { forwardInTurns } from "../../models/forward/turns.ts";
import type { Model } from "../../models/model.ts";
import { normalise } from "../../models/transformer/block.ts";
import { UNHOOKED } from "../../models/transformer/hook.ts";
import { blockHook, checkLayer } from "../../models/transformer/hook-points.ts";
import { parameter } from "../../models/weights/parameters.ts";
import { gatherRows } from "../../runtime/ops.ts";
import { tf } from "../../runtime/tf.ts";
import { loopTurn, type Turn } from "../../runtime/turn.ts";
import { evenBatches } from "../batches.ts";
import { logitDifference } from "../loss.ts";
import { type Pair, type TokenPair, tokenPairs } from "../pairs.ts";
import { meanResult, notesOf, type PatchResult } from "./patch.ts";

export interface PathOptions {
  pairs: readonly Pair[];
  /** Receivers, all of one layer. */
  into: readonly Head[];
  /** The one of their inputs. Keys and values belong to KV heads: with a receiver move all heads that read the same one. */
  through: PathEnd;
  /** Default direct. */
  form?: PathForm;
  /** For texts: whether BOS comes first. Default: as the tokenizer does. */
  prependBos?: boolean;
  progress?: (done: number, total: number, label: string) => void;
  signal?: AbortSignal;
  /** Lets others in between the senders and stretches of a long run. */
  turn?: Turn;
}

const OPTIONS: Rules<PathOptions> = {
  pairs: ANYTHING,
  into: { wants: "a list of heads {layer, head}", fits: Array.isArray },
  through: oneOf(PATH_ENDS),
  form: oneOf(PATH_FORMS),
  prependBos: YES_OR_NO,
  progress: FUNCTION,
  signal: ANYTHING,
  turn: FUNCTION,
};

/** A table of senders, and what it is a table of. */
export interface PathResult extends PatchResult {
  form: PathForm;
  through: PathEnd;
  /** The heads that are given other inputs: query heads as "1.2", through k and v KV heads as "KV 1.1". */
  receivers: string[];
}

/**
 * Path patching: the corrupt prompt, with one earlier head's output as in the clean prompt, but only in what the receivers
 * compute their queries, keys or values from. It shows which heads compose with them, and how.
 * @returns metrics; `patched` by sender [layers before the receivers'][heads]
 * @throws HeadscopeError for receivers of the first layer or of several layers or that do not exist, and as `patch` does
 * @see Wang et al. 2023, Interpretability in the Wild, path patching (form mlps); Elhage et al. 2021 for Q-, K- and V-composition
 */
export async function patchPaths(model: Model, options: PathOptions): Promise<PathResult> {
  checkOptions("patchPaths", options, OPTIONS, ["pairs", "into", "through"]);
  const { into, through, form = "direct", progress, signal, turn } = options;
  const layer = receiverLayer(model, into);
  const heads = receiverHeads(model, into, through);
  const pairs = tokenPairs(model, options.pairs, options.prependBos === undefined ? {} : options);
  const results: PatchResult[] = [];
  const senders = layer * model.config.n_heads;
  for (const [p, pair] of pairs.entries()) {
    const onSenders = (done: number): void =>
      progress?.(p * senders + done, pairs.length * senders, "path patching, senders");
    const table = await patchPair(model, pair, { layer, heads, through, form, signal, turn, onSenders });
    results.push({ ...table, ...notesOf(table.clean, table.corrupt, pairs.length > 1 ? p : undefined) });
  }
  const format = through === "q" ? formatHead : formatKvHead;
  return { ...meanResult(results), form, through, receivers: heads.map((head) => format({ layer, head })) };
}

/** The heads whose inputs change: query heads, or the KV heads that they read. */
function receiverHeads({ config }: Model, into: readonly Head[], through: PathEnd): number[] {
  const { n_heads: H, n_key_value_heads: G } = config;
  return [...new Set(into.map(({ head }) => (through === "q" ? head : Math.floor((head * G) / H))))];
}

function receiverLayer({ config }: Model, into: readonly Head[]): number {
  const [first, ...others] = into;
  if (!first) throw new HeadscopeError("usage", "no head is named to receive", { remedy: "give at least one" });
  const unknown = into.find(({ head }) => !(Number.isInteger(head) && head >= 0 && head < config.n_heads));
  if (unknown)
    throw new HeadscopeError("usage", `there is no head ${formatHead(unknown)}`, {
      remedy: `heads are 0 to ${config.n_heads - 1}`,
    });
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

/** Heads of one layer that read what senders write, and the way of the work. */
interface Receivers {
  readonly layer: number;
  /** Query heads, through k and v KV heads. */
  readonly heads: readonly number[];
  readonly through: PathEnd;
  readonly form: PathForm;
  readonly signal: AbortSignal | undefined;
  readonly turn: Turn | undefined;
  /** Called with the number of senders done. */
  onSenders(done: number): void;
}

/** A prompt's run. */
interface Run {
  readonly metric: number;
  /** Head outputs [1, positions, heads, d_head] of the layers before the receivers'. */
  readonly z: readonly Tensor[];
  /** Streams [1, positions, d_model] before each of these layers and before the receivers'. */
  readonly streams: readonly Tensor[];
  dispose(): void;
}

/** One pair's runs, from which its senders are patched. */
interface PairRuns {
  readonly model: Model;
  readonly pair: TokenPair;
  readonly receivers: Receivers;
  readonly clean: Run;
  readonly corrupt: Run;
}

/** One pair's table; the senders are rows of batches that start from the corrupt run's residual before the receivers. */
async function patchPair(model: Model, pair: TokenPair, receivers: Receivers): Promise<PatchResult> {
  const { layer, form, signal, turn } = receivers;
  const { n_heads: H } = model.config;
  const between = turn ?? loopTurn(signal);
  const clean = await run(model, pair, "clean", receivers);
  let corrupt: Run | undefined;
  try {
    corrupt = await run(model, pair, "corrupt", receivers);
    const runs = { model, pair, receivers, clean, corrupt };
    const values: number[] = [];
    // Batches of equal size, the last filled up, so that all run the same functions; where MLPs run again, of one layer each.
    const groups = form === "direct" ? [layer * H] : new Array<number>(layer).fill(H);
    for (const [group, senders] of groups.entries()) {
      for (const { first, count, size } of evenBatches(senders, pair.clean.length)) {
        const rows = Array.from({ length: size }, (_, i) => group * H + Math.min(first + i, senders - 1));
        values.push(...(await patchSenders(runs, rows)).slice(0, count));
        receivers.onSenders(values.length);
        await between();
      }
    }
    const patched = Array.from({ length: layer }, (_, l) => values.slice(l * H, (l + 1) * H));
    return { clean: clean.metric, corrupt: corrupt.metric, patched };
  } finally {
    clean.dispose();
    corrupt?.dispose();
  }
}

/** The metric with each of some senders patched. @param senders layer * heads + head, ascending; form mlps: of one layer */
async function patchSenders(runs: PairRuns, senders: readonly number[]): Promise<number[]> {
  const { model, pair, receivers, corrupt } = runs;
  const { layer, heads, through, form, signal, turn } = receivers;
  const count = through === "q" ? model.config.n_heads : model.config.n_key_value_heads;
  const { gain, bias, resid } = tf.tidy(() => {
    const change = (form === "direct" ? directChange : changeThroughMlps)(runs, senders);
    const mask = tf.tensor4d(
      Array.from({ length: count }, (_, h) => Number(heads.includes(h))),
      [1, 1, count, 1],
    );
    const bias = tf.mul(tf.expandDims(change, 2), mask); // [senders, positions, heads, d_model]
    return { gain: tf.scalar(1), bias, resid: tf.tile(corrupt.streams[layer]!, [senders.length, 1, 1]) };
  });
  try {
    const input = { resid, startLayer: layer, logitsAt: "last" } as const;
    const interventions = new Map([[blockHook(layer, `hook_${through}_input`), { gain, bias }]]);
    const onLayer = () => signal?.throwIfAborted();
    const result = await forwardInTurns(model, input, { interventions, onLayer }, turn);
    const values = logitDifference(result.logits!, pair);
    result.dispose();
    return values;
  } finally {
    tf.dispose([gain, bias, resid]);
  }
}

/** The difference between what senders write in the clean prompt and in the corrupt one [senders, positions, d_model]. */
function directChange(runs: PairRuns, senders: readonly number[]): Tensor {
  const { n_heads: H, d_model } = runs.model.config;
  const [lowest, highest] = [Math.floor(senders[0]! / H), Math.floor(senders.at(-1)! / H)];
  const changes = Array.from({ length: highest - lowest + 1 }, (_, i) => changesOf(runs, lowest + i));
  const positions = changes[0]!.shape[1]!;
  const table = tf.reshape(tf.concat(changes, 0), [-1, positions * d_model]);
  const index = tf.tensor1d(
    senders.map((sender) => sender - lowest * H),
    "int32",
  );
  return tf.reshape(gatherRows(table, index), [senders.length, positions, d_model]);
}

/**
 * The change of the stream before the receivers when a head of one layer has its clean output, all other heads their corrupt one,
 * and the MLPs from that layer on are computed again [senders, positions, d_model].
 */
function changeThroughMlps({ model, receivers, clean, corrupt }: PairRuns, senders: readonly number[]): Tensor {
  const { layer, signal } = receivers;
  const { n_heads: H } = model.config;
  const lowest = Math.floor(senders[0]! / H);
  const own = new Float32Array(senders.length * H);
  senders.forEach((sender, i) => {
    own[i * H + (sender % H)] = 1;
  });
  const ownHead = tf.tensor(own, [senders.length, 1, H, 1]);
  const ones = tf.ones([1, 1, 1, 1]);
  const interventions = new Map(
    Array.from({ length: layer - lowest }, (_, i) => {
      const z = corrupt.z[lowest + i]!;
      const held = i === 0 ? tf.add(z, tf.mul(ownHead, tf.sub(clean.z[lowest]!, z))) : z;
      return [blockHook(lowest + i, "attn.hook_z"), replaceWhere(ones, held)];
    }),
  );
  const { resid } = forward(
    model,
    { resid: tf.tile(corrupt.streams[lowest]!, [senders.length, 1, 1]), startLayer: lowest, stopLayer: layer },
    { interventions, onLayer: () => signal?.throwIfAborted() },
  );
  return tf.sub(resid, corrupt.streams[layer]!);
}

/**
 * The change of the stream when one head of a layer has its clean output [heads, positions, d_model]. Where a norm stands behind
 * attention the heads share it: then the change is that of the normalised sum.
 */
function changesOf({ model, clean, corrupt }: PairRuns, layer: number): Tensor {
  const W = parameter(model, `blocks.${layer}.attn.W_O`);
  const byHead = (z: Tensor): Tensor => tf.transpose(tf.squeeze(z, [0]), [1, 0, 2]);
  const z = corrupt.z[layer]!;
  const written = tf.matMul(byHead(tf.sub(clean.z[layer]!, z)), W);
  const { ln1Post } = model.weights.blocks[layer]!;
  if (!ln1Post) return written;
  const sum = tf.add(tf.sum(tf.matMul(byHead(z), W), 0, true), parameter(model, `blocks.${layer}.attn.b_O`));
  const after = (x: Tensor): Tensor => normalise(x, ln1Post, "ln1_post", { config: model.config, hook: UNHOOKED });
  return tf.sub(after(tf.add(sum, written)), after(sum));
}

/** One side of a pair, unpatched. */
async function run(
  model: Model,
  pair: TokenPair,
  side: "clean" | "corrupt",
  { layer, signal, turn }: Receivers,
): Promise<Run> {
  const before = Array.from({ length: layer + 1 }, (_, l) => blockHook(l, "hook_resid_pre"));
  const outputs = Array.from({ length: layer }, (_, l) => blockHook(l, "attn.hook_z"));
  const input = { tokens: [pair[side]], logitsAt: "last" } as const;
  const options = { names: [...outputs, ...before], onLayer: () => signal?.throwIfAborted() };
  const { logits, activations, dispose } = await forwardInTurns(model, input, options, turn);
  const metric = logitDifference(logits!, pair)[0]!;
  if (!Number.isFinite(metric)) {
    dispose();
    throw notFinite(model, "the logits", [pair[side]]);
  }
  const read = (names: string[]): Tensor[] => names.map((name) => activations.get(name)!);
  return { metric, z: read(outputs), streams: read(before), dispose };
}
