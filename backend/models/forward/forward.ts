import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError } from "../../common/errors.ts";
import { gatherRows, hasNative } from "../../runtime/ops.ts";
import { tf } from "../../runtime/tf.ts";
import type { KvCache } from "../cache/kv-cache.ts";
import { outputWidth } from "../config.ts";
import type { Model } from "../model.ts";
import type { PatternReduction, Window } from "../transformer/attention.ts";
import { unembed } from "../transformer/block.ts";
import type { Matrix } from "../weights/matrix.ts";
import { type Flat, flatten, flattenEnd } from "../weights/weights.ts";
import { chunkStarts, collect, joinChunks, sliceAffine, withoutPadding } from "./chunks.ts";
import { bucket, checkForward, makePlan, type Plan } from "./plan.ts";
import { Asked, NOTHING } from "./requests.ts";
import { EMPTY, type Rotations, runLayer, type Stream } from "./run-block.ts";
import { type Affine, type Extent, type HookFunction, runStage } from "./stage.ts";

/** What goes into a forward: token ids, or a residual stream to go on from. */
export interface ForwardInput {
  /** Rows of token ids. Shorter rows are padded on the right, which changes nothing under the causal mask. */
  tokens?: readonly (readonly number[])[];
  /** Vectors [rows, positions, d_input] instead of tokens, for a model that reads them. */
  inputs?: Tensor;
  /** Residual stream before `startLayer` [rows, positions, d_model], instead of tokens. */
  resid?: Tensor;
  /** Position of each token by row, below n_ctx; default counting on from what the cache holds. */
  positions?: readonly (readonly number[])[];
  /** By row and token, 1 for keys to attend to, 0 for keys to leave out. Not with a cache. */
  keyMask?: readonly (readonly number[])[];
  /** Keys and values of earlier tokens; this call's are appended. */
  cache?: KvCache;
  /** First layer to run, default 0. */
  startLayer?: number;
  /** Layer before which to stop, default n_layers; stopping earlier gives no logits. */
  stopLayer?: number;
  /**
   * Positions whose logits are wanted: all (default), the last one of each row, none, or those listed, negative ones counted from
   * each row's own end.
   */
  logitsAt?: "all" | "last" | "none" | readonly number[];
  /** By layer and KV head, the window of a streaming head. Without a cache only; a cache has its own. */
  windows?: readonly (readonly (Window | undefined)[])[];
}

/** What is asked of a forward beside its logits. */
export interface ForwardOptions {
  /** Activations to hand out: hook names, or a predicate on them. Nothing else is kept. */
  names?: readonly string[] | ((name: string) => boolean);
  /** Functions on activations, by hook name or predicate. With any, the forward runs op by op. */
  hooks?: readonly (readonly [string | ((name: string) => boolean), HookFunction])[];
  /** Interventions by hook name, as `compileInterventions` makes them; they run captured. */
  interventions?: ReadonlyMap<string, Affine>;
  /** What to compute of every pattern inside its block; of rows of one length. */
  reductions?: readonly PatternReduction[];
  /** False runs everything op by op (for comparison). Default true. */
  captured?: boolean;
  /** Called before every layer; throwing from it ends the forward (progress and cancelling). */
  onLayer?: (layer: number) => void;
}

/**
 * Results of a forward; the caller disposes them, all at once by `dispose`. Rows of different lengths are filled up with zeros:
 * of row r the first `lengths[r]` positions are its own.
 */
export interface ForwardResult {
  /** Tokens of each row in this call. */
  lengths: readonly number[];
  /** [rows, wanted positions, outputs]; absent where none were wanted or the forward stopped early. */
  logits?: Tensor;
  /** Residual stream after the last layer that ran [rows, positions, d_model]. */
  resid: Tensor;
  /** By hook name: [rows, positions, ...], patterns and scores [rows, heads, query, key]. */
  activations: Map<string, Tensor>;
  /** By the reduction's name, one tensor a layer: sums [rows, heads], maps [rows, heads, query]. */
  reductions: Map<string, Tensor[]>;
  dispose(): void;
}

/**
 * Runs the transformer. One function serves prefill, decode, any range of layers, interventions and hooks:
 * what can be data runs as captured functions, a user's JavaScript hooks run op by op.
 * @throws HeadscopeError for ids outside the vocabulary, inputs beyond the context, unknown hook names and options
 */
