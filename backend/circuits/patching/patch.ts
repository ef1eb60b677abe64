import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError } from "../../common/errors.ts";
import { ANYTHING, checkOptions, FUNCTION, listOf, oneOf, type Rules, whole, YES_OR_NO } from "../../common/options.ts";
import { PATCH_METRICS, PATCH_NODES, PATCH_PLACES, type PatchNode, type PatchPlace } from "../../common/patching.ts";
import { notFinite } from "../../hooks/finite.ts";
import { replaceWhere } from "../../hooks/intervention-kinds.ts";
import { forwardInTurns } from "../../models/forward/turns.ts";
import type { Model } from "../../models/model.ts";
import { blockHook, blockHookNames, checkLayer } from "../../models/transformer/hook-points.ts";
import { tf } from "../../runtime/tf.ts";
import { loopTurn, type Turn } from "../../runtime/turn.ts";
import { evenBatches, type Interrupts } from "../batches.ts";
import { logitDifference } from "../loss.ts";
import { doubtOf, type Pair, type TokenPair, tokenPairs } from "../pairs.ts";

/** The nodes that can be patched: their hook point, and the axis of their heads (patterns: before the positions). */
const NODES = {
  z: { hook: "attn.hook_z", heads: "n_heads", headAxis: 2 },
  q: { hook: "attn.hook_q", heads: "n_heads", headAxis: 2 },
  k: { hook: "attn.hook_k", heads: "n_key_value_heads", headAxis: 2 },
  v: { hook: "attn.hook_v", heads: "n_key_value_heads", headAxis: 2 },
  pattern: { hook: "attn.hook_pattern", heads: "n_heads", headAxis: 1 },
  resid_pre: { hook: "hook_resid_pre" },
  resid_mid: { hook: "hook_resid_mid" },
  attn_out: { hook: "hook_attn_out" },
  mlp_out: { hook: "hook_mlp_out" },
} as const satisfies Record<PatchNode, { hook: string; heads?: "n_heads" | "n_key_value_heads"; headAxis?: number }>;

export interface PatchOptions {
  pairs: readonly Pair[];
  node: PatchNode;
  /** head: one head at all positions; position: all heads (or the stream) at one position, of patterns one query; layer: the whole node. */
  by: PatchPlace;
  /** Layers to patch, in the order of the table's rows; default all. */
  layers?: readonly number[];
  /** logit(answer) - logit(wrong) at the last position. */
  metric?: (typeof PATCH_METRICS)[number];
  /** For texts: whether BOS comes first. Default: as the tokenizer does. */
  prependBos?: boolean;
  progress?: (done: number, total: number, label: string) => void;
  signal?: AbortSignal;
  /** Lets others in between the places of a layer and stretches of a long run. */
  turn?: Turn;
}

const OPTIONS: Rules<PatchOptions> = {
  pairs: ANYTHING,
  node: oneOf(PATCH_NODES),
  by: oneOf(PATCH_PLACES),
  layers: listOf(whole(0)),
  metric: oneOf(PATCH_METRICS),
  prependBos: YES_OR_NO,
  progress: FUNCTION,
  signal: ANYTHING,
  turn: FUNCTION,
};

/** Metric values, means over the pairs. */
export interface PatchResult {
  clean: number;
  corrupt: number;
  /** [layers][heads, positions, or 1]; of k and v the KV heads. */
  patched: number[][];
  /** Doubts about the pairs, such as a clean prompt that does not prefer its answer; absent where all is well. */
  notes?: string[];
}

/**
 * Activation patching: runs the corrupt prompt with the clean prompt's activation at one place at a time.
 * All places of a layer are rows of a batch that starts from the corrupt run's residual before that layer.
 * @throws HeadscopeError for options that do not exist or do not fit, pairs that `tokenPairs` refuses, heads asked of a stream,
 * and metrics that are no numbers
 */
export async function patch(model: Model, options: PatchOptions): Promise<PatchResult> {
  checkOptions("patch", options, OPTIONS, ["pairs", "node", "by"]);
  const { node, by, progress, signal, turn } = options;
  const between = turn ?? loopTurn(signal);
  const interrupts: Interrupts = { onLayer: () => signal?.throwIfAborted(), turn };
  const { hook } = checkPlace(model, node, by);
  const pairs = tokenPairs(model, options.pairs, options);
  if (by === "position") {
    const odd = pairs.findIndex(({ clean }) => clean.length !== pairs[0]!.clean.length);
    if (odd > 0) {
      throw new HeadscopeError(
        "input",
        `pair ${odd} has ${pairs[odd]!.clean.length} tokens and pair 0 has ${pairs[0]!.clean.length}`,
        { remedy: "a table by position needs pairs of one length: run each length by itself" },
      );
    }
  }
  const { n_layers } = model.config;
  const layers = options.layers ?? Array.from({ length: n_layers }, (_, l) => l);
  for (const layer of layers) checkLayer(model.config, layer);
  const results: PatchResult[] = [];
  for (const pair of pairs) {
    const base = await run(model, pair, hook, interrupts);
    try {
      const patched: number[][] = [];
      for (const layer of layers) {
        patched.push(await patchLayer(model, pair, base, { layer, node, by, ...interrupts }));
        progress?.(results.length * layers.length + patched.length, pairs.length * layers.length, "patching, layers");
        await between();
      }
      const { clean, corrupt } = base;
      results.push({
        clean,
        corrupt,
        patched,
        ...notesOf(clean, corrupt, pairs.length > 1 ? results.length : undefined),
      });
    } finally {
      tf.dispose([...base.sources, ...base.streams]);
    }
  }
  return meanResult(results);
}

