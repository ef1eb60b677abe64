import { beforeAll, describe, expect, it } from "vitest";
import { additions, steer } from "../../../../backend/circuits/vectors/steer.ts";
import { runWithHooks } from "../../../../backend/hooks/run.ts";
import type { Model } from "../../../../backend/models/model.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { maxDifference, randomModel, randomTokens, smallConfig } from "../../../helpers/models.ts";

let model: Model;
beforeAll(async () => {
  await initBackend();
  model = randomModel(smallConfig());
});

const vector = Array.from({ length: 48 }, (_, i) => Math.cos(i));
const tokens = randomTokens(3, 9, 96).map((row, r) => row.slice(0, 9 - 2 * r));

describe("steering", () => {
  it("of nothing changes nothing, and turned back undoes itself", async () => {
    const still = await steer(model, { tokens, vector, layer: 1, scale: 0 });
    expect(still.steered).toEqual(still.base);
    const last = model.config.n_layers - 1;
    const [there, back] = [2, -2].map((scale) => steer(model, { tokens, vector, layer: last, scale, logits: true }));
    const [more, less] = [(await there!).logits!, (await back!).logits!];
    expect(maxDifference(more, less)).toBeGreaterThan(0.1);
    tf.dispose([more, less]);
  });

  it("of the last position adds to each row's own last", async () => {
    const before = tf.memory().numTensors;
    const { logits, residNorm } = await steer(model, { tokens, vector, layer: 0, positions: "last", scale: 1.5, logits: true }); // biome-ignore format: one line
    const added = tf.tensor(
      tokens.map((row) => Array.from({ length: 9 }, (_, p) => vector.map((x) => (p === row.length - 1 ? 1.5 * x : 0)))),
    );
    let norms: number[] = [];
    const expected = runWithHooks(model, tokens, {
      hooks: [
        [
          "blocks.0.hook_resid_post",
          (resid) => {
            const all = tf.norm(resid, "euclidean", 2).arraySync() as number[][];
            norms = tokens.map((row, r) => all[r]![row.length - 1]!);
            return tf.add(resid, added);
          },
        ],
      ],
    })!;
    tokens.forEach((row, r) => {
      const own = [logits!, expected].map((t) => tf.slice(t, [r, 0, 0], [1, row.length, -1]));
      expect(maxDifference(own[0]!, own[1]!)).toBeLessThan(1e-4);
      tf.dispose(own);
    });
    expect(residNorm).toBeCloseTo(norms.reduce((a, b) => a + b) / 3, 3);
    tf.dispose([logits!, expected, added]);
    expect(tf.memory().numTensors).toBe(before);
  });

  it("is a list of interventions that a generation takes", () => {
    const places = additions({ tokens, vector, layer: 2, positions: "last", scale: 2 });
    expect(places.map(({ positions, rows }) => [positions, rows])).toEqual([[[8], [0]], [[6], [1]], [[4], [2]]]); // biome-ignore format: one line
    expect(additions({ tokens, vector, layer: 2 })).toEqual([
      { at: "hook_resid_post", layer: 2, do: "add", with: vector },
    ]);
  });

  it.each([
    ["a vector of another width", { vector: [1, 2] }, "input"],
    ["a layer that there is not", { layer: 3 }, "usage"],
    ["a position that there is not", { positions: [9] }, "usage"],
    ["a vector that is none", { vector: [Number.NaN] }, "usage"],
    ["rows that are none", { tokens: [] }, "input"],
    ["an option that there is not", { layers: 1 }, "usage"],
  ])("%s is refused", async (_, change, kind) => {
    await expect(steer(model, { tokens, vector, layer: 1, ...change })).rejects.toMatchObject({ kind });
  });
});