export function forward(model: Model, input: ForwardInput, options: ForwardOptions = {}): ForwardResult {
  checkForward(model, input, options);
  // Hooks see what there is, without padding; then no length would find its function again, and all runs op by op.
  const hooked = (options.hooks?.length ?? 0) > 0;
  const plan = makePlan(model, input, hooked ? (n) => n : bucket);
  if (options.reductions?.length && plan.lengths.some((length) => length !== plan.total))
    throw new HeadscopeError("unsupported", "patterns of rows of different lengths can't be reduced together", {
      remedy: "give rows of one length",
    });
  const asked = new Asked(model, options);
  const activations = new Map<string, Tensor>();
  const reductions = new Map<string, Tensor[]>((options.reductions ?? []).map((r) => [r.name, []]));
  try {
    const { resid, logits } = tf.tidy(() => {
      let streams = plan.chunks.map((_, c) => embed(model, input, plan, c, asked, activations));
      for (let layer = plan.startLayer; layer < plan.stopLayer; layer++) {
        options.onLayer?.(layer);
        streams = runLayer(model, input, plan, layer, streams, asked, activations, reductions);
      }
      const resid = joinChunks(
        streams.map((s) => s.x),
        plan,
        model.config.d_model,
      );
      const logits =
        plan.stopLayer < model.config.n_layers
          ? undefined
          : logitsOf(model, resid, plan, input.logitsAt ?? "all", asked, activations);
      const everywhere = (input.logitsAt ?? "all") === "all";
      return {
        resid: withoutPadding(resid, "", plan),
        ...(logits ? { logits: everywhere ? withoutPadding(logits, "", plan) : logits } : {}),
      };
    });
    for (const [name, held] of activations) {
      // The final norm sees the positions whose logits are wanted.
      if (name.startsWith("ln_final.") && (input.logitsAt ?? "all") !== "all") continue;
      const clean = tf.tidy(() => withoutPadding(held, name, plan));
      if (clean === held) continue;
      activations.set(name, tf.keep(clean));
      held.dispose();
    }
    plan.cache?.advance(plan.lengths);
    const all = [resid, ...(logits ? [logits] : []), ...activations.values(), ...[...reductions.values()].flat()];
    const { lengths } = plan;
    return { lengths, resid, ...(logits ? { logits } : {}), activations, reductions, dispose: () => tf.dispose(all) };
  } catch (error) {
    tf.dispose([...activations.values(), ...[...reductions.values()].flat()]);
    throw error;
  } finally {
    plan.scratch?.dispose();
    for (const made of [...plan.accesses.values(), ...plan.reaches.values()]) made?.dispose();
  }
}

/** The residual stream at the start of a chunk [rows * tokens, d_model], and the rotation of its positions. */
function embed(
  model: Model,
  input: ForwardInput,
  plan: Plan,
  c: number,
  asked: Asked,
  activations: Map<string, Tensor>,
): Stream {
  const { config, weights } = model;
  const chunk = plan.chunks[c]!;
  const { rows } = plan;
  const grid = (value: (row: number, t: number) => number): Tensor => {
    const flat = new Int32Array(rows * chunk.tokens);
    for (let r = 0; r < rows; r++) for (let t = 0; t < chunk.tokens; t++) flat[r * chunk.tokens + t] = value(r, t);
    return tf.tensor1d(flat, "int32");
  };
  let beyond = 0;
  const positions = grid((r, t) => {
    const own = input.positions?.[r]?.[chunk.first + t] ?? plan.starts[r]! + chunk.first + t;
    const position = Math.min(own, config.n_ctx - 1);
    beyond = Math.max(beyond, position + 1);
    return position;
  });
  const extent = { rows, tokens: chunk.tokens };
  const common = { extent, xla: false, captured: asked.captured };
  const rotation = rotationsAt(model, positions, beyond, common);
  const partOf = (whole: Tensor): Tensor => {
    const width = whole.shape[2]!;
    const part = tf.slice(whole, [0, chunk.first, 0], [rows, chunk.real, width]);
    const padded = tf.pad(part, [
      [0, 0],
      [0, chunk.tokens - chunk.real],
      [0, 0],
    ]);
    return tf.reshape(padded, [rows * chunk.tokens, width]);
  };
  if (input.resid) return { x: partOf(input.resid), rotation };
  const read = input.inputs ? partOf(input.inputs) : grid((r, t) => input.tokens![r]![chunk.first + t] ?? 0);
  const requests = asked.of(
    "",
    ["hook_embed", "hook_pos_embed"],
    (a, name) => sliceAffine(a, name, chunk, plan),
    chunkStarts(chunk, plan),
  );
  const learned = weights.posEmbed;
  const made = runStage({
    ...common, key: `embed|${config.embed_scale ?? 1}|${learned ? "learned" : ""}${input.inputs ? "|vectors" : ""}`, tensors: [read, ...(learned ? [positions] : [])],
    weights: flatten({ embed: weights.embed, ...(weights.embedBias ? { bias: weights.embedBias } : {}), ...(learned ? { posEmbed: learned } : {}) }) as Flat<{ embed: Matrix; bias?: Tensor; posEmbed?: Matrix }>,
    requests,
    body: ([given, at], w, point) => {
      const read = w.bias ? tf.add(w.embed.apply(given!), w.bias) : w.embed.rows(given!);
      const x = point("hook_embed", config.embed_scale === undefined ? read : tf.mul(read, config.embed_scale));
      return [w.posEmbed ? tf.add(x, point("hook_pos_embed", w.posEmbed.rows(at!))) : x];
    },
  }); // biome-ignore format: a call a line
  collect(activations, "", requests.wanted, made.activations, chunk, plan);
  return { x: made.out[0]!, rotation };
}

