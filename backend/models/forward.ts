import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError } from "../errors.ts";
import { gatherRows, hasNative } from "../runtime/ops.ts";
import { tf } from "../runtime/tf.ts";
import { attendAmong, joinReduced, type PatternReduction, type Window } from "./attention.ts";
import { ATTENTION_NAMES, type At, attentionInput, blockOutput, INPUT_NAMES, OUTPUT_NAMES, unembed } from "./block.ts";
import { type Access, attendCached, attendPast, describeAccess } from "./cached-attention.ts";
import { blockHook, blockHookNames, checkHookName, hookNames, isPattern } from "./hook-points.ts";
import { KvCache } from "./kv-cache.ts";
import type { Matrix } from "./matrix.ts";
import type { Model } from "./model.ts";
import { type Affine, collectingAt, type HookFunction, type Requests, runStage } from "./stage.ts";
import { type BlockWeights, type Flat, flatten, widenBlock } from "./weights.ts";

/** What goes into a forward: token ids, or a residual stream to go on from. */
export interface ForwardInput {
  /** Rows of token ids. Shorter rows are padded on the right, which changes nothing under the causal mask. */
  tokens?: readonly (readonly number[])[];
  /** Residual stream before `startLayer` [rows, positions, d_model], instead of tokens. */
  resid?: Tensor;
  /** Position of each token by row, default counting on from what the cache holds. */
  positions?: readonly (readonly number[])[];
  /** 1 for keys to attend to, 0 for keys to leave out, by row. Not with a cache. */
  keyMask?: readonly (readonly number[])[];
  /** Keys and values of earlier tokens; this call's are appended. */
  cache?: KvCache;
  /** First layer to run, default 0. */
  startLayer?: number;
  /** Layer before which to stop, default n_layers; stopping earlier gives no logits. */
  stopLayer?: number;
  /** Positions whose logits are wanted: all (default), the last real one of each row, none, or those listed. */
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
  /** What to compute of every pattern inside its block. */
  reductions?: readonly PatternReduction[];
  /** False runs everything op by op (for comparison). Default true. */
  captured?: boolean;
  /** Called before every layer; throwing from it ends the forward (progress and cancelling). */
  onLayer?: (layer: number) => void;
}

/** Results of a forward; the caller disposes them, all at once by `dispose`. */
export interface ForwardResult {
  /** [rows, wanted positions, d_vocab]; absent where none were wanted or the forward stopped early. */
  logits?: Tensor;
  /** Residual stream after the last layer that ran [rows, positions, d_model]. */
  resid: Tensor;
  /** By hook name: [rows, positions, ...], patterns and scores [rows, heads, query, key]. */
  activations: Map<string, Tensor>;
  /** By the reduction's name, one tensor a layer: sums [rows, heads], maps [rows, heads, query]. */
  reductions: Map<string, Tensor[]>;
  dispose(): void;
}

/** Tokens of a row that go through a layer together. Longer inputs pass in chunks, layer by layer. */
const CHUNK = 512;

/** The padded length for n tokens: few lengths, so that a new prompt seldom needs a new function. */
export function bucket(n: number): number {
  if (n <= 16) return 2 ** Math.ceil(Math.log2(n));
  const step = n <= 128 ? 8 : 32;
  return Math.ceil(n / step) * step;
}

interface Plan {
  rows: number;
  total: number;
  lengths: number[];
  chunks: { first: number; real: number; tokens: number }[];
  starts: number[];
  startLayer: number;
  stopLayer: number;
  cache: KvCache | undefined;
  /** Buffers of one layer, used by each in turn: for long inputs without a cache. */
  scratch: KvCache | undefined;
  /** How chunks reach into the cache, by chunk and layout. */
  accesses: Map<string, Access>;
}

/**
 * Runs the transformer. One function serves prefill, decode, any range of layers, interventions and hooks:
 * what can be data runs as captured functions, a user's JavaScript hooks run op by op.
 * @throws HeadscopeError for ids outside the vocabulary, inputs beyond the context, unknown hook names
 */