/** The doubt about a pair as a result's notes. @param p its number, where there are several */
export function notesOf(clean: number, corrupt: number, p?: number): { notes?: string[] } {
  const doubt = doubtOf(clean, corrupt);
  return doubt === undefined ? {} : { notes: [p === undefined ? doubt : `pair ${p}: ${doubt}`] };
}

/** Means over the pairs, and the notes of all. @param results tables of one shape */
export function meanResult(results: readonly PatchResult[]): PatchResult {
  const notes = results.flatMap((result) => result.notes ?? []);
  const mean = (value: (result: PatchResult) => number): number =>
    results.reduce((sum, result) => sum + value(result), 0) / results.length;
  return {
    clean: mean((r) => r.clean),
    corrupt: mean((r) => r.corrupt),
    patched: results[0]!.patched.map((row, l) => row.map((_, i) => mean((r) => r.patched[l]![i]!))),
    ...(notes.length > 0 ? { notes } : {}),
  };
}

function checkPlace({ config }: Model, node: PatchNode, by: PatchPlace): (typeof NODES)[PatchNode] {
  const place = NODES[node];
  if (by === "head" && !("heads" in place)) {
    throw new HeadscopeError("usage", `${node} has no heads`, {
      remedy: "patch it by position or layer, or choose z, q, k, v or pattern",
    });
  }
  if (node === "resid_mid" && !blockHookNames(config).includes(place.hook)) {
    throw new HeadscopeError("usage", "attention and MLP of this model work side by side: there is no resid_mid", {
      remedy: "choose resid_pre, attn_out or mlp_out",
    });
  }
  if (node === "mlp_out" && config.attn_only)
    throw new HeadscopeError("usage", "the model has no MLP", { remedy: "choose another node" });
  return place;
}

interface Base {
  clean: number;
  corrupt: number;
  /** The clean run's activation of each layer [1, ...]. */
  sources: Tensor[];
  /** The corrupt run's residual stream before each layer [1, positions, d_model]. */
  streams: Tensor[];
}

/** Both prompts, unpatched. */
async function run(model: Model, pair: TokenPair, hook: string, { onLayer, turn }: Interrupts): Promise<Base> {
  const layers = Array.from({ length: model.config.n_layers }, (_, l) => l);
  const side = async (tokens: number[], name: string) => {
    const names = layers.map((layer) => blockHook(layer, name));
    const input = { tokens: [tokens], logitsAt: "last" } as const;
    const { logits, resid, activations } = await forwardInTurns(model, input, { names, onLayer }, turn);
    const metric = logitDifference(logits!, pair)[0]!;
    tf.dispose([logits!, resid]);
    if (!Number.isFinite(metric)) {
      tf.dispose([...activations.values()]);
      throw notFinite(model, "the logits", [tokens]);
    }
    return { metric, tensors: names.map((hook) => activations.get(hook)!) };
  };
  const clean = await side(pair.clean, hook);
  let corrupt: Awaited<ReturnType<typeof side>>;
  try {
    corrupt = await side(pair.corrupt, "hook_resid_pre");
  } catch (error) {
    tf.dispose(clean.tensors);
    throw error;
  }
  return { clean: clean.metric, corrupt: corrupt.metric, sources: clean.tensors, streams: corrupt.tensors };
}

/** The metric with each place of one layer patched. */
async function patchLayer(
  model: Model,
  pair: TokenPair,
  base: Base,
  { layer, node, by, onLayer, turn }: Interrupts & { layer: number; node: PatchNode; by: PatchPlace },
): Promise<number[]> {
  const positions = pair.corrupt.length;
  const source = base.sources[layer]!;
  const axis = axisOf(node, by);
  const places = axis === undefined ? 1 : source.shape[axis]!;
  const values: number[] = [];
  for (const { first, count, size } of evenBatches(places, positions)) {
    if (first > 0) await turn?.();
    const tensors = tf.tidy(() => {
      const mask = new Float32Array(size * places);
      for (let i = 0; i < size; i++) mask[i * places + Math.min(first + i, places - 1)] = 1;
      const shape = source.shape.map((_, a) => (a === 0 ? size : a === axis ? places : 1));
      const change = replaceWhere(tf.tensor(mask, shape), source);
      return { change, resid: tf.tile(base.streams[layer]!, [size, 1, 1]) };
    });
    try {
      const input = { resid: tensors.resid, startLayer: layer, logitsAt: "last" } as const;
      const interventions = new Map([[blockHook(layer, NODES[node].hook), tensors.change]]);
      const result = await forwardInTurns(model, input, { interventions, onLayer }, turn);
      values.push(...logitDifference(result.logits!, pair).slice(0, count));
      result.dispose();
    } finally {
      tf.dispose([tensors.resid, tensors.change.gain, tensors.change.bias]);
    }
  }
  return values;
}

/** The axis of an activation along which one place is patched at a time; undefined where the whole is. */
function axisOf(node: PatchNode, by: PatchPlace): number | undefined {
  if (by === "layer") return undefined;
  if (by === "position") return node === "pattern" ? 2 : 1;
  const place = NODES[node];
  return "headAxis" in place ? place.headAxis : undefined;
}
