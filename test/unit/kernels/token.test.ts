import type { Tensor } from "@tensorflow/tfjs";
import { describe, expect, it } from "vitest";
import { attend, cacheRows, type HeadPlaces, placesOf } from "../../../backend/kernels/attend.ts";
import { PackedMatrix } from "../../../backend/kernels/packed-matrix.ts";
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
import { readVariable, scatterRows, Variable } from "../../../backend/runtime/variable.ts";
import { kernelsHere, relativeError } from "../../helpers/kernels/here.ts";
import { randomModel, randomTokens, smallConfig } from "../../helpers/models.ts";

const { ready } = await kernelsHere();
const MATRICES = ["qkv", "o", "mlpIn", "mlpOut"] as const;
/** Rows of a layer's buffer that each KV head has. */
const ROOM = 40;

/** A packed matrix in a matrix's place: the block only multiplies by it. */
function packed(matrix: Matrix): Matrix {
  return PackedMatrix.fromRows("f32", matrix.widen(), matrix.shape) as unknown as Matrix;
}

/** Logits of tokens one after the other: the engine's own blocks on packed weights, with attention by places in between. */
function decode(
  model: Model,
  ids: readonly number[],
  placesAt: (length: number) => HeadPlaces[],
  slots: (at: number) => number[],
) {
  const { config, weights } = model;
  const { n_heads: H, n_key_value_heads: G, d_head: D } = config;
  const blocks = weights.blocks.map((block) => ({
    ...block,
    ...Object.fromEntries(MATRICES.map((name) => [name, packed(block[name]!)])),
  })) as BlockWeights[];
  const width = cacheRows("f32", tf.zeros([1, D])).shape[1]!;
  const caches = blocks.map(() => [0, 1].map(() => new Variable([G * ROOM, width])));
  const run =
    (block: BlockWeights) =>
    (...args: Handle[]) => {
      const [x, cos, sin, index, positions, lists, spans] = args as Tensor[];
      const handles = args.slice(7, 9) as RawTensor[];
      const over = (name: (typeof MATRICES)[number], i: number) =>
        (block[name] as unknown as PackedMatrix).over(args[9 + i] as RawTensor);
      const own = { ...block, ...Object.fromEntries(MATRICES.map((name, i) => [name, over(name, i)])) } as BlockWeights;
      const parts = { weights: own, config, hook: UNHOOKED };
      const [q, ...rows] = attentionInput(x!, { cos: cos!, sin: sin! }, parts);
      rows.forEach((row, i) => {
        scatterRows(handles[i]!, index!, cacheRows("f32", tf.reshape(row, [G, D])));
      });
      const [keys, values] = handles.map(readVariable) as [Tensor, Tensor];
      const places = { positions: positions!, lists: lists!, spans: spans!, keys, values };
      const z = attend({ q, ...places, kind: "f32", scale: config.attn_scale });
      return [blockOutput(x!, tf.reshape(z, [1, H * D]), parts)];
    };
  const functions: ReturnType<typeof capture>[] = [];
  const { cos, sin } = model.rotaryUpTo(ids.length)!;
  const logits = ids.map((id, at) => {
    const { lists, spans } = placesOf([placesAt(at + 1)]);
    const rotation = [cos, sin].map((table) => tf.reshape(tf.slice(table, [at, 0], [1, -1]), [1, 1, -1]));
    const place = [tf.tensor1d(slots(at), "int32"), tf.tensor2d([[at]], undefined, "int32"), lists, spans];
    let x = weights.embed.rows(tf.tensor1d([id], "int32"));
    blocks.forEach((block, l) => {
      const tiles = MATRICES.map((name) => (block[name] as unknown as PackedMatrix).tiles);
      const inputs = [x, ...rotation, ...place, ...caches[l]!.map(({ handle }) => handle), ...tiles];
      const constants = [block.ln1!.w, block.ln2!.w];
      const shapes = inputs.map((t, i) => (i === 6 ? [-1, 3] : t.shape));
      functions[l] ??= capture(run(block), inputs, { name: "block", shapes, constants });
      x = functions[l]!.run(inputs)[0]!;
    });
    const end = { ln: weights.lnFinal!, unembed: packed(weights.unembed), readout: [] };
    return [...unembed(x, end, config, UNHOOKED).dataSync()];
  });
  for (const f of functions) f.dispose();
  for (const cache of caches.flat()) cache.dispose();
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
    const full = (length: number) => [0, 1].map((g) => ({ spans: [{ row: g * ROOM, position: 0, count: length }] }));
    const got = decode(model, ids, full, (at) => [at, ROOM + at]);
    expect(relativeError(got.flat(), whole())).toBeLessThan(2e-5);
  });

  it("and of the masked one, whose heads keep their sinks and a ring each", () => {
    const windows = [
      { sink: 2, recent: 5 },
      { sink: 0, recent: 9 },
    ];
    const held = (length: number) =>
      windows.map((window, g) => {
        const positions = Array.from({ length }, (_, p) => p).filter(
          (p) => p < window.sink || p >= length - window.recent,
        );
        return {
          spans: positions.map((position) => ({ row: g * ROOM + slotOf(position, window), position, count: 1 })),
        };
      });
    const got = decode(model, ids, held, (at) => windows.map((window, g) => g * ROOM + slotOf(at, window)));
    expect(relativeError(got.flat(), whole(windows))).toBeLessThan(2e-5);
  });
});