export function forward(model: Model, input: ForwardInput, options: ForwardOptions = {}): ForwardResult {
  // Hooks see what there is, without padding; then no length would find its function again, and all runs op by op.
  const hooked = (options.hooks?.length ?? 0) > 0;
  const plan = makePlan(model, input, hooked ? (n) => n : bucket);
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
      const resid = joinChunks(streams.map((s) => s.x), plan, model.config.d_model);
      const logits = plan.stopLayer < model.config.n_layers ? undefined : logitsOf(model, resid, plan, input.logitsAt ?? "all", asked, activations);
      return { resid, ...(logits ? { logits } : {}) };
    });
    plan.cache?.advance(plan.lengths);
    const all = [resid, ...(logits ? [logits] : []), ...activations.values(), ...[...reductions.values()].flat()];
    return { resid, ...(logits ? { logits } : {}), activations, reductions, dispose: () => tf.dispose(all) };
  } catch (error) {
    tf.dispose([...activations.values(), ...[...reductions.values()].flat()]);
    throw error;
  } finally {
    plan.scratch?.dispose();
    for (const access of plan.accesses.values()) access.dispose();
  }
}

function makePlan(model: Model, input: ForwardInput, padded: (tokens: number) => number): Plan {
  const { config } = model;
  const { cache } = input;
  if ((input.tokens === undefined) === (input.resid === undefined)) {
    throw new HeadscopeError("usage", "a forward takes either tokens or a residual stream", { remedy: "give one of `tokens` and `resid`" });
  }
  const lengths = input.tokens ? input.tokens.map((row) => row.length) : new Array(input.resid!.shape[0]!).fill(input.resid!.shape[1]!);
  const rows = lengths.length;
  const total = Math.max(0, ...lengths);
  if (rows === 0 || Math.min(...lengths) === 0) throw new HeadscopeError("input", "a row of tokens is empty", { remedy: "give every row at least one token" });
  if (cache && cache.rows !== rows) throw new HeadscopeError("usage", `the cache has ${cache.rows} rows, the input ${rows}`, { remedy: "make a cache with as many rows" });
  const starts = cache ? [...cache.lengths] : new Array(rows).fill(0);
  if (cache && total > 1 && new Set(starts).size > 1) {
    throw new HeadscopeError("unsupported", "rows of different cached lengths can be extended by one token at a time only", { remedy: "feed single tokens" });
  }
  if (cache && (input.keyMask || input.windows)) throw new HeadscopeError("usage", "a key mask or windows can't be given with a cache", { remedy: "give the cache windows of its own" });
  checkTokens(input.tokens, config.d_vocab);
  const end = Math.max(...starts) + total;
  if (end > config.n_ctx) throw new HeadscopeError("input", `${end} tokens are more than the model's context of ${config.n_ctx}`, { remedy: "shorten the input" });
  const long = total > CHUNK;
  const chunks = Array.from({ length: Math.ceil(total / CHUNK) }, (_, c) => {
    const real = Math.min(CHUNK, total - c * CHUNK);
    return { first: c * CHUNK, real, tokens: padded(real) };
  });
  const last = chunks.at(-1)!;
  const slots = Math.max(...starts) + last.first + last.tokens;
  cache?.reserve(total);
  // Where the padding of the last chunk would not fit any more, it goes without.
  if (cache && slots > cache.capacity) last.tokens = last.real;
  return {
    rows, total, lengths, chunks, starts, cache,
    startLayer: input.startLayer ?? 0,
    stopLayer: input.stopLayer ?? config.n_layers,
    accesses: new Map(),
    scratch: long && !cache ? new KvCache(config, { rows, capacity: slots, layers: 1 }) : undefined,
  }; // biome-ignore format: one object
}

function checkTokens(tokens: ForwardInput["tokens"], d_vocab: number): void {
  tokens?.forEach((row, r) => {
    const bad = row.findIndex((id) => !Number.isInteger(id) || id < 0 || id >= d_vocab);
    if (bad >= 0) {
      throw new HeadscopeError("input", `token id ${row[bad]} (row ${r}, position ${bad}) is outside the vocabulary`, { remedy: `ids go from 0 to ${d_vocab - 1}` });
    }
  });
}

const NOTHING: Requests = { wanted: [], affine: new Map(), hooks: new Map() };

