import type { Tensor } from "@tensorflow/tfjs";
import { Random } from "../../../backend/common/random.ts";
import { Page } from "../../../backend/kernels/pages.ts";
import { type HeadPlaces, placesOf, type Slots, slotsOf } from "../../../backend/kernels/places.ts";
import { localWindow, type ModelConfig } from "../../../backend/models/config.ts";
import { kernelBlock } from "../../../backend/models/forward/kernel-block.ts";
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

/** How tokens go through the kernel. */
export interface Way {
  /** Tokens of a row in each call, in turn; they add up to all. */
  steps: readonly number[];
  kind?: Page["kind"];
  activations?: "exact" | "8bit";
}

/** The same block as one kernel, some tokens of each row at a time, over pages of its own [rows · length, d_model]. */
export function throughKernel(model: Model, layer: number, tokens: Tokens, weights: BlockWeights, way: Way): Tensor {
  const { x, rows, length } = tokens;
  const { config } = model;
  const { n_layers, n_key_value_heads: G, d_head, d_model } = config;
  const block = kernelBlock(weights, config);
  if (!block) throw new Error("the kernel should take this block");
  const pages = Array.from({ length: rows * G }, () => Page.make(way.kind ?? "f32", d_head, length));
  const local = localWindow(config, layer);
  const parts: Tensor[] = [];
  let done = 0;
  for (const count of way.steps) {
    const at = Array.from({ length: count }, (_, t) => done + t);
    const held = (r: number): HeadPlaces[] =>
      Array.from({ length: G }, (_, g) => ({
        spans: [{ page: pages[r * G + g]!, row: 0, position: 0, count: done + count }],
        local,
      }));
    const layers = Array.from({ length: n_layers }, (_, l) =>
      Array.from({ length: rows }, (_, r) => (l === layer ? held(r) : nothing(G))),
    );
    const slots = Array.from({ length: n_layers }, (_, l) =>
      Array.from({ length: G }, (_, g): Slots[] =>
        l === layer
          ? Array.from({ length: rows }, (_, r) => ({ page: pages[r * G + g]!, row: done, token: r * count, count }))
          : [],
      ),
    );
    const now = tf.slice(tf.reshape(x, [rows, length, d_model]), [0, done, 0], [rows, count, d_model]);
    const y = block.run({
      x: tf.reshape(now, [rows * count, d_model]),
      rotation: rotationAt(model, layer, Array.from({ length: rows }, () => at).flat()),
      positions: tf.tensor2d(
        Array.from({ length: rows }, () => at),
        [rows, count],
        "int32",
      ),
      layer: tf.scalar(layer, "int32"),
      ...placesOf(layers),
      slots: slotsOf(slots, rows * count),
      activations: way.activations,
    });
    parts.push(tf.reshape(y, [rows, count, d_model]));
    done += count;
  }
  for (const page of pages) page.release();
  return tf.reshape(tf.concat(parts, 1), [rows * length, d_model]);
}

const nothing = (heads: number): HeadPlaces[] => Array.from({ length: heads }, () => ({ spans: [] }));
