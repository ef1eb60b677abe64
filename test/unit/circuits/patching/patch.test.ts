import type { Tensor } from "@tensorflow/tfjs";
import { beforeAll, describe, expect, it } from "vitest";
import { NODES } from "../../../../backend/circuits/patching/nodes.ts";
import { type PatchOptions, patch } from "../../../../backend/circuits/patching/patch.ts";
import { patchTogether, readPlaces } from "../../../../backend/circuits/patching/together.ts";
import { groupSize, PATCH_NODES } from "../../../../backend/common/patching.ts";
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

const clean8 = () => [...pair.clean];

/** Derivative of log p(answer) along the way from one run's activation at a place to the other's, by central differences. */
function slope(
  from: readonly number[],
  to: readonly number[],
  { node, layer, head, position }: { node: string; layer: number; head?: number; position?: number },
): number {
  const name = `blocks.${layer}.${node.includes("_") ? "hook_" : "attn.hook_"}${node}`;
  const { cache } = runWithCache(model, [[...to]], { logitsAt: "none", names: [name] });
  const at = (share: number): number => {
    const logits = runWithHooks(model, [[...from]], {
      logitsAt: "last",
      hooks: [[name, (t) => {
        const places = [undefined, position, head];
        const mask = t.shape.reduce<Tensor>((product, n, axis) => {
          const ones = Array.from({ length: n }, (_, i) => Number(places[axis] === undefined || places[axis] === i));
          return tf.mul(product, tf.tensor(ones, t.shape.map((_, a) => (a === axis ? n : 1))));
        }, tf.scalar(1));
        return tf.add(t, tf.mul(tf.mul(mask, share), tf.sub(cache.get(name), t)));
      }]],
    })!; // biome-ignore format: one call
    const values = [...logits.dataSync()].map(Number);
    logits.dispose();
    const top = Math.max(...values);
    return values[5]! - top - Math.log(values.reduce((sum, x) => sum + Math.exp(x - top), 0));
  };
  const step = 5e-3;
  const result = (at(step) - at(-step)) / (2 * step);
  cache.dispose();
  return result;
}

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
      const name = `blocks.1.${NODES[node].hook}`;
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

  it("goes by head and position, and its tables by one axis are not those of the other", async () => {
    const grid = await patch(model, { pairs: [pair], node: "k", by: "head-position", layers: [1] });
    expect(grid.patched[0]).toHaveLength(2);
    const places = await Promise.all(
      [2, 5].map((position) => patchTogether(model, { pairs: [pair], places: readPlaces(`1.1@${position}`, "k") })),
    );
    expect(grid.patched[0]![1]![2]).toBeCloseTo(places[0]!.patched, 4);
    expect(grid.patched[0]![1]![5]).toBeCloseTo(places[1]!.patched, 4);
  });

  it("in the noise direction is denoising with the sides exchanged", async () => {
    const exchanged = { ...pair, clean: pair.corrupt, corrupt: pair.clean };
    const noise = await patch(model, { pairs: [pair], node: "z", by: "head", direction: "noise" });
    const denoise = await patch(model, { pairs: [exchanged], node: "z", by: "head" });
    expect(noise).toMatchObject({ clean: denoise.corrupt, corrupt: denoise.clean, direction: "noise" });
    for (const [l, row] of noise.patched.entries())
      for (const [h, value] of row.entries()) expect(value).toBeCloseTo(denoise.patched[l]![h]!, 4);
  });

  it("of several places at once is that of the whole where they make it up", async () => {
    const places = Array.from({ length: 8 }, (_, position) => `resid_post:1@${position - 8}`).join(",");
    const {
      clean,
      patched,
      places: written,
    } = await patchTogether(model, { pairs: [pair], places: readPlaces(places, "z") });
    expect(patched).toBeCloseTo(clean, 3);
    expect(written[0]).toBe("resid_post:1@-8");
    const heads = await patchTogether(model, { pairs: [pair], places: readPlaces("0.1,mlp_out:2@3,0.4", "z") });
    const zs = runWithCache(model, [clean8()], { logitsAt: "none" }).cache;
    const eager = runWithHooks(model, [pair.corrupt], {
      logitsAt: "last",
      hooks: [
        ["blocks.0.attn.hook_z", (t) => {
          const mask = tf.tensor([0, 1, 0, 0, 1, 0], [1, 1, 6, 1]);
          return tf.add(tf.mul(t, tf.sub(1, mask)), tf.mul(zs.get("blocks.0.attn.hook_z"), mask));
        }],
        ["blocks.2.hook_mlp_out", (t) => {
          const mask = tf.tensor([0, 0, 0, 1, 0, 0, 0, 0], [1, 8, 1]);
          return tf.add(tf.mul(t, tf.sub(1, mask)), tf.mul(zs.get("blocks.2.hook_mlp_out"), mask));
        }],
      ],
    })!; // biome-ignore format: a table
    const values = eager.dataSync();
    expect(heads.patched).toBeCloseTo(values[5]! - values[70]!, 3);
    eager.dispose();
    zs.dispose();
  });

  it.each(["denoise", "noise"] as const)("by attribution is the slope of the metric (%s)", async (direction) => {
    for (const [node, by] of [["z", "head"], ["mlp_out", "layer"], ["resid_pre", "position"], ["k", "head-position"]] as const) {
      const common = { node, direction, metric: "log-probability", method: "attribution" } as const;
      const whole = await patch(model, { pairs: [pair], by, ...common } as PatchOptions);
      const base = direction === "noise" ? whole.clean : whole.corrupt;
      const [from, to] = direction === "noise" ? [pair.clean, pair.corrupt] : [pair.corrupt, pair.clean];
      const place = { node, layer: 1, ...(by.startsWith("head") ? { head: 1 } : {}), ...(by.endsWith("position") ? { position: 4 } : {}) };
      const estimate = [whole.patched[1]].flat(2)[by === "layer" ? 0 : by === "head" ? 1 : by === "position" ? 4 : 12]! - base;
      const exact = slope(from, to, place);
      expect(Math.abs(estimate - exact), node).toBeLessThan(0.01 * Math.max(1, Math.abs(exact)));
    }
  }); // biome-ignore format: a table

  it("by attribution of the last stream is exact where the model ends there", async () => {
    // Without norms and MLPs the metric is linear in what the last layer writes.
    const linear = randomModel(smallConfig({ attn_only: true, normalization_type: null, final_norm: false }));
    const options = { pairs: [pair], node: "z", by: "head", layers: [2] } as const;
    const [exact, estimated] = [
      await patch(linear, options),
      await patch(linear, { ...options, method: "attribution" }),
    ];
    for (const [h, value] of exact.patched[0]!.entries()) expect(estimated.patched[0]![h]).toBeCloseTo(value, 3);
    linear.dispose();
  });

  it("measures what is asked: probabilities, their logarithm, and the distance to the clean run", async () => {
    const options = { pairs: [pair], node: "resid_pre", by: "layer" } as const;
    const kl = await patch(model, { ...options, metric: "kl" });
    expect(kl.clean).toBeCloseTo(0, 5);
    expect(kl.corrupt).toBeGreaterThan(0.1);
    for (const [value] of kl.patched) expect(value).toBeCloseTo(0, 4);
    const p = await patch(model, { ...options, metric: "probability" });
    const log = await patch(model, { ...options, metric: "log-probability" });
    expect(Math.log(p.clean)).toBeCloseTo(log.clean, 4);
    expect(Math.log(p.patched[1]![0]!)).toBeCloseTo(log.patched[1]![0]!, 4);
  });

  it("is of the changed model under interventions, by either method and of places together", async () => {
    const zero = [{ at: "attn.hook_z", layer: 2, heads: [3], do: "zero" as const }];
    const common = { pairs: [pair], interventions: zero };
    const none = await patch(model, { pairs: [pair], node: "mlp_out", by: "layer" });
    const exact = await patch(model, { ...common, node: "mlp_out", by: "layer" });
    expect(Math.abs(exact.clean - none.clean)).toBeGreaterThan(1e-3);
    const alone = await patchTogether(model, { ...common, places: readPlaces("mlp_out:1", "z") });
    expect(alone.patched).toBeCloseTo(exact.patched[1]![0]!, 4);
    // A head that is out in both runs has nothing to restore.
    const estimated = await patch(model, { ...common, node: "z", by: "head", method: "attribution", layers: [2] });
    expect(estimated.patched[0]![3]).toBeCloseTo(estimated.corrupt, 5);
    const whole = await patch(model, { ...common, node: "resid_pre", by: "layer" });
    for (const [value] of whole.patched) expect(value).toBeCloseTo(whole.clean, 3);
  });

  it("gives the interval of every mean over several pairs", async () => {
    const pairs = [pair, { ...pair, answer: 6 }, { ...pair, answer: 11 }];
    const options = { node: "z", by: "head" } as const;
    const all = await patch(model, { pairs, ...options });
    const each = await Promise.all(pairs.map((one) => patch(model, { pairs: [one], ...options })));
    expect(each[0]).not.toHaveProperty("interval");
    const values = each.map(({ patched }) => patched[2]![3]!);
    const mean = values.reduce((a, b) => a + b, 0) / 3;
    const s = Math.sqrt(values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / 2);
    const [low, high] = all.interval!.patched[2]![3]!;
    expect(high - low).toBeCloseTo((2 * 4.303 * s) / Math.sqrt(3), 3);
    expect((high + low) / 2).toBeCloseTo(all.patched[2]![3]!, 5);
  });

  it.each([
    "5", "0.6", "k:0.2", "0@8", "0@-9", "mlp_out:0.1", "zz:0", "0.1@", "", "resid_pre:3",
  ])("refuses places that there are not: %s", async (places) => {
    const call = async () => patchTogether(model, { pairs: [pair], places: readPlaces(places, "z") });
    await expect(call()).rejects.toMatchObject({ kind: "usage" });
  }); // biome-ignore format: a table

  it("patches neurons in groups, of which the last has what is left and one is the whole layer", async () => {
    const { d_mlp } = model.config;
    const tables = async (options: Partial<PatchOptions>) =>
      patch(model, { pairs: [pair], node: "mlp_post", by: "neurons", ...options } as PatchOptions & { by: "neurons" });
    const whole = await patch(model, { pairs: [pair], node: "mlp_post", by: "layer" });
    for (const method of ["exact", "attribution"] as const) {
      const group = Math.ceil(d_mlp / 2) + 1;
      const { patched, group: told } = await tables({ group, method });
      expect([told, ...patched.map(({ length }) => length)]).toEqual([group, 2, 2, 2].slice(0, 1 + patched.length));
      const single = await tables({ group: d_mlp, method });
      expect(single.patched.every(({ length }) => length === 1)).toBe(true);
      if (method === "exact")
        for (const [layer, [value]] of single.patched.entries())
          expect(value).toBeCloseTo(whole.patched[layer]![0]!, 4);
      // estimates of parts add up
      else
        for (const [layer, row] of patched.entries())
          expect(row[0]! + row[1]! - single.corrupt).toBeCloseTo(single.patched[layer]![0]!, 4);
    }
    expect((await tables({})).group).toBe(Math.ceil(d_mlp / 32));
  });

  it("refuses groups of what has no neurons, and tables beyond what can be run, with their sizes", async () => {
    const work = { pairs: [pair], node: "mlp_post", by: "neurons" } as const;
    await expect(patch(model, { ...work, group: 1e6 })).rejects.toThrow(refused("usage", { field: "group" }));
    await expect(patch(model, { ...work, node: "mlp_out" })).rejects.toThrow(refused("usage", { field: "node" }));
    await expect(patch(model, { ...work, by: "layer", group: 2 })).rejects.toThrow(
      refused("usage", { field: "group" }),
    );
    const layers = { layers: 40, group: 1 };
    expect(() => groupSize({ d_mlp: 1000 }, { ...layers, runEach: true })).toThrow(
      refused("usage", { message: "40000 runs" }),
    );
    expect(groupSize({ d_mlp: 1000 }, { ...layers, runEach: false })).toBe(1);
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
