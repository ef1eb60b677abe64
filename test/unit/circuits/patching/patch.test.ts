import { beforeAll, describe, expect, it } from "vitest";
import { patch } from "../../../../backend/circuits/patching/patch.ts";
import { PATCH_NODES } from "../../../../backend/common/patching.ts";
import { runWithCache, runWithHooks } from "../../../../backend/hooks/run.ts";
import type { Model } from "../../../../backend/models/model.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { refused } from "../../../helpers/errors.ts";
import { randomModel, randomTokens, smallConfig } from "../../../helpers/models.ts";

let model: Model;
const [clean, corrupt] = randomTokens(2, 8, 96) as [number[], number[]];
const pair = { clean, corrupt: [...corrupt.slice(0, 7), clean[7]!], answer: 5, wrong: 70 };
beforeAll(async () => {
  await initBackend();
  model = randomModel(smallConfig());
});

describe("activation patching", () => {
  it("gives the clean metric where the whole stream is patched", async () => {
    const result = await patch(model, { pairs: [pair], node: "resid_pre", by: "layer" });
    for (const [value] of result.patched) expect(value).toBeCloseTo(result.clean, 3);
    expect(result.clean).not.toBeCloseTo(result.corrupt, 2);
  });

  it("patches the place that it names, for every node", async () => {
    const { cache, logits } = runWithCache(model, [clean]);
    for (const node of PATCH_NODES) {
      const by = ["z", "k", "pattern"].includes(node) ? "head" : "position";
      const { patched } = await patch(model, { pairs: [pair], node, by });
      const stream = node.includes("_");
      const name = `blocks.1.${stream ? "hook_" : "attn.hook_"}${node}`;
      const axis = by === "head" ? (node === "pattern" ? 1 : 2) : 1;
      const at = 1;
      const eager = runWithHooks(model, [pair.corrupt], {
        logitsAt: "last",
        hooks: [[name, (t) => {
          const shape = t.shape.map((n, a) => (a === axis ? n : 1));
          const mask = tf.oneHot(tf.tensor1d([at], "int32"), t.shape[axis]!).cast("float32").reshape(shape);
          return tf.add(tf.mul(t, tf.sub(1, mask)), tf.mul(cache.get(name), mask));
        }]],
      })!; // biome-ignore format: one call
      const values = eager.dataSync();
      expect(patched[1]![at], node).toBeCloseTo(values[5]! - values[70]!, 3);
      expect(patched[1]).toHaveLength(by === "head" ? (node === "k" ? 2 : 6) : 8);
      eager.dispose();
    }
    logits!.dispose();
    cache.dispose();
  });

  it("averages over pairs, and keeps no tensor", async () => {
    const other = { ...pair, clean: pair.corrupt, corrupt: pair.clean };
    const options = { node: "z", by: "head" } as const;
    const [a, b, both] = [
      await patch(model, { pairs: [pair], ...options }),
      await patch(model, { pairs: [other], ...options }),
      await patch(model, { pairs: [pair, other], ...options }),
    ];
    expect(both.patched[2]![3]).toBeCloseTo((a.patched[2]![3]! + b.patched[2]![3]!) / 2, 5);
    const before = tf.memory().numTensors;
    await patch(model, { pairs: [pair], ...options });
    expect(tf.memory().numTensors).toBe(before);
  });

  it("refuses what can't be patched, with the remedy", async () => {
    const run = (changes: object) => patch(model, { pairs: [{ ...pair, ...changes }], node: "z", by: "head" });
    await expect(run({ corrupt: corrupt.slice(1) })).rejects.toThrow(refused("input"));
    await expect(run({ clean: "text" })).rejects.toThrow(refused("unsupported"));
    await expect(run({ answer: 96 })).rejects.toThrow(refused("input"));
    await expect(patch(model, { pairs: [pair], node: "attn_out", by: "head" })).rejects.toThrow(refused("usage"));
    const short = { ...pair, clean: clean.slice(1), corrupt: corrupt.slice(1) };
    await expect(patch(model, { pairs: [pair, short], node: "z", by: "position" })).rejects.toThrow(
      refused("input", { message: "pair 1" }),
    );
  });
});
