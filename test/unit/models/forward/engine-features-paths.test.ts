import type { Tensor } from "@tensorflow/tfjs";
import { describe, expect, it } from "vitest";
import { patch } from "../../../../backend/circuits/patching/patch.ts";
import { patchPaths } from "../../../../backend/circuits/patching/path.ts";
import { KvCache } from "../../../../backend/models/cache/kv-cache.ts";
import { forward } from "../../../../backend/models/forward/forward.ts";
import type { PatternReduction } from "../../../../backend/models/transformer/attention.ts";
import { hookNames } from "../../../../backend/models/transformer/hook-points.ts";
import { trainingForward } from "../../../../backend/models/transformer/training-forward.ts";
import { parameter, parameterNames } from "../../../../backend/models/weights/parameters.ts";
import { initialParameters, parameterLayout, weightsOver } from "../../../../backend/models/weights/trainable.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { refused } from "../../../helpers/errors.ts";
import { maxDifference, randomModel, randomTokens, smallConfig } from "../../../helpers/models.ts";
import { reference } from "../../../helpers/reference-transformer.ts";

await initBackend();

const WINDOW = 150;
const waves = { inverse: [0, 1, 2, 3].map((i) => 10000 ** (-i / 4)), factor: 1 };
/** What most families have between them: windows in some layers, soft caps, norms on both sides and of queries and keys. */
const config = smallConfig({
  norm_placement: "both", qk_norm: "head", attn_scores_soft_cap: 5, output_logits_soft_cap: 3, embed_scale: 2,
  window_size: WINDOW, attn_types: ["global", "local", "global"],
}); // biome-ignore format: a table
const localOf = (layer: number): number | undefined => (layer === 1 ? WINDOW : undefined);
const heads = [
  [undefined, { sink: 2, recent: 90 }],
  [
    { sink: 3, recent: 200 },
    { sink: 1, recent: 20 },
  ],
  [undefined, undefined],
];
/** Mean attention to the key just before, and the place of the largest weight. */
const REDUCTIONS: PatternReduction[] = [
  { kind: "sum", name: "previous", weight: (query, key) => tf.cast(tf.equal(tf.sub(query, key), 1), "float32") },
  { kind: "map", name: "top", map: (pattern) => tf.cast(tf.argMax(pattern, -1), "float32") },
];

describe("heads with windows in layers with windows", () => {
  it("attend to what both allow: whole, in chunks, and in caches that keep a window or all", () => {
    const model = randomModel(config);
    const tokens = randomTokens(1, 640, 96, 5);
    const facts = (l: number) => ({ waves, local: localOf(l), windows: heads[l] });
    const wanted = tf.tensor3d([reference(model, tokens[0]!, facts).logits]);
    const short = forward(model, { tokens: [tokens[0]!.slice(0, 300)], windows: heads });
    expect(maxDifference(short.logits!, tf.slice(wanted, [0, 0, 0], [1, 300, 96])), "at once").toBeLessThan(2e-4);
    for (const captured of [true, false]) {
      const whole = forward(model, { tokens, windows: heads }, { captured });
      expect(maxDifference(whole.logits!, wanted), `in chunks, captured ${captured}`).toBeLessThan(3e-4);
      const cache = new KvCache(config, { capacity: 640, windows: heads });
      const parts = [tokens[0]!.slice(0, 630), ...tokens[0]!.slice(630).map((id) => [id])];
      for (const part of parts) {
        const first = cache.lengths[0]!;
        const made = forward(model, { tokens: [part], cache }, { captured });
        const own = tf.slice(wanted, [0, first, 0], [1, part.length, 96]);
        expect(maxDifference(made.logits!, own), `cached from ${first}, captured ${captured}`).toBeLessThan(3e-4);
        made.dispose();
      }
      cache.dispose();
    }
    model.dispose();
  });
});

