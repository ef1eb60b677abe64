import type { Tensor } from "@tensorflow/tfjs";
import { hasNative } from "../../runtime/ops.ts";
import { tf } from "../../runtime/tf.ts";
import { describeAccess, type Reaching } from "../cache/access.ts";
import { attendCached } from "../cache/captured-attention.ts";
import { attendPast } from "../cache/eager-attention.ts";
import { attendSlices, describeReach, type Reach, writeAndRead } from "../cache/long-attention.ts";
import { localWindow } from "../config.ts";
import type { Model } from "../model.ts";
import { attendAmong, joinReduced } from "../transformer/attention.ts";
import {
  ATTENTION_NAMES,
  type At,
  attentionInput,
  blockOutput,
  INPUT_NAMES,
  OUTPUT_NAMES,
} from "../transformer/block.ts";
import { blockHook, blockHookNames } from "../transformer/hook-points.ts";
import type { BlockWeights } from "../weights/block-parts.ts";
import { type Flat, flatten, flattenStages, widenBlock } from "../weights/weights.ts";
import { append, chunkStarts, cutPadding, sliceAffine } from "./chunks.ts";
import type { ForwardInput } from "./forward.ts";
import type { Plan } from "./plan.ts";
import { type Asked, NOTHING } from "./requests.ts";
import { type Affine, collectingAt, type Requests, runStage } from "./stage.ts";

/** Cosines and sines of a chunk's positions [rows * tokens, 1, rotary_dim] for layers of either kind; none where the model does not rotate. */
export interface Rotations {
  global: Tensor[];
  local: Tensor[];
}

/** A chunk's residual stream [rows * tokens, d_model] between blocks. */
export interface Stream {
  x: Tensor;
  rotation: Rotations;
  /** Queries, keys and values of the next block, where the last one's function has computed them already. */
  projected?: Tensor[];
}

