import type { Tensor } from "@tensorflow/tfjs";
import type { RotationTables } from "../../kernels/blocks.ts";
import { hasNative } from "../../runtime/ops.ts";
import { tf } from "../../runtime/tf.ts";
import { attendCached, patternByHead } from "../cache/attend-cached.ts";
import type { CachedLayer } from "../cache/cached-layer.ts";
import type { Places } from "../cache/places.ts";
import { type Projections, PromptAttention } from "../cache/prompt-attention.ts";
import type { AttentionReader } from "../cache/reader.ts";
import { headShape, localWindow } from "../config.ts";
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
import { recurrenceOf } from "../transformer/mixers/index.ts";
import type { RecurrentMixer } from "../transformer/mixers/mixer.ts";
import { RECURRENT_NAMES, recur } from "../transformer/mixers/recur.ts";
import { byRow } from "../transformer/whole-block.ts";
import type { BlockWeights } from "../weights/block-parts.ts";
import { type Flat, flattenStages, widenBlock } from "../weights/weights.ts";
import { kernelBlocks, takesWeights } from "./kernel-blocks.ts";
import type { ForwardPass, Stream } from "./pass.ts";
import type { Chunk } from "./plan.ts";
import type { StagePoints } from "./requests.ts";

/** Most tokens, of all rows together, that go through a block as one kernel: beyond, products of widened weights cost less. */
const FEW = 32;

/** A block's results for a chunk: the stream behind it, and what the reductions gave. */
type BlockResult = Pick<Stream, "x"> & { reduced: Tensor[] };

/** One layer of a forward, or several that one kernel takes together: their blocks over all chunks. */
export class LayerPass {
  readonly #pass: ForwardPass;
  readonly #layer: number;
  /** Layers from this one on that go together. */
  readonly count: number;
  /** False where a survey has found that all is read. */
  #reads = true;

  constructor(pass: ForwardPass, layer: number) {
    this.#pass = pass;
    this.#layer = layer;
    this.count = this.#togetherFrom(layer);
  }

  /** Runs the blocks on every chunk; frees the streams before them. */
  run(streams: readonly Stream[]): Stream[] {
    const { model, plan, requests, reductions } = this.#pass;
    const narrow = model.weights.blocks[this.#layer]!;
    // Widened once for the whole layer: narrow products pay for few tokens only.
    const wide = widenBlock(narrow, plan.rows * plan.chunks[0]!.tokens);
    const weights = splitWeights(wide?.block ?? narrow);
    const results = this.#blocks(streams, weights);
    wide?.dispose();
    requests.reductions.forEach((reduction, i) => {
      const parts = results.map(({ reduced }) => reduced[i]!);
      const joined = tf.keep(joinReduced(reduction, parts));
      for (const part of parts) if (part !== joined) part.dispose();
      reductions.get(reduction.name)!.push(joined);
    });
    return results.map(({ x }, c) => ({ x, rotation: streams[c]!.rotation }));
  }

  /** The block on every chunk; frees the streams before it. */
  #blocks(streams: readonly Stream[], weights: SplitWeights): BlockResult[] {
    const { plan } = this.#pass;
    const reader = this.#readerOf(this.#layer);
    if (plan.rows === 1 && reader?.survey) return this.#surveyed(streams, weights);
    return streams.map((stream, c) => {
      const result = tf.tidy(() => this.#block(stream, plan.chunks[c]!, weights));
      stream.x.dispose();
      return result;
    });
  }

  #block(stream: Stream, chunk: Chunk, weights: SplitWeights): BlockResult {
    const x = this.#start(stream.x, chunk);
    const recurrence = recurrenceOf(this.#pass.model.config, this.#layer);
    if (recurrence) {
      const z = this.#recur(x, recurrence, chunk, weights.input);
      return { x: this.#output(x, z, chunk, weights.output), reduced: [] };
    }
    const whole = this.#whole({ ...stream, x }, chunk);
    if (whole) return { x: whole, reduced: [] };
    return this.#behind(x, this.#project({ ...stream, x }, chunk, weights.input), chunk, weights);
  }

  /** Attention and what follows it. */
  #behind(x: Tensor, projections: Projections, chunk: Chunk, weights: SplitWeights): BlockResult {
    const [z, ...reduced] = this.#attention(projections, chunk, weights.attention) as [Tensor, ...Tensor[]];
    return { x: this.#output(x, z, chunk, weights.output), reduced };
  }

  /** The block where a reader sees what all chunks are to attend with before the first does. */
  #surveyed(streams: readonly Stream[], weights: SplitWeights): BlockResult[] {
    const { plan, reader } = this.#pass;
    const begun = streams.map((stream, c) => {
      const chunk = plan.chunks[c]!;
      const own = tf.tidy(() => {
        const x = this.#start(stream.x, chunk);
        return { x, ...this.#project({ ...stream, x }, chunk, weights.input) };
      });
      if (own.x !== stream.x) stream.x.dispose();
      return own;
    });
    const chunks = begun.map((projections, c) => ({ ...projections, real: plan.chunks[c]!.real }));
    this.#reads = tf.tidy(() => reader!.survey!(new PromptAttention(this.#layer, plan.cache!, chunks)));
    return begun.map(({ x, ...projections }, c) => {
      const chunk = plan.chunks[c]!;
      const result = tf.tidy(() => {
        const whole = this.#whole({ ...streams[c]!, x }, chunk);
        return whole ? { x: whole, reduced: [] } : this.#behind(x, projections, chunk, weights);
      });
      tf.dispose([x, ...Object.values(projections)]);
      return result;
    });
  }

  /** The reader, where it chooses in a layer as far as is known. */
  #readerOf(layer: number): AttentionReader | undefined {
    const { plan, reader } = this.#pass;
    const read = layer !== this.#layer || this.#reads;
    return plan.cache && read && reader?.reaches(layer) ? reader : undefined;
  }

  #placesOf(chunk: Chunk): Places {
    const { plan } = this.#pass;
    return plan.places[plan.chunks.indexOf(chunk)]!;
  }