/** What is asked at each point, resolved once for a forward. */
class Asked {
  readonly captured: boolean;
  readonly reductions: readonly PatternReduction[];
  readonly #wanted: Set<string>;
  readonly #affine: ReadonlyMap<string, Affine>;
  readonly #hooks = new Map<string, HookFunction[]>();
  /** Prefixes (`blocks.{l}.`, or none) under which anything is asked. */
  readonly #touched = new Set<string>();

  constructor(model: Model, options: ForwardOptions) {
    const { config } = model;
    const { names = [], hooks = [], interventions = new Map() } = options;
    const all = typeof names === "function" || hooks.some(([at]) => typeof at === "function") ? hookNames(config) : [];
    if (typeof names !== "function") for (const name of names) checkHookName(config, name);
    for (const name of interventions.keys()) checkHookName(config, name);
    this.#wanted = new Set(typeof names === "function" ? all.filter(names) : names);
    this.#affine = interventions;
    for (const [at, hook] of hooks) {
      if (typeof at === "string") checkHookName(config, at);
      for (const name of typeof at === "string" ? [at] : all.filter(at)) this.#hooks.set(name, [...(this.#hooks.get(name) ?? []), hook]);
    }
    for (const name of [...this.#wanted, ...this.#affine.keys(), ...this.#hooks.keys()]) this.#touched.add(/^blocks\.\d+\./.exec(name)?.[0] ?? "");
    this.captured = (options.captured ?? true) && hooks.length === 0;
    this.reductions = options.reductions ?? [];
  }

  /** Requests for the given short names of a block (prefix `blocks.{l}.`) or, without prefix, of the model's ends. */
  of(prefix: string, names: readonly string[], slice: (affine: Affine, name: string) => Affine): Requests {
    if (!this.#touched.has(prefix)) return NOTHING;
    const pick = names.filter((n) => this.#wanted.has(prefix + n));
    const affine = new Map<string, Affine>();
    const hooks = new Map<string, HookFunction[]>();
    for (const n of names) {
      const change = this.#affine.get(prefix + n);
      if (change) affine.set(n, slice(change, n));
      const functions = this.#hooks.get(prefix + n);
      if (functions) hooks.set(n, functions.map((f) => (t: Tensor) => f(t, prefix + n)));
    }
    return { wanted: pick, affine, hooks };
  }

  /** Whether anything is asked of a layer. */
  touches(layer: number): boolean {
    return this.#touched.has(blockHook(layer, ""));
  }

  /** Whether anything looks at or changes the whole pattern of a layer. */
  touchesPattern(layer: number): boolean {
    return this.touches(layer) && ATTENTION_NAMES.some((n) => [this.#wanted, this.#affine, this.#hooks].some((s) => s.has(blockHook(layer, n))));
  }
}

interface Stream {
  x: Tensor;
  rotation: Tensor[];
  /** Queries, keys and values of the next block, where the last one's function has computed them already. */
  projected?: Tensor[];
}

/** The residual stream at the start of a chunk [rows * tokens, d_model], and the rotation of its positions. */
function embed(model: Model, input: ForwardInput, plan: Plan, c: number, asked: Asked, activations: Map<string, Tensor>): Stream {
  const { config, weights } = model;
  const chunk = plan.chunks[c]!;
  const { rows } = plan;
  const grid = (value: (row: number, t: number) => number): Tensor => {
    const flat = new Int32Array(rows * chunk.tokens);
    for (let r = 0; r < rows; r++) for (let t = 0; t < chunk.tokens; t++) flat[r * chunk.tokens + t] = value(r, t);
    return tf.tensor1d(flat, "int32");
  };
  const positions = grid((r, t) => Math.min(input.positions?.[r]?.[chunk.first + t] ?? plan.starts[r]! + chunk.first + t, config.n_ctx - 1));
  const tables = model.rotary;
  const extent = { rows, tokens: chunk.tokens };
  const common = { extent, xla: false, captured: asked.captured };
  const rotation = tables
    ? runStage({
        ...common, key: `rotation|${config.rotary_dim}`, tensors: [positions, tables.cos, tables.sin], weights: EMPTY, requests: NOTHING,
        body: ([at, cos, sin]) => [cos!, sin!].map((t) => tf.reshape(gatherRows(t, at!), [-1, 1, config.rotary_dim])),
      }).out
    : []; // biome-ignore format: a call a line
  if (input.resid) {
    const part = tf.slice(input.resid, [0, chunk.first, 0], [rows, chunk.real, config.d_model]);
    const padded = tf.pad(part, [[0, 0], [0, chunk.tokens - chunk.real], [0, 0]]);
    return { x: tf.reshape(padded, [rows * chunk.tokens, config.d_model]), rotation };
  }
  const ids = grid((r, t) => input.tokens![r]![chunk.first + t] ?? 0);
  const requests = asked.of("", ["hook_embed", "hook_pos_embed"], (a) => sliceAffine(a, "hook_embed", chunk, plan));
  const learned = weights.posEmbed;
  const made = runStage({
    ...common, key: `embed|${learned ? "learned" : ""}`, tensors: [ids, ...(learned ? [positions] : [])],
    weights: flatten({ embed: weights.embed, ...(learned ? { posEmbed: learned } : {}) }) as Flat<{ embed: Matrix; posEmbed?: Matrix }>,
    requests,
    body: ([tokens, at], w, point) => {
      const x = point("hook_embed", w.embed.rows(tokens!));
      return [w.posEmbed ? tf.add(x, point("hook_pos_embed", w.posEmbed.rows(at!))) : x];
    },
  }); // biome-ignore format: a call a line
  collect(activations, "", requests.wanted, made.activations, chunk, plan);
  return { x: made.out[0]!, rotation };
}

/** One block over all chunks. */
function runLayer(
  model: Model, input: ForwardInput, plan: Plan, layer: number, streams: Stream[], asked: Asked,
  activations: Map<string, Tensor>, reductions: Map<string, Tensor[]>,
): Stream[] {
  const narrow = model.weights.blocks[layer]!;
  // Widened once for the whole layer: fused widening pays for few tokens only.
  const wide = plan.rows * plan.chunks[0]!.tokens > 8 ? widenBlock(narrow) : undefined;
  const block = splitWeights(wide?.block ?? narrow);
  const partial: Tensor[][] = asked.reductions.map(() => []);
  const next = streams.map((stream, c) => {
    const made = tf.tidy(() => runBlock(model, input, plan, layer, c, stream, block, asked));
    made.names.forEach((name, i) => {
      append(activations, name, made.activations[i]!, plan);
    });
    made.reduced.forEach((t, i) => {
      partial[i]!.push(t);
    });
    tf.dispose([stream.x, ...(stream.projected ?? [])]);
    return { x: made.x, rotation: stream.rotation, ...(made.projected ? { projected: made.projected } : {}) };
  });
  wide?.dispose();
  asked.reductions.forEach((reduction, i) => {
    const joined = tf.keep(joinReduced(reduction, partial[i]!));
    for (const t of partial[i]!) if (t !== joined) t.dispose();
    reductions.get(reduction.name)!.push(joined);
  });
  return next;
}

const EMPTY: Flat<object> = flatten({});

interface SplitWeights {
  input: Flat<BlockWeights>;
  output: Flat<BlockWeights>;
}

const splits = new WeakMap<BlockWeights, SplitWeights>();

/** The weights of a block by stage, so that each function takes only its own. */
function splitWeights(block: BlockWeights): SplitWeights {
  const known = splits.get(block);
  if (known) return known;
  const { ln1, qkv, qkvBias, ...output } = block;
  const input = { ...(ln1 ? { ln1 } : {}), qkv, ...(qkvBias ? { qkvBias } : {}) };
  const made = { input: flatten(input as BlockWeights), output: flatten(output as BlockWeights) };
  splits.set(block, made);
  return made;
}

/** Two groups of weights as one. */
function joined(a: Flat<BlockWeights>, b: Flat<BlockWeights>): Flat<[BlockWeights, BlockWeights]> {
  const count = a.handles.length;
  return {
    handles: [...a.handles, ...b.handles],
    key: `${a.key} then ${b.key}`,
    over: (handles) => [a.over(handles.slice(0, count)), b.over(handles.slice(count))],
  };
}

type BlockResult = {
  x: Tensor;
  projected: Tensor[] | undefined;
  names: string[];
  activations: Tensor[];
  reduced: Tensor[];
};

function runBlock(model: Model, input: ForwardInput, plan: Plan, layer: number, c: number, stream: Stream, weights: SplitWeights, asked: Asked): BlockResult {
  const { config } = model;
  const chunk = plan.chunks[c]!;
  const extent = { rows: plan.rows, tokens: chunk.tokens };
  const prefix = blockHook(layer, "");
  const slice = (a: Affine, name: string): Affine => sliceAffine(a, name, chunk, plan);
  const names: string[] = [];
  const activations: Tensor[] = [];
  const take = (requests: Requests, made: Tensor[]): void => {
    requests.wanted.forEach((name, i) => {
      names.push(prefix + name);
      activations.push(cutPadding(made[i]!, name, chunk));
    });
  };
  const fits = new Set(blockHookNames(config));
  const only = (list: readonly string[]): string[] => list.filter((n) => fits.has(n));
  const common = { extent, xla: hasNative(), captured: asked.captured };

  const start = asked.of(prefix, ["hook_resid_pre"], slice);
  const before = collectingAt(extent, start.wanted, start.affine, start.hooks);
  const x = before.at("hook_resid_pre", stream.x);
  take(start, before.collected());

  const inputRequests = asked.of(prefix, only(INPUT_NAMES), slice);
  const rotated = stream.rotation.length > 0;
  const project = (x: Tensor, [cos, sin]: Tensor[], w: BlockWeights, at: At): Tensor[] => attentionInput(x, rotated ? { cos: cos!, sin: sin! } : undefined, w, config, at);
  let projections = stream.projected;
  if (!projections) {
    const projected = runStage({
      ...common, key: `input|${model.key}`, tensors: [x, ...stream.rotation], weights: weights.input, requests: inputRequests,
      body: ([x, ...rotation], w, at) => project(x!, rotation, w, at),
    }); // biome-ignore format: a call a line
    take(inputRequests, projected.activations);
    projections = projected.out;
  }
  const [q, k, v] = projections as [Tensor, Tensor, Tensor];

  const attentionRequests = asked.of(prefix, ATTENTION_NAMES, slice);
  const attention = runAttention(model, input, plan, layer, c, [q, k, v], attentionRequests, asked);
  take(attentionRequests, attention.activations);
  const [z, ...reduced] = attention.out as [Tensor, ...Tensor[]];

  const following = nextUntouched(model, plan, layer, asked, weights);
  if (following) {
    // Nobody looks in between: the end of this block and the beginning of the next are one function.
    const [after, ...projected] = runStage({
      ...common, key: `between|${model.key}`, tensors: [x, z, ...stream.rotation], weights: joined(weights.output, following), requests: NOTHING,
      body: ([x, z, ...rotation], [w, next], at) => {
        const after = blockOutput(x!, z!, w, config, at);
        return [after, ...project(after, rotation, next, at)];
      },
    }).out; // biome-ignore format: a call a line
    return { x: after!, projected, names, activations, reduced };
  }
  const outputRequests = asked.of(prefix, only(OUTPUT_NAMES), slice);
  const after = runStage({
    ...common, key: `output|${model.key}`, tensors: [x, z], weights: weights.output, requests: outputRequests,
    body: ([x, z], w, at) => [blockOutput(x!, z!, w, config, at)],
  }); // biome-ignore format: a call a line
  take(outputRequests, after.activations);
  return { x: after.out[0]!, projected: undefined, names, activations, reduced };
}

/** The next block's input weights, if neither block is looked into and both are held as they are used. */
function nextUntouched(model: Model, plan: Plan, layer: number, asked: Asked, weights: SplitWeights): Flat<BlockWeights> | undefined {
  const next = model.weights.blocks[layer + 1];
  if (!next || layer + 1 >= plan.stopLayer || !asked.captured || !hasNative() || asked.touches(layer) || asked.touches(layer + 1)) return undefined;
  // Widened weights live for their own layer only.
  return weights === splitWeights(model.weights.blocks[layer]!) ? splitWeights(next).input : undefined;
}

function runAttention(
  model: Model, input: ForwardInput, plan: Plan, layer: number, c: number, [q, k, v]: [Tensor, Tensor, Tensor], requests: Requests, asked: Asked,
): { out: Tensor[]; activations: Tensor[] } {
  const { config } = model;
  const { n_heads: H, n_key_value_heads: G, d_head: D } = config;
  const chunk = plan.chunks[c]!;
  const { rows } = plan;
  const extent = { rows, tokens: chunk.tokens };
  const cache = plan.cache ?? plan.scratch;
  if (cache) {
    const cacheLayer = plan.cache ? layer : 0;
    const part = { q, k, v, tokens: chunk.tokens, real: chunk.real, starts: plan.starts.map((s) => s + chunk.first) };
    const streamingReductions = asked.reductions.length > 0 && cache.streams(cacheLayer);
    if (hasNative() && asked.captured && requests.hooks.size === 0 && !asked.touchesPattern(layer) && !streamingReductions) {
      const { layout } = cache.native![cacheLayer]![0]!;
      const key = `${c} ${layout.key}`;
      const access = plan.accesses.get(key) ?? describeAccess(part, layout, config, asked.reductions.length > 0);
      plan.accesses.set(key, access);
      return { out: attendCached(part, cache, cacheLayer, access, config, asked.reductions), activations: [] };
    }
    const made = collectingAt(extent, requests.wanted, requests.affine, requests.hooks);
    return { out: attendPast(part, cache, cacheLayer, config, asked.reductions, made.at), activations: made.collected() };
  }
  const index = Array.from({ length: chunk.tokens }, (_, t) => t);
  const position = tf.tensor2d(index, [chunk.tokens, 1], "float32");
  const valid = tf.tensor2d(index.map((t) => (t < chunk.real ? 1 : 0)), [chunk.tokens, 1], "float32");
  const keyMask = input.keyMask && tf.tensor(input.keyMask.map((row) => index.map((t) => ((row[t] ?? 0) > 0 ? 0 : -1e9)))).reshape([rows, 1, 1, chunk.tokens]);
  const windows = input.windows?.[layer];
  return runStage({
    key: `attention|${model.key}|${asked.reductions.map((r) => r.name).join("+")}|${JSON.stringify(windows ?? [])}|${keyMask ? "keys" : ""}`,
    extent, tensors: [q, k, v, position, valid, ...(keyMask ? [keyMask] : [])], weights: EMPTY, requests, xla: false, captured: asked.captured,
    body: ([q, k, v, position, valid, keys], _, at) => {
      const view = (t: Tensor, heads: number): Tensor => tf.reshape(t, [rows, chunk.tokens, heads, D]);
      const [z, ...reduced] = attendAmong({ q: view(q!, H), k: view(k!, G), v: view(v!, G), position: position!, valid: valid!, keyMask: keys, windows }, asked.reductions, config, at);
      return [tf.reshape(z, [rows * chunk.tokens, H * D]), ...reduced];
    },
  }); // biome-ignore format: a call a line
}

/** The part of an intervention that concerns a chunk, padded like the chunk. */
function sliceAffine(affine: Affine, name: string, chunk: { first: number; real: number; tokens: number }, plan: Plan): Affine {
  const pattern = isPattern(name);
  const axis = pattern ? 2 : 1;
  const keys = plan.starts[0]! + chunk.first + chunk.tokens;
  const cut = (t: Tensor, pad: number): Tensor => {
    let out = t;
    if ((t.shape[axis] ?? 1) > 1) {
      const begin = t.shape.map(() => 0);
      const size = [...t.shape];
      begin[axis] = chunk.first;
      size[axis] = Math.min(chunk.real, t.shape[axis]! - chunk.first);
      out = tf.slice(out, begin, size);
      out = tf.pad(out, out.shape.map((n, i) => [0, i === axis ? chunk.tokens - n : 0] as [number, number]), pad);
    }
    const width = out.shape[3] ?? 1;
    if (pattern && width > 1 && width !== keys) {
      out = width > keys ? tf.slice(out, [0, 0, 0, 0], [...out.shape.slice(0, 3), keys]) : tf.pad(out, out.shape.map((_, i) => [0, i === 3 ? keys - width : 0] as [number, number]), pad);
    }
    return out;
  };
  return { gain: cut(affine.gain, 1), bias: cut(affine.bias, 0) };
}

/** Drops padded positions (for patterns: queries, and keys that only padding could attend to). */
function cutPadding(t: Tensor, name: string, chunk: { first: number; real: number; tokens: number }): Tensor {
  if (chunk.real === chunk.tokens) return t;
  const size = [...t.shape];
  if (isPattern(name)) {
    size[3] = t.shape[3]! - (chunk.tokens - chunk.real);
    size[2] = chunk.real;
  } else {
    size[1] = chunk.real;
  }
  return tf.slice(t, size.map(() => 0), size);
}

function collect(into: Map<string, Tensor>, prefix: string, names: readonly string[], made: Tensor[], chunk: { first: number; real: number; tokens: number }, plan: Plan): void {
  names.forEach((name, i) => {
    append(into, prefix + name, cutPadding(made[i]!, name, chunk), plan);
  });
}

/** Adds a chunk's activation behind the earlier chunks'. */
function append(into: Map<string, Tensor>, name: string, part: Tensor, plan: Plan): void {
  const earlier = into.get(name);
  const pattern = isPattern(name);
  const joined = tf.tidy(() => {
    if (!pattern) return earlier ? tf.concat([earlier, part], 1) : tf.clone(part);
    const keys = Math.max(...plan.starts) + plan.total;
    const wide = tf.pad(part, [[0, 0], [0, 0], [0, 0], [0, keys - part.shape[3]!]]);
    return earlier ? tf.concat([earlier, wide], 2) : tf.clone(wide);
  });
  part.dispose();
  earlier?.dispose();
  into.set(name, tf.keep(joined));
}

function joinChunks(parts: Tensor[], plan: Plan, width: number): Tensor {
  const cut = parts.map((x, c) => {
    const { tokens, real } = plan.chunks[c]!;
    return tf.slice(tf.reshape(x, [plan.rows, tokens, width]), [0, 0, 0], [plan.rows, real, width]);
  });
  return cut.length === 1 ? cut[0]! : tf.concat(cut, 1);
}

/** Logits of the wanted positions [rows, positions, d_vocab]. */
function logitsOf(model: Model, resid: Tensor, plan: Plan, at: NonNullable<ForwardInput["logitsAt"]>, asked: Asked, activations: Map<string, Tensor>): Tensor | undefined {
  if (at === "none") return undefined;
  const { config, weights } = model;
  const { rows, total } = plan;
  const wanted = plan.lengths.map((length) => (at === "all" ? Array.from({ length: total }, (_, t) => t) : at === "last" ? [length - 1] : at.map((p) => (p < 0 ? length + p : p))));
  const beyond = wanted.flat().find((p) => !Number.isInteger(p) || p < 0 || p >= total);
  if (beyond !== undefined) throw new HeadscopeError("usage", `logits are asked at position ${beyond}, the input has ${total}`, { remedy: `choose positions from 0 to ${total - 1}` });
  const count = wanted[0]!.length;
  const index = wanted.flatMap((row, r) => row.map((p) => r * total + p));
  const padded = bucket(index.length);
  const rowsOf = gatherRows(tf.reshape(resid, [rows * total, config.d_model]), tf.tensor1d([...index, ...new Array(padded - index.length).fill(0)], "int32"));
  const keep = { first: 0, real: count, tokens: count };
  const requests = asked.of("", config.final_norm && config.normalization_type ? ["ln_final.hook_scale", "ln_final.hook_normalized"] : [], (a) => a);
  const looked = requests.wanted.length + requests.affine.size + requests.hooks.size > 0;
  const exact = looked ? tf.slice(rowsOf, [0, 0], [index.length, config.d_model]) : rowsOf;
  const tokens = exact.shape[0]!;
  const dense = tokens > 8 && weights.unembed.narrow ? weights.unembed.widen() : undefined;
  const matrix = dense ? weights.unembed.dense(dense) : weights.unembed;
  const made = runStage({
    key: `unembed|${model.key}`, extent: looked ? { rows, tokens: count } : { rows: 1, tokens }, tensors: [exact],
    weights: flatten({ ...(weights.lnFinal ? { ln: weights.lnFinal } : {}), unembed: matrix, ...(weights.unembedBias ? { bias: weights.unembedBias } : {}) }) as Flat<Parameters<typeof unembed>[1]>,
    requests, xla: hasNative(), captured: asked.captured,
    body: ([x], w, point) => [unembed(x!, w, config, point)],
  }); // biome-ignore format: a call a line
  collect(activations, "", requests.wanted, made.activations, keep, plan);
  return tf.reshape(tf.slice(made.out[0]!, [0, 0], [index.length, config.d_vocab]), [rows, count, config.d_vocab]);
}
