import type { Tensor } from "@tensorflow/tfjs";
import type { CacheKind } from "../../../backend/common/words.ts";
import { type AttentionCall, attend, writeRows } from "../../../backend/kernels/attend.ts";
import { hasKernels } from "../../../backend/kernels/kernels.ts";
import { Page } from "../../../backend/kernels/pages.ts";
import { placesOf, slotsOf } from "../../../backend/kernels/places.ts";
import { kernelBlocks } from "../../../backend/models/forward/kernel-blocks.ts";
import type { Model } from "../../../backend/models/model.ts";
import { attend as attendPlainly, attendPrefill } from "../../../backend/models/transformer/attention.ts";
import { attentionInput, blockOutput } from "../../../backend/models/transformer/block.ts";
import { UNHOOKED } from "../../../backend/models/transformer/hook.ts";
import type { Matrix } from "../../../backend/models/weights/matrix.ts";
import { flatten, widenBlock } from "../../../backend/models/weights/weights.ts";
import { capture } from "../../../backend/runtime/capture.ts";
import { tf } from "../../../backend/runtime/tf.ts";
import type { Bench } from "../measure.ts";
import type { Setting } from "../setting.ts";

/** A part of a token, the way of plain tensors and the kernels': milliseconds a call, means of a few. */
interface Sides {
  ours(): number;
  theirs(): number;
}

const ROUNDS = 20;

/** Products, attention and the whole of one layer, and the unembedding, of a model with the weights of its file; none without kernels. */
export function kernelRows(setting: Setting): Bench[] {
  if (!hasKernels()) return [];
  const row = (name: string, rival: string, sidesOf: (model: Model) => Sides): Bench => {
    let sides: Promise<Sides> | undefined;
    const made = (): Promise<Sides> => {
      sides ??= setting.model("q8").then(sidesOf);
      return sides;
    };
    return {
      name: `kernel: ${name}`, unit: "ms/call", rival, goal: 1,
      ours: async () => (await made()).ours(), theirs: async () => (await made()).theirs(),
    }; // biome-ignore format: one row
  };
  const products = [
    { name: "unembedding, 1 token", of: ({ weights }: Model) => product(weights.embed, 1) },
    { name: "unembedding, 1 token, 8-bit activations", of: ({ weights }: Model) => product(weights.embed, 1, "8bit") },
    { name: "unembedding, 8 tokens", of: ({ weights }: Model) => product(weights.embed, 8) },
    { name: "gate and linear, 1 token", of: ({ weights }: Model) => product(weights.blocks[0]!.mlpIn!, 1) },
  ];
  const attentions = [
    ...[256, 2048, 7900].map((rows) => ({ rows, kind: "f32" as const })),
    ...(["f16", "q8"] as const).map((kind) => ({ rows: 7900, kind })),
  ];
  const prefills = [
    ...[512, 2048, 7900].map((rows) => ({ rows, kind: "f32" as const })),
    ...(["f16", "q8", "q4"] as const).map((kind) => ({ rows: 2048, kind })),
  ];
  return [
    ...products.map(({ name, of }) => row(name, "captured, XLA, float32", of)),
    row("a whole block over 256, 1 token", "captured, XLA, float32", (model) => block(model, 256)),
    ...attentions.map(({ rows, kind }) =>
      row(`attention of a layer over ${rows}, ${kind}`, "captured, f32", (model) => attention(model, rows, kind)),
    ),
    ...prefills.map(({ rows, kind }) =>
      row(`attention of a layer's prefill of ${rows}, ${kind}`, "plain, f32", (model) => prefill(model, rows, kind)),
    ),
  ];
}

function product(matrix: Matrix, tokens: number, activations: "exact" | "8bit" = "exact"): Sides {
  const { packed } = matrix;
  if (!packed) throw new Error("the bench wants packed weights");
  const wide = matrix.dense(tf.keep(matrix.widen()));
  const x = tf.keep(tf.randomNormal([tokens, matrix.shape[1]], 0, 1, "float32", 1));
  const plain = capture((x, ...parts) => [wide.over(parts).apply(x as Tensor)], [x, ...wide.parts], {
    name: "product",
    xla: true,
  });
  return {
    ours: () => timed(() => packed.apply(x, activations)),
    theirs: () => timed(() => plain.run([x, ...wide.parts])[0]!),
  };
}