/** Rotations of the positions. @param length positions that the tables must hold */
function rotationsAt(
  model: Model,
  positions: Tensor,
  length: number,
  common: { extent: Extent; xla: boolean; captured: boolean },
): Rotations {
  const { rotary_dim, rotary_local } = model.config;
  const of = (local: boolean): Tensor[] => {
    const tables = model.rotaryUpTo(length, local);
    if (!tables) return [];
    return runStage({
      ...common, key: `rotation|${rotary_dim}`, tensors: [positions, tables.cos, tables.sin], weights: EMPTY, requests: NOTHING,
      body: ([at, cos, sin]) => [cos!, sin!].map((t) => tf.reshape(gatherRows(t, at!), [-1, 1, rotary_dim])),
    }).out; // biome-ignore format: a call a line
  };
  const global = of(false);
  return { global, local: rotary_local ? of(true) : global };
}

/** Positions of one row whose logits are wanted. @throws HeadscopeError (usage) for one that the row does not have */
function wantedOf(
  at: Exclude<NonNullable<ForwardInput["logitsAt"]>, "none">,
  length: number,
  { row, total }: { row: number; total: number },
): number[] {
  // Of all positions those behind a row's end come out as zeros.
  if (at === "all") return Array.from({ length: total }, (_, t) => t);
  if (at === "last") return [length - 1];
  const beyond = at.find((p) => !Number.isInteger(p) || p < -length || p >= length);
  if (beyond === undefined) return at.map((p) => (p < 0 ? length + p : p));
  throw new HeadscopeError(
    "usage",
    `logits are asked at position ${beyond} of row ${row}, which has ${length} tokens`,
    {
      remedy: `choose positions from 0 to ${length - 1}, or -1 for the last`,
    },
  );
}

/** An intervention at the final norm, which sees the positions whose logits are wanted. */
function endAffine(
  affine: Affine,
  name: string,
  at: NonNullable<ForwardInput["logitsAt"]>,
  plan: Plan,
): Affine | undefined {
  const tables = [affine.gain, affine.bias].some((t) => (t.shape[1] ?? 1) > 1) || affine.before !== undefined;
  if (!tables) return affine;
  if (at === "all") return sliceAffine(affine, name, { first: 0, real: plan.total, tokens: plan.total }, plan);
  throw new HeadscopeError("usage", `${name} is changed by position, and sees only positions whose logits are wanted`, {
    remedy: "change the last block's hook_resid_post there, or ask for all logits",
  });
}

/** Logits of the wanted positions [rows, positions, outputs]. */
function logitsOf(
  model: Model,
  resid: Tensor,
  plan: Plan,
  at: NonNullable<ForwardInput["logitsAt"]>,
  asked: Asked,
  activations: Map<string, Tensor>,
): Tensor | undefined {
  if (at === "none") return undefined;
  const { config, weights } = model;
  const { rows, total } = plan;
  const wanted = plan.lengths.map((length, r) => wantedOf(at, length, { row: r, total }));
  const count = wanted[0]!.length;
  const index = wanted.flatMap((row, r) => row.map((p) => r * total + p));
  const padded = bucket(index.length);
  const rowsOf = gatherRows(
    tf.reshape(resid, [rows * total, config.d_model]),
    tf.tensor1d([...index, ...new Array(padded - index.length).fill(0)], "int32"),
  );
  const keep = { first: 0, real: count, tokens: count };
  const requests = asked.of(
    "",
    config.final_norm && config.normalization_type ? ["ln_final.hook_scale", "ln_final.hook_normalized"] : [],
    (a, name) => endAffine(a, name, at, plan),
    plan.starts,
  );
  const looked = requests.wanted.length + requests.affine.size + requests.hooks.size > 0;
  const exact = looked ? tf.slice(rowsOf, [0, 0], [index.length, config.d_model]) : rowsOf;
  const tokens = exact.shape[0]!;
  const dense = tokens > 8 && weights.unembed.narrow ? weights.unembed.widen() : undefined;
  const matrix = dense ? weights.unembed.dense(dense) : weights.unembed;
  const made = runStage({
    key: `unembed|${model.key}`, extent: looked ? { rows, tokens: count } : { rows: 1, tokens }, tensors: [exact],
    weights: flattenEnd(weights, matrix),
    requests, xla: hasNative(), captured: asked.captured,
    body: ([x], w, point) => [unembed(x!, w, config, point)],
  }); // biome-ignore format: a call a line
  collect(activations, "", requests.wanted, made.activations, keep, plan);
  const width = outputWidth(config);
  return tf.reshape(tf.slice(made.out[0]!, [0, 0], [index.length, width]), [rows, count, width]);
}
