import type { Tensor } from "@tensorflow/tfjs";
import { hasNative } from "../../runtime/ops.ts";
import { tf } from "../../runtime/tf.ts";
import { attendCached } from "../cache/cached-attention.ts";
import { longAttention, longStore } from "../cache/long-attention.ts";
import type { AttentionStore, StagedAttention } from "../cache/store.ts";
import { localWindow } from "../config.ts";
import { attendPrefill, joinReduced } from "../transformer/attention.ts";
import {
  ATTENTION_NAMES,
  attentionInput,
  type Block,
  blockOutput,
  INPUT_NAMES,
  OUTPUT_NAMES,
} from "../transformer/block.ts";
import type { Hook } from "../transformer/hook.ts";
import { blockHook, blockHookNames } from "../transformer/hook-points.ts";
import type { BlockWeights } from "../weights/block-parts.ts";
import { type Flat, flattenStages, widenBlock } from "../weights/weights.ts";
import { chunkStarts } from "./chunks.ts";
import type { ForwardPass, Stream } from "./pass.ts";
import type { Chunk } from "./plan.ts";
import type { StagePoints } from "./requests.ts";
import { NO_WEIGHTS } from "./stage.ts";

/** Queries [rows * tokens, heads, d_head], keys and values [rows * tokens, kv heads, d_head] of a chunk. */
type Projections = [Tensor, Tensor, Tensor];

/** A block's results for a chunk: the stream behind it, and what the reductions gave. */
type BlockResult = Pick<Stream, "x" | "projected"> & { reduced: Tensor[] };

/** One layer of a forward: its block over all chunks. */
export class LayerPass {
  readonly #pass: ForwardPass;
  readonly #layer: number;

  constructor(pass: ForwardPass, layer: number) {
    this.#pass = pass;
    this.#layer = layer;
  }

