import type { Tensor } from "@tensorflow/tfjs";
import { describe, expect, it } from "vitest";
import { attend, writeRows } from "../../../backend/kernels/attend.ts";
import { PackedMatrix } from "../../../backend/kernels/packed-matrix.ts";
import { Page } from "../../../backend/kernels/pages.ts";
import { type HeadPlaces, placesOf, type Slots, slotsOf } from "../../../backend/kernels/places.ts";
import { slotOf } from "../../../backend/models/cache/window.ts";
import { forward } from "../../../backend/models/forward/forward.ts";
import type { Model } from "../../../backend/models/model.ts";
import { attentionInput, blockOutput, unembed } from "../../../backend/models/transformer/block.ts";
import { UNHOOKED } from "../../../backend/models/transformer/hook.ts";
import type { BlockWeights } from "../../../backend/models/weights/block-parts.ts";
import type { Matrix } from "../../../backend/models/weights/matrix.ts";
import { capture } from "../../../backend/runtime/capture.ts";
import type { Handle, RawTensor } from "../../../backend/runtime/ops.ts";
import { tf } from "../../../backend/runtime/tf.ts";
import { kernelsHere, relativeError } from "../../helpers/kernels/here.ts";
import { randomModel, randomTokens, smallConfig } from "../../helpers/models.ts";

const { ready } = await kernelsHere();
const MATRICES = ["qkv", "o", "mlpIn", "mlpOut"] as const;
/** Rows of a page: a layer's KV head has one. */
const ROOM = 40;

/** A packed matrix in a matrix's place: the block only multiplies by it. */
function packed(matrix: Matrix): Matrix {
  return PackedMatrix.fromRows("f32", matrix.widen(), matrix.shape) as unknown as Matrix;
}

/** Logits of tokens one after the other: the engine's own blocks on packed weights, with attention by places in between. */
function decode(
  model: Model,
  ids: readonly number[],
  placesAt: (length: number, pages: readonly Page[]) => HeadPlaces[],
  rowsAt: (at: number) => number[],
) {
  const { config, weights } = model;
  const { n_heads: H, n_key_value_heads: G, d_head: D } = config;
  const blocks = weights.blocks.map((block) => ({
    ...block,
    ...Object.fromEntries(MATRICES.map((name) => [name, packed(block[name]!)])),
  })) as BlockWeights[];
  const pages = blocks.map(() => Array.from({ length: G }, () => Page.make("f32", D, ROOM)));
  const run =
    (block: BlockWeights) =>
    (...args: Handle[]) => {
      const [x, cos, sin, slots, positions, lists, spans, layer] = args as Tensor[];
      const over = (name: (typeof MATRICES)[number], i: number) =>
        (block[name] as unknown as PackedMatrix).over(args[8 + i] as RawTensor);
      const own = { ...block, ...Object.fromEntries(MATRICES.map((name, i) => [name, over(name, i)])) } as BlockWeights;
      const parts = { weights: own, config, hook: UNHOOKED };
      const [q, ...rows] = attentionInput(x!, { cos: cos!, sin: sin! }, parts);
      const [keys, values] = rows.map((row) => tf.reshape(row, [1, G, D])) as [Tensor, Tensor];
      const after = writeRows({ keys, values, layer: layer!, slots: slots! });
      const places = { positions: positions!, layer: layer!, lists: lists!, spans: spans!, after };
      const z = attend({ q, ...places, scale: config.attn_scale });
      return [blockOutput(x!, tf.reshape(z, [1, H * D]), parts)];
    };
  const functions: ReturnType<typeof capture>[] = [];
  const { cos, sin } = model.rotaryUpTo(ids.length)!;
  const logits = ids.map((id, at) => {
    const { lists, spans } = placesOf(pages.map((own) => [placesAt(at + 1, own)]));
    const slots = (own: readonly Page[]): Slots[][] =>
      rowsAt(at).map((row, g) => [{ page: own[g]!, row, token: 0, count: 1 }]);
    const rotation = [cos, sin].map((table) => tf.reshape(tf.slice(table, [at, 0], [1, -1]), [1, 1, -1]));
    const place = [slotsOf(pages.map(slots), 1), tf.tensor2d([[at]], undefined, "int32"), lists, spans];
    let x = weights.embed.rows(tf.tensor1d([id], "int32"));
    blocks.forEach((block, l) => {
      const tiles = MATRICES.map((name) => (block[name] as unknown as PackedMatrix).tiles);
      const inputs = [x, ...rotation, ...place, tf.scalar(l, "int32"), ...tiles];
      const constants = [block.ln1!.w, block.ln2!.w];
      const shapes = inputs.map((t, i) => (i === 6 ? [-1, 4] : t.shape));
      functions[l] ??= capture(run(block), inputs, { name: "block", shapes, constants });
      x = functions[l]!.run(inputs)[0]!;
    });
    const end = { ln: weights.lnFinal!, unembed: packed(weights.unembed), readout: [] };
    return [...unembed(x, end, config, UNHOOKED).dataSync()];
  });
  for (const f of functions) f.dispose();
  for (const page of pages.flat()) page.release();
  return logits;
}

describe.skipIf(!ready)("the engine's blocks on packed weights, with attention by places", () => {
  const model = randomModel(smallConfig());
  const ids = randomTokens(1, 30, model.config.d_vocab)[0]!;
  const whole = (windows?: { sink: number; recent: number }[]) => {
    const input = { tokens: [ids], ...(windows ? { windows: model.weights.blocks.map(() => windows) } : {}) };
    return [...forward(model, input).logits!.dataSync()];
  };

  it("decode the logits of the whole forward", () => {
    const full = (length: number, pages: readonly Page[]) =>
      pages.map((page) => ({ spans: [{ page, row: 0, position: 0, count: length }] }));
    const got = decode(model, ids, full, (at) => [at, at]);
    expect(relativeError(got.flat(), whole())).toBeLessThan(2e-5);
  });

  it("and of the masked one, whose heads keep their sinks and a ring each", () => {
    const windows = [
      { sink: 2, recent: 5 },
      { sink: 0, recent: 9 },
    ];
    const held = (length: number, pages: readonly Page[]) =>
      windows.map((window, g) => {
        const positions = Array.from({ length }, (_, p) => p).filter(
          (p) => p < window.sink || p >= length - window.recent,
        );
        return {
          spans: positions.map((position) => ({
            page: pages[g]!,
            row: slotOf(position, window),
            position,
            count: 1,
          })),
        };
      });
    const got = decode(model, ids, held, (at) => windows.map((window) => slotOf(at, window)));
    expect(relativeError(got.flat(), whole(windows))).toBeLessThan(2e-5);
  });
});