  /** A layer's number among those of the places. */
  #indexOf(layer: number): number {
    const { plan } = this.#pass;
    return plan.indices[layer - plan.startLayer]!;
  }

  #points(names: readonly string[], layer = this.#layer): StagePoints {
    const own = blockHookNames(this.#pass.model.config, layer);
    return { prefix: blockHook(layer, ""), names: names.filter((name) => own.includes(name)) };
  }

  /** The stream behind the block's first hook point. */
  #start(x: Tensor, chunk: Chunk): Tensor {
    if (!this.#pass.requests.reaches(this.#layer)) return x;
    const { hook, collect } = this.#pass.hookAt(this.#points(["hook_resid_pre"]), chunk);
    const start = hook("hook_resid_pre", x);
    collect();
    return start;
  }

  /** Layers from one on whose blocks one kernel takes together: with requests of one kind, and none at the streams between them. */
  #togetherFrom(first: number): number {
    const { plan, requests } = this.#pass;
    const [chunk] = plan.chunks;
    const look = plan.chunks.length === 1 ? this.#wholly(first, chunk!) : undefined;
    let next = first + 1;
    while (look && next < plan.stopLayer && !requests.looksBefore(next) && this.#wholly(next, chunk!) === look) next++;
    return next - first;
  }

  /** The look at a block's attention by which it goes through the kernel; undefined where the plain path has to serve. */
  #wholly(layer: number, chunk: Chunk): "nothing" | "pattern" | undefined {
    const { model, plan, requests } = this.#pass;
    const cache = plan.cache ?? plan.scratch;
    if (plan.rows * chunk.tokens > FEW || !cache?.storage.attend || requests.plain) return undefined;
    if (requests.reductions.length > 0 || this.#placesOf(chunk).late || this.#readerOf(layer)) return undefined;
    const look = requests.looksInto(layer);
    const takes = look !== "anything" && takesWeights(model.weights.blocks[layer]!, model.config);
    return takes ? look : undefined;
  }

  /** The stream behind the blocks by one kernel: of a few tokens over a cache, where at most the patterns are looked at in between. */
  #whole(stream: Stream, chunk: Chunk): Tensor | undefined {
    const { model, plan, precision: activations } = this.#pass;
    const look = this.#wholly(this.#layer, chunk);
    if (!look) return undefined;
    const layers = Array.from({ length: this.count }, (_, i) => this.#layer + i);
    const blocks = kernelBlocks(
      model.weights.blocks.slice(this.#layer, this.#layer + this.count),
      model.config,
      this.#layer,
    )!;
    const places = this.#placesOf(chunk);
    const [rotation, localRotation] = [stream.rotation.global, stream.rotation.local].map(tablesOf);
    const call = {
      ...{ x: stream.x, rotation, localRotation, activations },
      ...places.tables,
      layers: places.layersOf(layers.map((layer) => this.#indexOf(layer))),
    };
    if (look === "nothing") return blocks.run(call);
    const { x, patterns } = blocks.runWithPatterns(call);
    patterns.forEach((pattern, i) => {
      const { hook, collect } = this.#pass.hookAt(this.#points(ATTENTION_NAMES, layers[i]), chunk);
      hook("attn.hook_pattern", patternByHead(pattern, plan.rows));
      collect();
    });
    return x;
  }

  /** z [rows * tokens, heads * d_head] of a recurrent layer. */
  #recur(x: Tensor, mixer: RecurrentMixer, chunk: Chunk, weights: Flat<BlockWeights>): Tensor {
    const { model, plan } = this.#pass;
    const { config } = model;
    const rows = { rows: plan.rows, positions: chunk.tokens };
    const stage = {
      key: `recurrence|${mixer.name}|${model.key}`,
      tensors: [x],
      weights,
      xla: hasNative(),
      body: ([x]: Tensor[], weights: BlockWeights, hook: Hook) => [recur(x!, mixer, { weights, config, hook }, rows)],
    };
    return this.#pass.stage(stage, chunk, this.#points(RECURRENT_NAMES))[0]!;
  }

  /** Queries, keys and values. */
  #project(stream: Stream, chunk: Chunk, weights: Flat<BlockWeights>): Projections {
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
    const [q, k, v] = this.#pass.stage(stage, chunk, this.#points(INPUT_NAMES)) as [Tensor, Tensor, Tensor];
    return { q, k, v };
  }

  #rotation({ rotation }: Stream, layer: number): Tensor[] {
    return localWindow(this.#pass.model.config, layer) === undefined ? rotation.global : rotation.local;
  }

  /** z [rows * tokens, heads * d_head], then the reductions. */
  #attention(projections: Projections, chunk: Chunk, weights: Flat<BlockWeights>): Tensor[] {
    const { plan, requests } = this.#pass;
    const cached = this.#cached(chunk);
    const closeness = requests.lookAtAttention(this.#layer);
    const looks = closeness !== "nothing" || requests.reductions.length > 0;
    // A whole input is in its own tensors already, for whoever looks.
    const whole = !plan.cache && plan.chunks.length === 1;
    if (!cached || (whole && looks)) return this.#prefill(projections, chunk, weights);
    if (closeness === "nothing") return attendCached(projections, cached);
    const { hook, collect } = this.#pass.hookAt(this.#points(ATTENTION_NAMES), chunk);
    const out = attendCached(projections, cached, { closeness, hook });
    collect();
    return out;
  }

  /** The layer's part of the cache, or of the buffers that long inputs pass through. */
  #cached(chunk: Chunk): CachedLayer | undefined {
    const { model, plan, requests } = this.#pass;
    const cache = plan.cache ?? plan.scratch;
    return (
      cache && {
        cache,
        index: this.#indexOf(this.#layer),
        places: this.#placesOf(chunk),
        config: model.config,
        extra: model.weights.blocks[this.#layer],
        reductions: requests.reductions,
        reader: this.#readerOf(this.#layer),
      }
    );
  }

  /** Attention among the tokens of a chunk that is the whole input. */
  #prefill({ q, k, v }: Projections, chunk: Chunk, weights: Flat<BlockWeights>): Tensor[] {
    const { model, input, plan, requests } = this.#pass;
    const { config } = model;
    const { queries: H, valueWidth } = headShape(config, this.#layer);
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
    const stage = {
      key: `attention|${model.key}|${names}|${JSON.stringify(windows ?? [])}|${local}|${keyMask ? "keys" : ""}`,
      tensors: [
        ...[q, k, v, column((t) => t), column((t) => (t < real ? 1 : 0))],
        ...(keys ? [tf.reshape(tf.tensor2d(keys), [rows, 1, 1, tokens])] : []),
      ],
      weights,
      xla: hasNative(),
      body: ([q, k, v, position, valid, keyMask]: Tensor[], extra: BlockWeights, hook: Hook) => {
        const heads = { q: byRow(q!, rows), k: byRow(k!, rows), v: byRow(v!, rows) };
        const prefill = { ...heads, position: position!, valid: valid!, keyMask, windows, local, extra };
        const [z, ...reduced] = attendPrefill(prefill, reductions, config, hook);
        return [tf.reshape(z, [rows * tokens, H * valueWidth]), ...reduced];
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
}

function tablesOf([cos, sin]: Tensor[]): RotationTables | undefined {
  return cos && sin ? { cos, sin } : undefined;
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
