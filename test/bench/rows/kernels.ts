import type { Tensor } from "@tensorflow/tfjs";
import { type AttentionCall, attend, writeRows } from "../../../backend/kernels/attend.ts";
import { hasKernels } from "../../../backend/kernels/kernels.ts";
import { type CacheKind, Page } from "../../../backend/kernels/pages.ts";
import { placesOf, slotsOf } from "../../../backend/kernels/places.ts";
import type { Model } from "../../../backend/models/model.ts";
import { attendHeads } from "../../../backend/models/transformer/attention.ts";
import type { Matrix } from "../../../backend/models/weights/matrix.ts";
import { capture } from "../../../backend/runtime/capture.ts";
import { tf } from "../../../backend/runtime/tf.ts";
import type { Bench } from "../measure.ts";
import type { Setting } from "../setting.ts";

/** A part of a token, today's way and the kernels': milliseconds a call, means of a few. */
interface Sides {
  ours(): number;
  theirs(): number;
}

const ROUNDS = 20;

/** Products and attention of one layer or the unembedding, of a model with the weights of its file; none without kernels. */
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
  return [
    ...products.map(({ name, of }) => row(name, "captured, XLA, float32", of)),
    ...attentions.map(({ rows, kind }) =>
      row(`attention of a layer over ${rows}, ${kind}`, "captured, f32", (model) => attention(model, rows, kind)),
    ),
  ];
}

function product(matrix: Matrix, tokens: number, activations: "exact" | "8bit" = "exact"): Sides {
  const { packed } = matrix;
  if (!packed) throw new Error("the bench wants packed weights");
  const wide = matrix.dense(tf.keep(matrix.widen()));
  const x = tf.keep(tf.randomNormal([tokens, matrix.shape[1]], 0, 1, "float32", 1));
  const today = capture((x, ...parts) => [wide.over(parts).apply(x as Tensor)], [x, ...wide.parts], {
    name: "product",
    xla: true,
  });
  return {
    ours: () => timed(() => packed.apply(x, activations)),
    theirs: () => timed(() => today.run([x, ...wide.parts])[0]!),
  };
}

function attention(model: Model, rows: number, kind: CacheKind): Sides {
  const { n_heads: H, n_key_value_heads: G, d_head: D, attn_scale } = model.config;
  const random = (shape: number[], seed: number): Tensor => tf.keep(tf.randomNormal(shape, 0, 1, "float32", seed));
  const [q, keys, values] = [random([1, H, D], 1), random([G * rows, D], 2), random([G * rows, D], 3)];
  const pages = Array.from({ length: G }, () => Page.make(kind, D, rows));
  const byHead = (x: Tensor): Tensor => tf.transpose(tf.reshape(x, [G, rows, D]), [1, 0, 2]);
  const layer = tf.keep(tf.scalar(0, "int32"));
  const slots = slotsOf([pages.map((page) => [{ page, row: 0, token: 0, count: rows }])], rows);
  writeRows({ keys: byHead(keys), values: byHead(values), layer, slots });
  const places = placesOf([[pages.map((page) => ({ spans: [{ page, row: 0, position: 0, count: rows }] }))]]);
  const call: AttentionCall = {
    q,
    positions: tf.keep(tf.tensor2d([[rows - 1]], undefined, "int32")),
    layer,
    lists: tf.keep(places.lists),
    spans: tf.keep(places.spans),
    scale: attn_scale,
  };
  const held = (k: Tensor, v: Tensor) =>
    Array.from({ length: G }, (_, g) => ({
      keys: tf.slice(k, [g * rows, 0], [rows, D]),
      values: tf.slice(v, [g * rows, 0], [rows, D]),
    }));
  const today = capture(
    (q, k, v) => [attendHeads(q as Tensor, held(k as Tensor, v as Tensor), model.config).z],
    [q, keys, values],
    {
      name: "attention",
      xla: rows >= 1024, // as the engine does
    },
  );
  return {
    ours: () => timed(() => attend(call)),
    theirs: () => timed(() => today.run([q, keys, values])[0]!),
  };
}

/** Mean milliseconds of a call, its result read once at the end. */
function timed(run: () => Tensor): number {
  const began = performance.now();
  for (let i = 0; i < ROUNDS; i++) {
    const result = run();
    if (i === ROUNDS - 1) result.dataSync();
    result.dispose();
  }
  return (performance.now() - began) / ROUNDS;
}