/** One block over all chunks. */
export function runLayer(
  model: Model,
  input: ForwardInput,
  plan: Plan,
  layer: number,
  streams: Stream[],
  asked: Asked,
  activations: Map<string, Tensor>,
  reductions: Map<string, Tensor[]>,
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

/** No weights. */
export const EMPTY: Flat<object> = flatten({});

type SplitWeights = ReturnType<typeof flattenStages>;

const splits = new WeakMap<BlockWeights, SplitWeights>();

/** The weights of a block by stage, so that each function takes only its own. */
function splitWeights(block: BlockWeights): SplitWeights {
  const known = splits.get(block);
  if (known) return known;
  const made = flattenStages(block);
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

function runBlock(
  model: Model,
  input: ForwardInput,
  plan: Plan,
  layer: number,
  c: number,
  stream: Stream,
  weights: SplitWeights,
  asked: Asked,
): BlockResult {
  const { config } = model;
  const chunk = plan.chunks[c]!;
  const extent = { rows: plan.rows, tokens: chunk.tokens };
  const prefix = blockHook(layer, "");
  const starts = chunkStarts(chunk, plan);
  const slice = (a: Affine, name: string): Affine | undefined => sliceAffine(a, name, chunk, plan);
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

  const start = asked.of(prefix, ["hook_resid_pre"], slice, starts);
  const before = collectingAt(extent, start.wanted, start.affine, start.hooks);
  const x = before.at("hook_resid_pre", stream.x);
  take(start, before.collected());

  const inputRequests = asked.of(prefix, only(INPUT_NAMES), slice, starts);
  const rotationOf = (l: number): Tensor[] =>
    localWindow(config, l) === undefined ? stream.rotation.global : stream.rotation.local;
  const [rotation, nextRotation] = [rotationOf(layer), rotationOf(layer + 1)];
  const project = (x: Tensor, [cos, sin]: Tensor[], w: BlockWeights, at: At): Tensor[] =>
    attentionInput(x, cos && sin ? { cos, sin } : undefined, w, config, at);
  let projections = stream.projected;
  if (!projections) {
    const projected = runStage({
      ...common, key: `input|${model.key}`, tensors: [x, ...rotation], weights: weights.input, requests: inputRequests,
      body: ([x, ...rotation], w, at) => project(x!, rotation, w, at),
    }); // biome-ignore format: a call a line
    take(inputRequests, projected.activations);
    projections = projected.out;
  }
  const [q, k, v] = projections as [Tensor, Tensor, Tensor];

  const following = nextUntouched(model, plan, layer, asked, weights);
  const reach = following && longReach(model, plan, layer, asked);
  if (following && reach) {
    // One token over many: attention is worth compiling, and then it joins the rest.
    const slices = writeAndRead(k, v, plan.cache!.native![layer]![0]!, reach, config);
    const { length: count } = slices;
    const [after, ...projected] = runStage({
      ...common, key: `long|${model.key}`, tensors: [x, q, reach.mask, ...slices, ...nextRotation], weights: joined(weights.output, following), requests: NOTHING,
      body: ([x, q, mask, ...rest], [w, next], at) => {
        const after = blockOutput(x!, attendSlices(q!, rest.slice(0, count), mask!, config), w, config, at);
        return [after, ...project(after, rest.slice(count), next, at)];
      },
    }).out; // biome-ignore format: a call a line
    return { x: after!, projected, names, activations, reduced: [] };
  }

  const attentionRequests = asked.of(prefix, ATTENTION_NAMES, slice, starts);
  const attention = runAttention(model, input, plan, layer, c, [q, k, v], attentionRequests, asked);
  take(attentionRequests, attention.activations);
  const [z, ...reduced] = attention.out as [Tensor, ...Tensor[]];

  if (following) {
    // Nobody looks in between: the end of this block and the beginning of the next are one function.
    const [after, ...projected] = runStage({
      ...common, key: `between|${model.key}`, tensors: [x, z, ...nextRotation], weights: joined(weights.output, following), requests: NOTHING,
      body: ([x, z, ...rotation], [w, next], at) => {
        const after = blockOutput(x!, z!, w, config, at);
        return [after, ...project(after, rotation, next, at)];
      },
    }).out; // biome-ignore format: a call a line
    return { x: after!, projected, names, activations, reduced };
  }
  const outputRequests = asked.of(prefix, only(OUTPUT_NAMES), slice, starts);
  const after = runStage({
    ...common, key: `output|${model.key}`, tensors: [x, z], weights: weights.output, requests: outputRequests,
    body: ([x, z], w, at) => [blockOutput(x!, z!, w, config, at)],
  }); // biome-ignore format: a call a line
  take(outputRequests, after.activations);
  return { x: after.out[0]!, projected: undefined, names, activations, reduced };
}

/** The next block's input weights, if neither block is looked into and both are held as they are used. */
function nextUntouched(
  model: Model,
  plan: Plan,
  layer: number,
  asked: Asked,
  weights: SplitWeights,
): Flat<BlockWeights> | undefined {
  const next = model.weights.blocks[layer + 1];
  if (
    !next ||
    layer + 1 >= plan.stopLayer ||
    !asked.captured ||
    !hasNative() ||
    asked.touches(layer) ||
    asked.touches(layer + 1)
  )
    return undefined;
  // Widened weights live for their own layer only.
  return weights === splitWeights(model.weights.blocks[layer]!) ? splitWeights(next).input : undefined;
}

/** How far a single row's single new token reaches into a long cache; undefined where another way serves better. */
function longReach(model: Model, plan: Plan, layer: number, asked: Asked): Reach | undefined {
  const { cache } = plan;
  if (!cache?.native || plan.rows > 1 || plan.total > 1 || asked.reductions.length > 0) return undefined;
  // Local attention reads few rows of a long cache already.
  if (localWindow(model.config, layer) !== undefined) return undefined;
  const { layout } = cache.native[layer]![0]!;
  if (!plan.reaches.has(layout))
    plan.reaches.set(layout, describeReach(plan.starts[0]!, layout, cache.capacity, model));
  return plan.reaches.get(layout);
}

function runAttention(
  model: Model,
  input: ForwardInput,
  plan: Plan,
  layer: number,
  c: number,
  [q, k, v]: [Tensor, Tensor, Tensor],
  requests: Requests,
  asked: Asked,
): { out: Tensor[]; activations: Tensor[] } {
  const { config } = model;
  const { n_heads: H, n_key_value_heads: G, d_head: D } = config;
  const chunk = plan.chunks[c]!;
  const { rows } = plan;
  const extent = { rows, tokens: chunk.tokens };
  const cache = plan.cache ?? plan.scratch;
  const local = localWindow(config, layer);
  const windows = input.windows?.[layer];
  if (cache) {
    const cacheLayer = plan.cache ? layer : 0;
    const part = { q, k, v, tokens: chunk.tokens, real: chunk.real, starts: chunkStarts(chunk, plan) };
    const streamingReductions = asked.reductions.length > 0 && cache.streams(cacheLayer);
    if (
      hasNative() &&
      asked.captured &&
      requests.hooks.size === 0 &&
      !asked.touchesPattern(layer) &&
      !streamingReductions
    ) {
      const { layout } = cache.native![cacheLayer]![0]!;
      const reaching: Reaching = { needPositions: asked.reductions.length > 0, local, windows };
      const key = `${c} ${layout.key} ${JSON.stringify(reaching)}`;
      const access = plan.accesses.get(key) ?? describeAccess(part, layout, config, reaching);
      plan.accesses.set(key, access);
      return { out: attendCached(part, cache, cacheLayer, access, config, asked.reductions), activations: [] };
    }
    const made = collectingAt(extent, requests.wanted, requests.affine, requests.hooks);
    return {
      out: attendPast(part, cache, cacheLayer, config, asked.reductions, { local, windows }, made.at),
      activations: made.collected(),
    };
  }
  const index = Array.from({ length: chunk.tokens }, (_, t) => t);
  const position = tf.tensor2d(index, [chunk.tokens, 1], "float32");
  const valid = tf.tensor2d(
    index.map((t) => (t < chunk.real ? 1 : 0)),
    [chunk.tokens, 1],
    "float32",
  );
  const keyMask =
    input.keyMask &&
    tf
      .tensor(input.keyMask.map((row) => index.map((t) => ((row[t] ?? 0) > 0 ? 0 : -1e9))))
      .reshape([rows, 1, 1, chunk.tokens]);
  return runStage({
    key: `attention|${model.key}|${asked.reductions.map((r) => r.name).join("+")}|${JSON.stringify(windows ?? [])}|${local}|${keyMask ? "keys" : ""}`,
    extent, tensors: [q, k, v, position, valid, ...(keyMask ? [keyMask] : [])], weights: EMPTY, requests, xla: hasNative(), captured: asked.captured,
    body: ([q, k, v, position, valid, keys], _, at) => {
      const view = (t: Tensor, heads: number): Tensor => tf.reshape(t, [rows, chunk.tokens, heads, D]);
      const [z, ...reduced] = attendAmong({ q: view(q!, H), k: view(k!, G), v: view(v!, G), position: position!, valid: valid!, keyMask: keys, windows, local }, asked.reductions, config, at);
      return [tf.reshape(z, [rows * chunk.tokens, H * D]), ...reduced];
    },
  }); // biome-ignore format: a call a line
}