/** Rows of keys and values of a layer in pages, their places, and the same rows as tensors [KV heads · rows, d_head]. */
function held({ config }: Model, rows: number, kind: CacheKind) {
  const { n_key_value_heads: G, d_head: D } = config;
  const [keys, values] = [random([G * rows, D], 2), random([G * rows, D], 3)];
  const pages = Array.from({ length: G }, () => Page.make(kind, D, rows));
  const byHead = (x: Tensor): Tensor => tf.transpose(tf.reshape(x, [G, rows, D]), [1, 0, 2]);
  const layer = tf.keep(tf.scalar(0, "int32"));
  const slots = slotsOf([pages.map((page) => [{ page, row: 0, token: 0, count: rows }])], rows);
  writeRows({ keys: byHead(keys), values: byHead(values), layer, slots });
  const { lists, spans } = placesOf([[pages.map((page) => ({ spans: [{ page, row: 0, position: 0, count: rows }] }))]]);
  const places = {
    layer,
    lists: tf.keep(lists),
    spans: tf.keep(spans),
    positions: tf.keep(tf.tensor2d([[rows - 1]], undefined, "int32")),
  };
  const mask = tf.keep(tf.zeros([1, 1, 1, rows]));
  /** The same over plain tensors, z [1, heads · d_head]. */
  const plainly = (q: Tensor, k: Tensor, v: Tensor): Tensor => {
    const [k4, v4] = [k, v].map((t) => tf.expandDims(byHead(t), 0)) as [Tensor, Tensor];
    const { z } = attendPlainly({ q: tf.expandDims(q, 0), k: k4, v: v4, mask }, config, UNHOOKED);
    return tf.reshape(z, [1, -1]);
  };
  return { keys, values, pages, places, plainly, mask };
}

const random = (shape: number[], seed: number): Tensor => tf.keep(tf.randomNormal(shape, 0, 1, "float32", seed));

function attention(model: Model, rows: number, kind: CacheKind): Sides {
  const { n_heads: H, d_head: D, attn_scale } = model.config;
  const { keys, values, places, plainly, mask } = held(model, rows, kind);
  const q = random([1, H, D], 1);
  const call: AttentionCall = { q, ...places, scale: attn_scale };
  const plain = capture((q, k, v) => [plainly(q as Tensor, k as Tensor, v as Tensor)], [q, keys, values], {
    name: "attention",
    xla: true,
    constants: [mask],
  });
  return {
    ours: () => timed(() => attend(call)),
    theirs: () => timed(() => plain.run([q, keys, values])[0]!),
  };
}

/** Attention of all tokens of a prompt among themselves; the rival has no cache and no mask but causality. */
function prefill(model: Model, rows: number, kind: CacheKind): Sides {
  const { n_heads: H, n_key_value_heads: G, d_head: D, attn_scale } = model.config;
  const { keys, values, places } = held(model, rows, kind);
  const q = random([rows, H, D], 1);
  const count = tf.keep(tf.range(0, rows));
  const position = tf.keep(tf.reshape(count, [rows, 1]));
  const positions = tf.keep(tf.cast(tf.reshape(count, [1, rows]), "int32"));
  const call: AttentionCall = { q, ...places, positions, scale: attn_scale };
  const byToken = (x: Tensor): Tensor => tf.keep(tf.transpose(tf.reshape(x, [1, G, rows, D]), [0, 2, 1, 3]));
  const inputs = { q: tf.reshape(q, [1, rows, H, D]), k: byToken(keys), v: byToken(values), position, valid: position };
  const times = Math.max(1, Math.round(2048 / rows));
  const plain = (): Tensor => tf.tidy(() => attendPrefill(inputs, [], model.config, UNHOOKED)[0]);
  return { ours: () => timed(() => attend(call), times), theirs: () => timed(plain, times) };
}

/** The first block, of one token over what is held; its own keys and values are written by ours alone. */
function block(model: Model, rows: number): Sides {
  const { config, weights } = model;
  const { keys, values, pages, places, plainly, mask } = held(model, rows, "f32");
  const x = random([1, config.d_model], 1);
  const { cos, sin } = model.rotaryUpTo(rows)!;
  const rotation = [cos, sin].map((t) => tf.keep(tf.reshape(tf.slice(t, [rows - 1, 0], [1, -1]), [1, 1, -1])));
  const own = weights.blocks[0]!;
  const ours = kernelBlocks([own], config, 0)!;
  const slots = tf.keep(slotsOf([pages.map((page) => [{ page, row: rows - 1, token: 0, count: 1 }])], 1));
  const layers = tf.keep(tf.tensor1d([0], "int32"));
  const call = { x, rotation: { cos: rotation[0]!, sin: rotation[1]! }, ...places, slots, layers };
  const wide = flatten((widenBlock(own) ?? { block: own }).block);
  const inputs = [x, ...rotation, keys, values, ...wide.handles];
  const plain = capture(
    (...args) => {
      const [x, cos, sin, k, v] = args as [Tensor, Tensor, Tensor, Tensor, Tensor];
      const parts = { weights: wide.over(args.slice(5)), config, hook: UNHOOKED };
      const [q] = attentionInput(x, { cos, sin }, parts);
      return [blockOutput(x, plainly(q, k, v), parts)];
    },
    inputs,
    { name: "block", xla: true, constants: [mask] },
  );
  return { ours: () => timed(() => ours.run(call)), theirs: () => timed(() => plain.run(inputs)[0]!) };
}

/** Mean milliseconds of a call, its result read once at the end. */
function timed(run: () => Tensor, rounds = ROUNDS): number {
  const began = performance.now();
  for (let i = 0; i < rounds; i++) {
    const result = run();
    if (i === rounds - 1) result.dataSync();
    result.dispose();
  }
  return (performance.now() - began) / rounds;
}
