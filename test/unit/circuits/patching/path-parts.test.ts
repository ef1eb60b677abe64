import type { Tensor } from "@tensorflow/tfjs";
import { beforeAll, describe, expect, it } from "vitest";
import { patchPaths } from "../../../../backend/circuits/patching/path.ts";
import { runWithCache, runWithHooks } from "../../../../backend/hooks/run.ts";
import { forward } from "../../../../backend/models/forward/forward.ts";
import type { Model } from "../../../../backend/models/model.ts";
import { parameter } from "../../../../backend/models/weights/parameters.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { FAMILIES, loadFamily, FAMILY_PAIR as PAIR, randomModel, smallConfig } from "../../../helpers/models.ts";

beforeAll(() => initBackend());

type Cache = ReturnType<typeof runWithCache>["cache"];

const difference = (logits: Tensor): number => {
  const values = logits.dataSync();
  const { length } = values;
  const last = length - logits.shape.at(-1)!;
  return values[last + PAIR.answer]! - values[last + PAIR.wrong]!;
};

/** The output of head 1 of layer 0 by its definition: z W_O, behind a norm by the scale of the whole attention output. */
function headOutput(model: Model, cache: Cache): Tensor {
  const W = tf.gather(parameter(model, "blocks.0.attn.W_O"), 1);
  const z = cache.slice("attn.hook_z", { layer: 0, head: 1, row: 0 });
  const written = tf.matMul(z as never, W as never);
  const { ln1Post } = model.weights.blocks[0]!;
  if (!ln1Post) return written;
  const scale = cache.slice("ln1_post.hook_scale", { layer: 0, row: 0 });
  return tf.mul(tf.div(written, scale), ln1Post.w);
}

/** What three parts write in the corrupt run, less that in the clean one [positions, d_model]. */
function changes(model: Model, clean: Cache, corrupt: Cache): Record<string, Tensor> {
  const less = (of: (cache: Cache) => Tensor): Tensor => tf.sub(of(corrupt), of(clean));
  return {
    embed: less((cache) => cache.slice("hook_resid_pre", { layer: 0, row: 0 })),
    m0: less((cache) => cache.slice("hook_mlp_out", { layer: 0, row: 0 })),
    "0.1": less((cache) => headOutput(model, cache)),
  };
}

/** Metric of the clean run with something added to one input of head 2 of layer 1, or to all copies of its KV head. */
function withInput(model: Model, through: "q" | "k" | "v" | "mlp", change: Tensor, heads: readonly number[]): Tensor {
  const name = through === "mlp" ? "blocks.1.hook_mlp_in" : `blocks.1.hook_${through}_input`;
  return runWithHooks(model, [PAIR.clean], {
    logitsAt: "last",
    hooks: [[name, (t) => {
      if (through === "mlp") return tf.add(t, tf.expandDims(change, 0));
      const count = t.shape[2]!;
      const mask = tf.tensor(Array.from({ length: count }, (_, h) => Number(heads.includes(h))), [1, 1, count, 1]);
      return tf.add(t, tf.mul(mask, tf.expandDims(tf.expandDims(change, 0), 2)));
    }]],
  })!; // biome-ignore format: one call
}

/** The same with one activation of head 2 alone, as it is with the change in its whole KV head. */
function withOwn(model: Model, through: "k" | "v", change: Tensor, kv: number): Tensor {
  const name = through === "k" ? "blocks.1.attn.hook_pattern" : "blocks.1.attn.hook_z";
  let own: Tensor | undefined;
  const put = `blocks.1.hook_${through}_input`;
  const keep = (t: Tensor): void => {
    own = tf.keep(tf.clone(t));
  };
  const add = (t: Tensor): Tensor => {
    const count = t.shape[2]!;
    const mask = tf.tensor(Array.from({ length: count }, (_, h) => Number(h === kv)), [1, 1, count, 1]); // biome-ignore format: one line
    return tf.add(t, tf.mul(mask, tf.expandDims(tf.expandDims(change, 0), 2)));
  };
  runWithHooks(model, [PAIR.clean], { logitsAt: "last", hooks: [[put, add], [name, keep]] })!.dispose(); // biome-ignore format: one line
  const axis = through === "k" ? 1 : 2;
  const result = runWithHooks(model, [PAIR.clean], {
    logitsAt: "last",
    hooks: [[name, (t) => {
      const shape = t.shape.map((n, a) => (a === axis ? n : 1));
      const mask = tf.tensor(Array.from({ length: shape[axis]! }, (_, h) => Number(h === 2)), shape);
      return tf.add(tf.mul(t, tf.sub(1, mask)), tf.mul(own!, mask));
    }]],
  })!; // biome-ignore format: one call
  own!.dispose();
  return result;
}

