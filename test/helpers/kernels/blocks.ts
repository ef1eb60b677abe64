import type { Tensor } from "@tensorflow/tfjs";
import { Random } from "../../../backend/common/random.ts";
import type { CacheKind } from "../../../backend/common/words.ts";
import type { BlocksCall } from "../../../backend/kernels/blocks.ts";
import { Page } from "../../../backend/kernels/pages.ts";
import { type HeadPlaces, placesOf, type Slots, slotsOf } from "../../../backend/kernels/places.ts";
import { localWindow, type ModelConfig } from "../../../backend/models/config.ts";
import { kernelBlocks } from "../../../backend/models/forward/kernel-blocks.ts";
import type { Model } from "../../../backend/models/model.ts";
import { UNHOOKED } from "../../../backend/models/transformer/hook.ts";
import { wholeBlock } from "../../../backend/models/transformer/whole-block.ts";
import { BLOCK_PARTS, type BlockWeights } from "../../../backend/models/weights/block-parts.ts";
import { tf } from "../../../backend/runtime/tf.ts";

/** Tokens that go through a block of a model: as many of each row. */
export interface Tokens {
  /** Residual stream before the block [rows · length, d_model]. */
  x: Tensor;
  rows: number;
  length: number;
}

/** Seeded streams. */
export function randomTokensOf(config: ModelConfig, rows: number, length: number, seed = 5): Tokens {
  const values = new Float32Array(rows * length * config.d_model);
  new Random(seed).fillNormal(values);
  return { x: tf.tensor2d(values, [rows * length, config.d_model]), rows, length };
}

/** A model's weights of a block with seeded biases where it has none. */
export function withBiases({ config, weights }: Model, layer: number): BlockWeights {
  const random = new Random(layer + 11);
  const block: Record<string, unknown> = { ...weights.blocks[layer] };
  for (const { field, kind, shape } of BLOCK_PARTS) {
    if (kind !== "bias" || block[field] || !block[field.replace("Bias", "")]) continue;
    const values = new Float32Array(shape(config, layer)[0]!);
    random.fillNormal(values);
    block[field] = tf.mul(tf.tensor1d(values), 0.3);
  }
  return block as unknown as BlockWeights;
}

/** The engine's own block over all tokens at once [rows · length, d_model]. */
export function plainBlock(model: Model, layer: number, { x, rows, length }: Tokens, weights: BlockWeights): Tensor {
  const { config } = model;
  const all = Array.from({ length: rows * length }, (_, i) => i % length);
  const local = localWindow(config, layer);
  return wholeBlock(
    x,
    rotationAt(model, layer, all),
    { weights, config, hook: UNHOOKED },
    { rows, positions: length, local },
  );
}

/** Cosines and sines of a layer at positions [positions, 1, rotary_dim]. */
export function rotationAt(model: Model, layer: number, positions: readonly number[]) {
  const tables = model.rotaryUpTo(Math.max(...positions) + 1, localWindow(model.config, layer) !== undefined);
  if (!tables) return undefined;
  const rows = (table: Tensor) => tf.expandDims(tf.gather(table, tf.tensor1d([...positions], "int32")), 1);
  return { cos: rows(tables.cos), sin: rows(tables.sin) };
}

/** The way of tokens through the kernel. */
export interface Way {
  /** Tokens of a row in each call, in turn; they add up to all. */
  steps: readonly number[];
  kind?: CacheKind;
  activations?: "exact" | "8bit";
  /** Sees the pattern of each call [rows · tokens, heads, positions]. */
  onPattern?: (pattern: Tensor) => void;
  /** Puts other parts in a call. */
  change?: (call: BlocksCall) => BlocksCall;
}

/** The same block as one kernel, some tokens of each row at a time, over pages of its own [rows · length, d_model]. */
export function throughKernel(model: Model, layer: number, tokens: Tokens, weights: BlockWeights, way: Way): Tensor {
  const { x, rows, length } = tokens;
  const { n_key_value_heads: G, d_head, d_model } = model.config;
  const block = kernelBlocks([weights], model.config, layer);
  if (!block) throw new Error("the kernel should take this block");
  const pages = Array.from({ length: rows }, () =>
    Array.from({ length: G }, () => Page.make(way.kind ?? "f32", d_head, length)),
  );
  const all = tf.reshape(x, [rows, length, d_model]);
  let done = 0;
  try {
    const parts = way.steps.map((count) => {
      const now = tf.reshape(tf.slice(all, [0, done, 0], [rows, count, d_model]), [rows * count, d_model]);
      const call = { x: now, ...placed(model, layer, pages, { done, count }), activations: way.activations };
      done += count;
      const changed = way.change?.(call) ?? call;
      if (!way.onPattern) return tf.reshape(block.run(changed), [rows, count, d_model]);
      const { x: behind, patterns } = block.runWithPatterns(changed);
      way.onPattern(patterns[0]!);
      return tf.reshape(behind, [rows, count, d_model]);
    });
    return tf.reshape(tf.concat(parts, 1), [rows * length, d_model]);
  } finally {
    for (const page of pages.flat()) page.release();
  }
}

/** The patterns of a block's attention over all tokens at once [rows, heads, length, length]. */
export function plainPattern(model: Model, layer: number, { x, rows, length }: Tokens, weights: BlockWeights): Tensor {
  const { config } = model;
  const all = Array.from({ length: rows * length }, (_, i) => i % length);
  let pattern: Tensor | undefined;
  const hook = Object.assign(
    (name: string, activation: Tensor) => {
      if (name === "attn.hook_pattern") pattern = activation;
      return activation;
    },
    { changes: () => false, wants: (name: string) => name === "attn.hook_pattern" },
  );
  const local = localWindow(config, layer);
  wholeBlock(x, rotationAt(model, layer, all), { weights, config, hook }, { rows, positions: length, local });
  return pattern!;
}

/** Positions, rotation and places of the next tokens of each row. @param pages by row and KV head */
function placed(
  model: Model,
  layer: number,
  pages: readonly (readonly Page[])[],
  { done, count }: { done: number; count: number },
): Omit<BlocksCall, "x"> {
  const { config } = model;
  const positions = pages.map(() => Array.from({ length: count }, (_, t) => done + t));
  const local = localWindow(config, layer);
  const held = (page: Page): HeadPlaces => ({ spans: [{ page, row: 0, position: 0, count: done + count }], local });
  const slots = (g: number): Slots[] => pages.map((own, r) => ({ page: own[g]!, row: done, token: r * count, count }));
  const ofLayers = <T>(own: T, other: T): T[] =>
    Array.from({ length: config.n_layers }, (_, l) => (l === layer ? own : other));
  const heads = pages[0]!;
  const rotation = rotationAt(model, layer, positions.flat());
  return {
    ...{ rotation, localRotation: rotation },
    positions: tf.tensor2d(positions, [pages.length, count], "int32"),
    layers: tf.tensor1d([layer], "int32"),
    ...placesOf(
      ofLayers(
        pages.map((own) => own.map(held)),
        pages.map((own) => own.map(() => ({ spans: [] }))),
      ),
    ),
    slots: slotsOf(
      ofLayers(
        heads.map((_, g) => slots(g)),
        heads.map(() => []),
      ),
      pages.length * count,
    ),
  };
}
