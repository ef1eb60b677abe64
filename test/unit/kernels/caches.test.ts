import type { Tensor } from "@tensorflow/tfjs";
import { describe, expect, it } from "vitest";
import { attend, CACHE_KINDS, cacheRows, placesOf } from "../../../backend/kernels/attend.ts";
import { slotOf } from "../../../backend/models/cache/window.ts";
import { capture } from "../../../backend/runtime/capture.ts";
import type { Handle, RawTensor } from "../../../backend/runtime/ops.ts";
import { tf } from "../../../backend/runtime/tf.ts";
import { readNarrow, readVariable, scatterRows, Variable } from "../../../backend/runtime/variable.ts";
import { kernelsHere, relativeError } from "../../helpers/kernels/here.ts";

const { ready } = await kernelsHere();
const D = 32;
const WINDOW = { sink: 2, recent: 6 };

/** The spans of a streaming head after `length` tokens: the sink, and the ring's two parts. */
function ring(length: number): { row: number; position: number; count: number }[] {
  const { sink, recent } = WINDOW;
  const first = Math.max(sink, length - recent);
  const spans = [{ row: 0, position: 0, count: Math.min(length, sink) }];
  for (let position = first; position < length; ) {
    const row = slotOf(position, WINDOW);
    const count = Math.min(length - position, sink + recent - row);
    spans.push({ row, position, count });
    position += count;
  }
  return spans;
}

describe.skipIf(!ready)("a cache in a variable", () => {
  it.each(CACHE_KINDS)(
    "of $name is written and attended by one captured function, ring and full head alike",
    ({ name, dtype }) => {
      const { columns } = CACHE_KINDS.find((kind) => kind.name === name)!;
      const [keys, values] = [0, 1].map(() => new Variable([8 + 40, columns(D)], dtype)) as [Variable, Variable];
      expect(keys.bytes).toBe(48 * D * { f32: 4, f16: 2, q8: 1.0625, q4: 0.625 }[name]);
      const read = (handle: RawTensor): Handle =>
        dtype === "float32" ? readVariable(handle) : readNarrow(handle, dtype);
      const step = (...args: Handle[]): Tensor[] => {
        const [q, k, v, slots, positions, lists, spans] = args as Tensor[];
        const handles = args.slice(7) as [RawTensor, RawTensor];
        scatterRows(handles[0], slots!, cacheRows(name, k!));
        scatterRows(handles[1], slots!, cacheRows(name, v!));
        const [held, weighed] = handles.map(read) as [Handle, Handle];
        return [
          attend({
            ...{ q: q!, positions: positions!, lists: lists!, spans: spans!, kind: name, scale: 0.2 },
            ...{ keys: held, values: weighed },
          }),
        ];
      };
      let f: ReturnType<typeof capture> | undefined;
      const seen: { k: Tensor; v: Tensor }[] = [];
      for (let length = 1; length <= 30; length++) {
        const normal = (shape: number[], seed: number) => tf.randomNormal(shape, 0, 1, "float32", 100 * length + seed);
        const [q, k, v] = [normal([1, 4, D], 1), normal([2, D], 2), normal([2, D], 3)];
        seen.push({ k, v });
        const places = placesOf([[{ spans: ring(length) }, { spans: [{ row: 8, position: 0, count: length }] }]]);
        const at = length - 1;
        const slots = tf.tensor1d([slotOf(at, WINDOW), 8 + at], "int32");
        const inputs = [
          q,
          k,
          v,
          slots,
          tf.tensor2d([[at]], undefined, "int32"),
          places.lists,
          places.spans,
          keys.handle,
          values.handle,
        ];
        // The first token is written by the recording, too: with the same rows, to the same places.
        f ??= capture(step, inputs, { name: "step", shapes: inputs.map((t, i) => (i === 6 ? [-1, 3] : t.shape)) });
        const z = f.run(inputs)[0]!;
        const error = relativeError(z.dataSync(), plain(q, seen, length).dataSync());
        expect(error, `${length} tokens`).toBeLessThan({ f32: 2e-6, f16: 2e-3, q8: 0.03, q4: 0.5 }[name]);
      }
      f!.dispose();
      keys.dispose();
      values.dispose();
    },
  );
});

/** The same from all keys and values, with masks: query heads 0 and 1 stream. */
function plain(q: Tensor, seen: { k: Tensor; v: Tensor }[], length: number): Tensor {
  const heads = [0, 0, 1, 1].map((g, h) => {
    const rows = (all: Tensor[]) =>
      tf.concat(
        all.map((t) => tf.slice(t, [g, 0], [1, D])),
        0,
      );
    const inside = Array.from({ length }, (_, p) => g === 1 || p < WINDOW.sink || p >= length - WINDOW.recent);
    const scores = tf.matMul(
      tf.slice(q, [0, h, 0], [1, 1, D]).reshape([1, D]),
      rows(seen.map(({ k }) => k)) as never,
      false,
      true,
    );
    const masked = tf.add(tf.mul(scores, 0.2), tf.tensor2d([inside.map((yes) => (yes ? 0 : -1e9))]));
    return tf.matMul(tf.softmax(masked as never), rows(seen.map(({ v }) => v)) as never);
  });
  return tf.concat(heads, 0);
}