it.each(FAMILIES)("edges of %s from head, MLP and embedding are those made by hand", async (name) => {
  const model = await loadFamily(name);
  const { n_layers, n_heads, n_key_value_heads, qk_norm } = model.config;
  const sides = [PAIR.clean, PAIR.corrupt].map((ids) => runWithCache(model, [ids], { logitsAt: "last" }));
  const [clean, corrupt] = sides.map(({ cache }) => cache) as [Cache, Cache];
  const made = tf.tidy(() => changes(model, clean, corrupt));
  const from = Object.keys(made);
  const edge = async (into: string, through?: "q" | "k" | "v") => {
    const options = { pairs: [PAIR], into: [into], from, direction: "noise", ...(through ? { through } : {}) } as const;
    const { patched, patchedMlps, patchedEmbed } = await patchPaths(model, options);
    expect(patched.flat().filter((value) => value !== null)).toHaveLength(1);
    return { embed: patchedEmbed!, m0: patchedMlps![0]!, "0.1": patched[0]![1]! } as Record<string, number>;
  };
  const byHand = (make: (change: Tensor) => Tensor): Record<string, number> =>
    Object.fromEntries(
      Object.entries(made).map(([sender, change]) => [sender, tf.tidy(() => difference(make(change)))]),
    );
  const close = (ours: Record<string, number>, theirs: Record<string, number>, what: string): void => {
    for (const sender of from) expect(ours[sender], `${sender} into ${what}`).toBeCloseTo(theirs[sender]!, 3);
  };
  close(
    await edge("1.2", "q"),
    byHand((change) => withInput(model, "q", change, [2])),
    "q",
  );
  close(
    await edge("m1"),
    byHand((change) => withInput(model, "mlp", change, [])),
    "m1",
  );
  const end = (change: Tensor): Tensor => {
    const stream = clean.slice("hook_resid_post", { layer: n_layers - 1 });
    return forward(model, { resid: tf.add(stream, change), startLayer: n_layers, logitsAt: "last" }).logits!;
  };
  close(await edge("logits"), byHand(end), "logits");
  const kv = Math.floor((2 * n_key_value_heads) / n_heads);
  // A norm over the keys of all heads takes one head's change to the others.
  if (qk_norm !== "all")
    close(
      await edge("1.2", "k"),
      byHand((change) => withOwn(model, "k", change, kv)),
      "k",
    );
  close(
    await edge("1.2", "v"),
    byHand((change) => withOwn(model, "v", change, kv)),
    "v",
  );
  tf.dispose([...Object.values(made), ...sides.map(({ logits }) => logits!)]);
  clean.dispose();
  corrupt.dispose();
  model.dispose();
});

describe("paths", () => {
  it("through keys of a whole KV head move every query head that reads it", async () => {
    const model = await loadFamily("llama-gqa");
    const common = { pairs: [PAIR], through: "k" } as const;
    const [alone, both, group] = [
      await patchPaths(model, { ...common, into: ["1.2"] }),
      await patchPaths(model, { ...common, into: ["1.2", "1.3"] }),
      await patchPaths(model, { ...common, into: ["1.2"], kvGroup: true }),
    ];
    expect(group.receivers).toEqual(["KV 1.1"]);
    expect(alone.receivers).toEqual(["1.2"]);
    for (const [h, value] of group.patched[0]!.entries()) expect(value).toBeCloseTo(both.patched[0]![h]!, 4);
    expect(Math.abs(alone.patched[0]![0]! - group.patched[0]![0]!)).toBeGreaterThan(1e-3);
    model.dispose();
  });

  it("into parts of several layers change what each of them reads, and keep no tensor", async () => {
    const model = randomModel(smallConfig());
    const pair = {
      ...PAIR,
      clean: PAIR.clean.slice(0, 6),
      corrupt: PAIR.corrupt.slice(0, 6).map((id) => (id + 9) % 96),
    };
    const common = { pairs: [pair], through: "v", direction: "noise" } as const;
    await patchPaths(model, { ...common, into: ["1.2", "2.0", "m2", "logits"], from: ["0.1", "m1", "2.3"] });
    const before = tf.memory().numTensors;
    const all = await patchPaths(model, {
      ...common,
      into: ["1.2", "2.0", "m2", "logits"],
      from: ["0.1", "m1", "2.3"],
    });
    expect(tf.memory().numTensors).toBe(before);
    expect(all.patched.map((row) => row.map((value) => value !== null))).toEqual(
      Array.from({ length: 3 }, (_, l) => Array.from({ length: 6 }, (_, h) => ["0.1", "2.3"].includes(`${l}.${h}`))),
    );
    expect(all.patchedMlps).toEqual([null, expect.any(Number), null]);
    expect(all).not.toHaveProperty("patchedEmbed");
    // A sender reaches the receivers behind it alone.
    const later = await patchPaths(model, { ...common, into: ["m2", "logits"], from: ["2.3"] });
    expect(all.patched[2]![3]).toBeCloseTo(later.patched[2]![3]!, 4);
    model.dispose();
  });

  it("with the MLPs computed again from the embedding and all heads held are those through the MLPs", async () => {
    const model = randomModel(smallConfig({ attn_only: true }));
    const pairs = [{ ...PAIR, clean: [1, 2, 3], corrupt: [1, 5, 3] }];
    const common = { pairs, into: ["2.0"], through: "q" as const };
    const [frozen, recomputed] = [
      await patchPaths(model, { ...common, from: ["heads", "embed"] }),
      await patchPaths(model, { ...common, from: ["heads", "embed"], mlps: "recomputed" }),
    ];
    // In a model without MLPs both are the same.
    expect(frozen.patchedEmbed).toBeCloseTo(recomputed.patchedEmbed!, 4);
    for (const [h, value] of frozen.patched[1]!.entries()) expect(value).toBeCloseTo(recomputed.patched[1]![h]!, 4);
    model.dispose();
  });

  it.each([
    { into: ["1.2"] },
    { into: ["1.2"], through: "q", from: ["1.0"] },
    { into: ["1.2"], through: "q", from: ["m1"] },
    { into: ["1.2"], through: "q", from: ["logits"] },
    { into: ["0.2"], through: "q", from: ["heads"] },
    { into: ["m7"] },
    { into: ["1.9"], through: "q" },
    { into: ["1.2"], through: "q", mlps: "direct" },
    { into: ["1.2"], through: "q", form: "direct" },
  ])("refuses what cannot be: %j", async (options) => {
    const model = randomModel(smallConfig());
    const pairs = [{ ...PAIR, clean: [1, 2, 3], corrupt: [1, 5, 3] }];
    await expect(patchPaths(model, { pairs, ...options } as never)).rejects.toMatchObject({ kind: "usage" });
    model.dispose();
  });
});