  /** Runs the block on every chunk; frees the streams before it. */
  run(streams: readonly Stream[]): Stream[] {
    const { model, plan, requests, reductions } = this.#pass;
    const narrow = model.weights.blocks[this.#layer]!;
    // Widened once for the whole layer: fused widening pays for few tokens only.
    const wide = plan.rows * plan.chunks[0]!.tokens > 8 ? widenBlock(narrow) : undefined;
    const weights = splitWeights(wide?.block ?? narrow);
    const results = streams.map((stream, c) => {
      const result = tf.tidy(() => this.#block(stream, plan.chunks[c]!, weights));
      tf.dispose([stream.x, ...(stream.projected ?? [])]);
      return result;
    });
    wide?.dispose();
    requests.reductions.forEach((reduction, i) => {
      const parts = results.map(({ reduced }) => reduced[i]!);
      const joined = tf.keep(joinReduced(reduction, parts));
      for (const part of parts) if (part !== joined) part.dispose();
      reductions.get(reduction.name)!.push(joined);
    });
    return results.map(({ x, projected }, c) => ({ x, projected, rotation: streams[c]!.rotation }));
  }

  #block(stream: Stream, chunk: Chunk, weights: SplitWeights): BlockResult {
    const start = { ...stream, x: this.#start(stream.x, chunk) };
    const [q, k, v] = (stream.projected ?? this.#project(start, chunk, weights.input)) as Projections;
    const next = this.#nextUntouched(weights);
    const store = next && this.#longStore(k, v);
    if (next && store) {
      // One token over many: attention is worth compiling, and then it joins the rest.
      return {
        ...this.#throughNext(start, chunk, joined(weights.output, next), longAttention(q, store, this.#pass.model)),
        reduced: [],
      };
    }
    const [z, ...reduced] = this.#attention([q, k, v], chunk) as [Tensor, ...Tensor[]];
    if (!next) return { x: this.#output(start.x, z, chunk, weights.output), reduced };
    const attention = { key: "between", tensors: [z], z: ([z]: Tensor[]) => z! };
    return { ...this.#throughNext(start, chunk, joined(weights.output, next), attention), reduced };
  }

  #points(names: readonly string[]): StagePoints {
    const own = blockHookNames(this.#pass.model.config);
    return { prefix: blockHook(this.#layer, ""), names: names.filter((name) => own.includes(name)) };
  }

  /** The stream behind the block's first hook point. */
  #start(x: Tensor, chunk: Chunk): Tensor {
    if (!this.#pass.requests.reaches(this.#layer)) return x;
    const { hook, collect } = this.#pass.hookAt(this.#points(["hook_resid_pre"]), chunk);
    const start = hook("hook_resid_pre", x);
    collect();
    return start;
  }

  /** Queries, keys and values. */
  #project(stream: Stream, chunk: Chunk, weights: Flat<BlockWeights>): Tensor[] {
    const { model } = this.#pass;
    const { config } = model;
    const stage = {
      key: `input|${model.key}`,
      tensors: [stream.x, ...this.#rotation(stream, this.#layer)],
      weights,
      xla: hasNative(),
      body: ([x, ...rotation]: Tensor[], weights: BlockWeights, hook: Hook) =>
        project(x!, rotation, { weights, config, hook }),
    };
    return this.#pass.stage(stage, chunk, this.#points(INPUT_NAMES));
  }

  #rotation({ rotation }: Stream, layer: number): Tensor[] {
    return localWindow(this.#pass.model.config, layer) === undefined ? rotation.global : rotation.local;
  }

  /** z [rows * tokens, heads * d_head], then the reductions. */
  #attention([q, k, v]: Projections, chunk: Chunk): Tensor[] {
    const { model, input, plan, requests } = this.#pass;
    const { config } = model;
    const cache = plan.cache ?? plan.scratch;
    if (!cache) return this.#prefill([q, k, v], chunk);
    const tokens = { q, k, v, tokens: chunk.tokens, real: chunk.real, starts: chunkStarts(chunk, plan) };
    const layer = {
      cache,
      layer: plan.cache ? this.#layer : 0,
      config,
      reductions: requests.reductions,
      local: localWindow(config, this.#layer),
      windows: input.windows?.[this.#layer],
      accesses: plan.accesses,
    };
    if (requests.captured && !requests.touchesPattern(this.#layer)) return attendCached(tokens, layer);
    const { hook, collect } = this.#pass.hookAt(this.#points(ATTENTION_NAMES), chunk);
    const out = attendCached(tokens, layer, hook);
    collect();
    return out;
  }

  /** Attention among the tokens of a chunk that is the whole input. */
  #prefill([q, k, v]: Projections, chunk: Chunk): Tensor[] {
    const { model, input, plan, requests } = this.#pass;
    const { config } = model;
    const { n_heads: H, n_key_value_heads: G, d_head: D } = config;
    const { rows } = plan;
    const { tokens, real } = chunk;
    const { reductions } = requests;
    const local = localWindow(config, this.#layer);
    const windows = input.windows?.[this.#layer];
    const column = (value: (t: number) => number): Tensor =>
      tf.tensor2d(
        Float32Array.from({ length: tokens }, (_, t) => value(t)),
        [tokens, 1],
      );
    const { keyMask } = input;
    const keys = keyMask?.map((row) => Array.from({ length: tokens }, (_, t) => ((row[t] ?? 0) > 0 ? 0 : -1e9)));
    const names = reductions.map((r) => r.name).join("+");
    const view = (t: Tensor, heads: number): Tensor => tf.reshape(t, [rows, tokens, heads, D]);
    const stage = {
      key: `attention|${model.key}|${names}|${JSON.stringify(windows ?? [])}|${local}|${keyMask ? "keys" : ""}`,
      tensors: [
        ...[q, k, v, column((t) => t), column((t) => (t < real ? 1 : 0))],
        ...(keys ? [tf.reshape(tf.tensor2d(keys), [rows, 1, 1, tokens])] : []),
      ],
      weights: NO_WEIGHTS,
      xla: hasNative(),
      body: ([q, k, v, position, valid, keyMask]: Tensor[], _: object, hook: Hook) => {
        const heads = { q: view(q!, H), k: view(k!, G), v: view(v!, G) };
        const prefill = { ...heads, position: position!, valid: valid!, keyMask, windows, local };
        const [z, ...reduced] = attendPrefill(prefill, reductions, config, hook);
        return [tf.reshape(z, [rows * tokens, H * D]), ...reduced];
      },
    };
    return this.#pass.stage(stage, chunk, this.#points(ATTENTION_NAMES));
  }

  /** The stream behind the block. */
  #output(x: Tensor, z: Tensor, chunk: Chunk, weights: Flat<BlockWeights>): Tensor {
    const { model } = this.#pass;
    const { config } = model;
    const stage = {
      key: `output|${model.key}`,
      tensors: [x, z],
      weights,
      xla: hasNative(),
      body: ([x, z]: Tensor[], weights: BlockWeights, hook: Hook) => [blockOutput(x!, z!, { weights, config, hook })],
    };
    return this.#pass.stage(stage, chunk, this.#points(OUTPUT_NAMES))[0]!;
  }

  /** Runs as one function, since nobody looks in between: the end of this block and the beginning of the next. */
  #throughNext(
    stream: Stream,
    chunk: Chunk,
    weights: Flat<[BlockWeights, BlockWeights]>,
    attention: StagedAttention,
  ): Pick<Stream, "x" | "projected"> {
    const { model } = this.#pass;
    const { config } = model;
    const { length: count } = attention.tensors;
    const stage = {
      key: `${attention.key}|${model.key}`,
      tensors: [stream.x, ...attention.tensors, ...this.#rotation(stream, this.#layer + 1)],
      weights,
      xla: hasNative(),
      body: ([x, ...rest]: Tensor[], [own, next]: [BlockWeights, BlockWeights], hook: Hook) => {
        const after = blockOutput(x!, attention.z(rest.slice(0, count)), { weights: own, config, hook });
        return [after, ...project(after, rest.slice(count), { weights: next, config, hook })];
      },
    };
    const [x, ...projected] = this.#pass.stage(stage, chunk) as [Tensor, ...Tensor[]];
    return { x, projected };
  }

  /** The next block's input weights, if neither block is looked into and both are held as they are used. */
  #nextUntouched(weights: SplitWeights): Flat<BlockWeights> | undefined {
    const { model, plan, requests } = this.#pass;
    const { blocks } = model.weights;
    const layer = this.#layer;
    const next = layer + 1 < plan.stopLayer ? blocks[layer + 1] : undefined;
    if (!next || !requests.captured || !hasNative() || [layer, layer + 1].some((l) => requests.reachesInto(l)))
      return undefined;
    // Widened weights live for their own layer only.
    return weights === splitWeights(blocks[layer]!) ? splitWeights(next).input : undefined;
  }

  /** The store of a single row's single new token in a long cache; undefined where another way serves better. */
  #longStore(k: Tensor, v: Tensor): AttentionStore | undefined {
    const { model, plan, requests } = this.#pass;
    const { cache, longAccesses } = plan;
    if (!cache || plan.rows > 1 || plan.total > 1 || requests.reductions.length > 0) return undefined;
    // Local attention reads few rows of a long cache already.
    if (localWindow(model.config, this.#layer) !== undefined) return undefined;
    return longStore({ k, v, position: plan.starts[0]! }, { cache, layer: this.#layer, longAccesses }, model);
  }
}

/** Queries, keys and values. @param rotation cosines and sines, or none */
function project(x: Tensor, [cos, sin]: Tensor[], block: Block): Tensor[] {
  return attentionInput(x, cos && sin ? { cos, sin } : undefined, block);
}

type SplitWeights = ReturnType<typeof flattenStages>;

const splits = new WeakMap<BlockWeights, SplitWeights>();

/** The weights of a block by stage, so that each function takes only its own. */
function splitWeights(block: BlockWeights): SplitWeights {
  const stages = splits.get(block);
  if (stages) return stages;
  const flat = flattenStages(block);
  splits.set(block, flat);
  return flat;
}

/** Two groups of weights as one. */
function joined(a: Flat<BlockWeights>, b: Flat<BlockWeights>): Flat<[BlockWeights, BlockWeights]> {
  const count = a.handles.length;
  return {
    handles: [...a.handles, ...b.handles],
    key: `${a.key} then ${b.key}`,
    packed: a.packed || b.packed,
    over: (handles, activations) => [
      a.over(handles.slice(0, count), activations),
      b.over(handles.slice(count), activations),
    ],
  };
}