describe("reductions of patterns in models with windows", () => {
  it("are those of the whole pattern, in chunks and for single tokens over a cache", () => {
    const model = randomModel(config);
    const tokens = randomTokens(1, 560, 96, 6);
    const at = (pattern: Tensor, first: number): { previous: number[]; top: number[] } => {
      const [, H, Q, K] = pattern.shape as [number, number, number, number];
      const values = pattern.dataSync();
      const previous = new Array<number>(H).fill(0);
      const top: number[] = [];
      for (let h = 0; h < H; h++)
        for (let q = 0; q < Q; q++) {
          const row = values.subarray((h * Q + q) * K, (h * Q + q + 1) * K);
          if (first + q > 0) previous[h]! += row[first + q - 1]!;
          top.push(row.indexOf(Math.max(...row)));
        }
      return { previous, top };
    };
    const name = "blocks.1.attn.hook_pattern";
    const shown = forward(model, { tokens }, { names: [name], captured: false });
    const pattern = shown.activations.get(name)!;
    const whole = at(pattern, 0);
    const chunked = forward(model, { tokens }, { reductions: REDUCTIONS });
    const near = (found: Tensor, wanted: readonly number[]): void =>
      [...found.dataSync()].forEach((value, i) => {
        expect(value).toBeCloseTo(wanted[i]!, 3);
      });
    near(chunked.reductions.get("previous")![1]!, whole.previous);
    expect([...chunked.reductions.get("top")![1]!.dataSync()]).toEqual(whole.top);
    const cache = new KvCache(config, { capacity: 560 });
    forward(model, { tokens: [tokens[0]!.slice(0, 559)], cache, logitsAt: "none" }).dispose();
    const step = forward(model, { tokens: [tokens[0]!.slice(559)], cache }, { reductions: REDUCTIONS });
    const last = at(tf.slice(pattern, [0, 0, 559, 0], [1, 6, 1, 560]), 559);
    near(step.reductions.get("previous")![1]!, last.previous);
    expect([...step.reductions.get("top")![1]!.dataSync()]).toEqual(last.top);
    for (const made of [shown, chunked, step]) made.dispose();
    cache.dispose();
    model.dispose();
  });
});

describe("long decoding", () => {
  it("gives the logits of the whole in a model with soft caps and some windows", () => {
    const model = randomModel(config);
    const [prefix, total] = [1020, 1064];
    const tokens = randomTokens(1, total, 96, 11);
    const cache = new KvCache(config, { capacity: 1200 });
    forward(model, { tokens: [tokens[0]!.slice(0, prefix)], cache, logitsAt: "none" }).dispose();
    const steps: Tensor[] = [];
    for (let t = prefix; t < total; t++)
      steps.push(forward(model, { tokens: [[tokens[0]![t]!]], cache, logitsAt: "last" }).logits!);
    cache.dispose();
    const whole = forward(model, { tokens, logitsAt: steps.map((_, i) => prefix + i) });
    expect(maxDifference(tf.concat(steps, 1), whole.logits!)).toBeLessThan(5e-4);
    model.dispose();
  });
});

describe("rows of different lengths", () => {
  it("go on by single tokens as each alone, reductions included", () => {
    const model = randomModel(config);
    const tokens = randomTokens(2, 190, 96, 12);
    const lengths = [190, 171];
    const cache = new KvCache(config, { rows: 2, capacity: 220 });
    forward(model, { tokens: tokens.map((row, r) => row.slice(0, lengths[r])), cache, logitsAt: "none" }).dispose();
    for (let step = 0; step < 3; step++) {
      const next = [5 + step, 40 + step];
      tokens.forEach((row, r) => {
        row.length = lengths[r]! + step;
        row.push(next[r]!);
      });
      const reductions = step === 1 ? REDUCTIONS : [];
      const made = forward(model, { tokens: next.map((id) => [id]), cache }, { reductions });
      tokens.forEach((row, r) => {
        const alone = forward(model, { tokens: [row], logitsAt: "last" }, { reductions });
        expect(maxDifference(tf.slice(made.logits!, [r, 0, 0], [1, 1, 96]), alone.logits!)).toBeLessThan(3e-4);
        const tops = alone.reductions.get("top")?.map((t) => tf.slice(t, [0, 0, row.length - 1], [1, 6, 1]));
        tops?.forEach((top, layer) => {
          const own = tf.slice(made.reductions.get("top")![layer]!, [r, 0, 0], [1, 6, 1]);
          expect([...own.dataSync()]).toEqual([...top.dataSync()]);
        });
        alone.dispose();
      });
      made.dispose();
    }
    cache.dispose();
    model.dispose();
  });

  it("go into a cache with streaming heads, and on in steps of several tokens, as each alone", () => {
    const model = randomModel(config);
    const tokens = randomTokens(2, 640, 96, 13);
    const cache = new KvCache(config, { rows: 2, capacity: 660, windows: heads });
    const steps = [[560, 7], [5, 2], [1, 1], [3, 30]]; // biome-ignore format: a table
    const ends = [0, 0];
    for (const counts of steps) {
      const part = tokens.map((row, r) => row.slice(ends[r], ends[r]! + counts[r]!));
      const made = forward(model, { tokens: part, cache, logitsAt: "last" });
      tokens.forEach((row, r) => {
        ends[r]! += counts[r]!;
        const alone = forward(model, { tokens: [row.slice(0, ends[r])], windows: heads, logitsAt: "last" });
        const own = tf.slice(made.logits!, [r, 0, 0], [1, 1, 96]);
        expect(maxDifference(own, alone.logits!), `row ${r} at ${ends[r]}`).toBeLessThan(3e-4);
        alone.dispose();
      });
      made.dispose();
      expect(cache.lengths).toEqual(ends);
    }
    cache.dispose();
    model.dispose();
  });
});

