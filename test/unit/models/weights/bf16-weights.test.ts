import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { hasKernels } from "../../../../backend/kernels/kernels.ts";
import { KvCache } from "../../../../backend/models/cache/kv-cache.ts";
import { f32ToBf16, toBf16 } from "../../../../backend/models/formats/half.ts";
import { forward } from "../../../../backend/models/forward/forward.ts";
import { Model } from "../../../../backend/models/model.ts";
import type { BlockWeights, NormWeights } from "../../../../backend/models/weights/block-parts.ts";
import { Matrix } from "../../../../backend/models/weights/matrix.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { functions } from "../../../../backend/runtime/capture.ts";
import { hasNative } from "../../../../backend/runtime/ops.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { maxDifference, randomModel, randomTokens, smallConfig } from "../../../helpers/models.ts";

beforeAll(() => initBackend());
afterAll(() => functions.clear());

/** The number with its lower 16 bits cut off after rounding. */
function rounded(value: number): number {
  const word = new Uint32Array([toBf16(value) << 16]);
  return new Float32Array(word.buffer)[0]!;
}

/** The model with every matrix replaced, its tensors its own. */
function remade(model: Model, make: (values: Float32Array, shape: readonly [number, number]) => Matrix): Model {
  const matrix = (m: Matrix): Matrix => make(m.widen().dataSync() as Float32Array, m.shape);
  const { embed, unembed, blocks, lnFinal } = model.weights;
  const held = matrix(embed);
  return new Model({
    ref: model.ref,
    family: model.family,
    digest: model.digest,
    config: model.config,
    weights: {
      embed: held,
      unembed: unembed === embed ? held : matrix(unembed),
      blocks: blocks.map(
        (block) =>
          Object.fromEntries(
            Object.entries(block).map(([name, leaf]) => [
              name,
              leaf instanceof Matrix ? matrix(leaf) : { w: tf.clone((leaf as NormWeights).w) },
            ]),
          ) as unknown as BlockWeights,
      ),
      ...(lnFinal ? { lnFinal: { w: tf.clone(lnFinal.w) } } : {}),
    },
  });
}

describe("weights in bfloat16", () => {
  it("round to the nearest, ties to even, and widen to just that", () => {
    const values = Float32Array.from([
      1,
      -1,
      1 + 2 ** -8,
      1 + 3 * 2 ** -8,
      1.0039,
      3.4e38 / 4,
      -1e-38,
      0,
      -0,
      0.1,
      0.2,
      0.3,
    ]);
    const matrix = Matrix.fromBf16(f32ToBf16(values), [3, 4]);
    const wide = matrix.widen();
    expect([...wide.dataSync()]).toEqual([...values].map(rounded));
    const index = tf.tensor1d([2, 0], "int32");
    const rows = matrix.rows(index);
    expect([...rows.dataSync()]).toEqual([...[...values].slice(8), ...[...values].slice(0, 4)].map(rounded));
    // The kernels hold whole tiles of 16 rows by 32 inputs.
    if (hasNative()) expect(matrix.bytes).toBe(hasKernels() ? 2 * 16 * 32 : 2 * values.length);
    tf.dispose([wide, index, rows]);
    matrix.dispose();
  });

  it("give what float32 weights of the same values give, in prefill, cached decoding and op by op", () => {
    const before = tf.memory().numTensors;
    const random = randomModel(smallConfig({ d_model: 64, d_head: 16, rotary_dim: 16 }));
    const narrow = remade(random, (values, shape) => Matrix.fromBf16(f32ToBf16(values), shape));
    const wide = remade(random, (values, shape) => Matrix.fromValues(values.map(rounded), shape));
    random.dispose();
    const tokens = randomTokens(2, 24, 96);
    const [a, b] = [narrow, wide].map((model) => forward(model, { tokens }));
    const [c, d] = [narrow, wide].map((model) => forward(model, { tokens }, { captured: false }));
    expect(maxDifference(a!.logits!, b!.logits!)).toBeLessThan(1e-4);
    expect(maxDifference(c!.logits!, d!.logits!)).toBeLessThan(1e-4);
    const steps = [narrow, wide].map((model) => {
      const cache = new KvCache(model.config, { capacity: 32, rows: 2 });
      forward(model, { tokens, cache, logitsAt: "none" }).dispose();
      const step = forward(model, { tokens: [[3], [5]], cache });
      cache.dispose();
      return step;
    });
    expect(maxDifference(steps[0]!.logits!, steps[1]!.logits!)).toBeLessThan(1e-4);
    for (const made of [a, b, c, d, ...steps]) made!.dispose();
    if (hasNative()) expect(narrow.bytes / wide.bytes).toBeLessThan(0.53);
    narrow.dispose();
    wide.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });
});