describe("names of what a model has", () => {
  const shapes = { norm_placement: ["pre", "post", "both"], parallel_attn_mlp: [false, true] } as const;
  for (const norm_placement of shapes.norm_placement)
    for (const parallel_attn_mlp of shapes.parallel_attn_mlp)
      it(`all have their activation and parameter: norms ${norm_placement}, parallel ${parallel_attn_mlp}`, () => {
        const own = smallConfig({
          norm_placement,
          parallel_attn_mlp,
          qk_norm: "all",
          n_layers: 1,
          n_key_value_heads: 6,
        });
        const model = randomModel(own);
        const names = hookNames(own);
        const made = forward(model, { tokens: randomTokens(1, 5, 96) }, { names, captured: false });
        expect([...made.activations.keys()].sort()).toEqual([...names].sort());
        expect(names.includes("blocks.0.hook_resid_mid")).toBe(!parallel_attn_mlp);
        expect(names.includes("blocks.0.ln1.hook_scale")).toBe(norm_placement !== "post");
        expect(names.includes("blocks.0.ln2_post.hook_normalized")).toBe(norm_placement !== "pre");
        made.dispose();
        for (const name of parameterNames(own)) parameter(model, name).dispose();
        expect(parameter(model, "blocks.0.attn.k_norm.w").shape).toEqual([48]);
        model.dispose();
      });
});

describe("patching in such models", () => {
  const prompts = randomTokens(2, 9, 96, 21);
  const pair = { clean: prompts[0]!, corrupt: prompts[1]!, answer: 3, wrong: 8 };

  it("says that there is no middle of the stream where attention and MLP work side by side", async () => {
    const model = randomModel(smallConfig({ parallel_attn_mlp: true, n_layers: 1 }));
    await expect(patch(model, { pairs: [pair], node: "resid_mid", by: "layer" })).rejects.toThrow(refused("usage"));
    model.dispose();
  });

  it("takes a path through the norm after attention: one layer, one head, as run by hand", async () => {
    const own = smallConfig({ norm_placement: "post", n_layers: 2, n_heads: 1, n_key_value_heads: 1 });
    const model = randomModel(own);
    const { patched } = await patchPaths(model, { pairs: [pair], into: [{ layer: 1, head: 0 }], through: "q" });
    // With one head the change is what the whole of attention adds: clean minus corrupt hook_attn_out.
    const names = ["blocks.0.hook_attn_out"];
    const [clean, corrupt] = [pair.clean, pair.corrupt].map((tokens) =>
      forward(model, { tokens: [tokens] }, { names }),
    );
    const change = tf.sub(clean!.activations.get(names[0]!)!, corrupt!.activations.get(names[0]!)!);
    const by = new Map([
      ["blocks.1.hook_q_input", { gain: tf.scalar(1), bias: tf.reshape(change, [1, 9, 1, own.d_model]) }],
    ]);
    const hand = forward(model, { tokens: [pair.corrupt], logitsAt: "last" }, { interventions: by });
    const logits = hand.logits!.dataSync();
    expect(patched[0]![0]).toBeCloseTo(logits[3]! - logits[8]!, 3);
    model.dispose();
  });
});

describe("training's forward", () => {
  it.each(["last", "all"] as const)("is the model's own, outputs at %s positions", (scored) => {
    for (const changes of [
      { ...config, rotary_dim: 4 },
      smallConfig({ norm_placement: "post", qk_norm: "all", window_size: 4, parallel_attn_mlp: true }),
    ]) {
      const own = { ...changes, window_size: 4, n_ctx: 32 };
      const places = parameterLayout(own);
      const values = initialParameters(places, 3);
      const weights = weightsOver(own, places, ({ offset, size, shape }) =>
        tf.tensor(values.subarray(offset, offset + size), [...shape]),
      );
      const model = randomModel(own);
      Object.assign(model.weights, weights);
      const tokens = randomTokens(2, 12, 96, 9);
      const made = forward(model, { tokens, logitsAt: scored }, { captured: false });
      const rotation = model.rotary!;
      const turn = (t: Tensor): Tensor =>
        tf.tile(tf.reshape(tf.slice(t, [0, 0], [12, own.rotary_dim]), [12, 1, own.rotary_dim]), [2, 1, 1]);
      const { logits } = trainingForward(own, weights, {
        read: tf.tensor1d(tokens.flat(), "int32"),
        rows: 2,
        positions: 12,
        rotation: { cos: turn(rotation.cos), sin: turn(rotation.sin) },
        scored,
      });
      expect(maxDifference(tf.reshape(logits, made.logits!.shape), made.logits!)).toBeLessThan(1e-4);
    }
  });
});
