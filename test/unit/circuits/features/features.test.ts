import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { SparseDictionary } from "../../../../backend/circuits/features/dictionary.ts";
import { readFeatures } from "../../../../backend/circuits/features/read-features.ts";
import { loadDictionary } from "../../../../backend/circuits/features/sae-lens.ts";
import { featureChange, scaleFeatures } from "../../../../backend/circuits/features/scale-features.ts";
import { intervene } from "../../../../backend/circuits/intervene.ts";
import { runWithCache, runWithHooks } from "../../../../backend/hooks/run.ts";
import type { Model } from "../../../../backend/models/model.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { saveDictionary } from "../../../helpers/formats/dictionary.ts";
import { randomModel, randomTokens, smallConfig } from "../../../helpers/models.ts";

const WIDTH = 48;
const HOOK = "blocks.1.hook_resid_post";
const tokens = randomTokens(3, 9, 96).map((row, r) => row.slice(0, 9 - 2 * r));

let folder = "";
let model: Model;
beforeAll(async () => {
  await initBackend();
  model = randomModel(smallConfig());
  runWithHooks(model, [[1, 2]])!.dispose(); // makes what every run shares
  folder = await mkdtemp(join(tmpdir(), "headscope-features-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Saves a dictionary, reads it, uses it, and insists that nothing is left of it. */
async function withDictionary<T>(saved: Parameters<typeof saveDictionary>[1], use: (dictionary: SparseDictionary) => Promise<T> | T): Promise<T> {
  const before = tf.memory().numTensors;
  await saveDictionary(folder, saved);
  const dictionary = await loadDictionary(folder);
  const result = await use(dictionary);
  dictionary.dispose();
  expect(tf.memory().numTensors).toBe(before);
  return result;
} // biome-ignore format: one line

/** Rows of the identity, and those of its negative. */
const BOTH_SIGNS = Array.from({ length: 2 * WIDTH }, (_, f) =>
  Array.from({ length: WIDTH }, (_, d) => (d === f % WIDTH ? (f < WIDTH ? 1 : -1) : 0)),
);
/** Every dimension of a stream upwards and downwards as a feature of its own. */
const IDENTITY = { hook: HOOK, W_enc: transposed(BOTH_SIGNS), W_dec: BOTH_SIGNS };

function transposed(rows: readonly (readonly number[])[]): number[][] {
  return rows[0]!.map((_, c) => rows.map((row) => row[c]!));
}

describe("a dictionary's features", () => {
  const x = [[3, 1], [-1, 2]]; // biome-ignore format: one line
  // Less b_dec these are [2, 1] and [-2, 2]; the encoder gives [2, 0, 3] and [-2, 1, 0].
  const tiny = {
    W_enc: [[1, 0, 1], [0, 1, 1]],
    b_enc: [0, -1, 0],
    W_dec: [[1, 0], [0, 2], [0.5, 0]],
    b_dec: [1, 0],
  }; // biome-ignore format: matrices

  it.each([
    ["standard: all above 0", {}, {}, [[2, 0, 3], [0, 1, 0]], [[4.5, 0], [1, 2]]],
    ["without b_dec taken off", { apply_b_dec_to_input: false }, {}, [[3, 0, 4], [0, 1, 1]], [[6, 0], [1.5, 2]]],
    ["topk: the largest", { architecture: "topk", k: 1 }, {}, [[0, 0, 3], [0, 1, 0]], [[2.5, 0], [1, 2]]],
    ["topk: none below 0", { architecture: "topk", k: 3 }, {}, [[2, 0, 3], [0, 1, 0]], [[4.5, 0], [1, 2]]],
    ["topk by what is written", { architecture: "topk", k: 1, rescale_acts_by_decoder_norm: true }, {}, [[2, 0, 0], [0, 2, 0]], [[3, 0], [1, 2]]],
    ["jumprelu: above the threshold, not on it", { architecture: "jumprelu" }, { threshold: [2, 2, 2.5] }, [[0, 0, 3], [0, 0, 0]], [[2.5, 0], [1, 0]]],
  ])("are those of %s", (_, config, more, features, decoded) =>
    withDictionary({ config, ...tiny, ...more }, (dictionary) => {
      const input = tf.tensor2d(x);
      const active = dictionary.encode(input);
      const again = dictionary.decode(active);
      expect(active.arraySync()).toEqual(features);
      expect(again.arraySync()).toEqual(decoded);
      tf.dispose([input, active, again]);
    }),
  ); // biome-ignore format: a table
});

describe("reading prompts through a dictionary", () => {
  it("that is the identity, its reconstruction is exact", () =>
    withDictionary(IDENTITY, async (dictionary) => {
      const { reconstruction, rows } = await readFeatures(model, { dictionary, tokens });
      expect(reconstruction).toEqual({ explainedVariance: 1, explainedVarianceAfterFirst: 1, error: 0, l0: WIDTH });
      expect(rows.map(({ length }) => length)).toEqual([9, 7, 5]);
      for (const { error, l0 } of rows.flat()) expect([error, l0]).toEqual([0, WIDTH]);
    }));

  it("that always says the same, no variance is explained", () => {
    const mean = tf.tidy(() => {
      const { cache, logits } = runWithCache(model, tokens.slice(0, 1), { names: [HOOK] });
      const found = (tf.mean(cache.get(HOOK), [0, 1]).arraySync() as number[]).slice();
      tf.dispose(logits!);
      cache.dispose();
      return found;
    });
    const silent = { hook: HOOK, W_enc: Array.from({ length: WIDTH }, () => [0]), W_dec: [new Array(WIDTH).fill(1)], b_dec: mean }; // biome-ignore format: one line
    return withDictionary(silent, async (dictionary) => {
      const { reconstruction, largest } = await readFeatures(model, { dictionary, tokens: tokens.slice(0, 1) });
      expect(reconstruction.explainedVariance).toBeCloseTo(0, 5);
      expect(reconstruction.l0).toBe(0);
      expect(largest).toEqual([]);
    });
  });

  it("that leaves a half of everything, a quarter of the square is left, and more of the variance", () => {
    const half = BOTH_SIGNS.map((row) => row.map((x) => x / 2));
    return withDictionary({ ...IDENTITY, W_dec: half }, async (dictionary) => {
      const one = tokens.slice(0, 1);
      const { reconstruction, rows } = await readFeatures(model, { dictionary, tokens: one });
      const { cache, logits } = runWithCache(model, one, { names: [HOOK] });
      const [stream] = cache.get(HOOK).arraySync() as number[][][];
      logits!.dispose();
      cache.dispose();
      const explained = (some: number[][]): number => {
        const square = some.flat().reduce((sum, x) => sum + x * x, 0);
        const variance = some[0]!.reduce((sum, _, d) => {
          const mean = some.reduce((total, x) => total + x[d]!, 0) / some.length;
          return sum + some.reduce((total, x) => total + (x[d]! - mean) ** 2, 0);
        }, 0);
        return 1 - square / 4 / variance;
      };
      expect(reconstruction.error).toBeCloseTo(1 / 4, 6);
      expect(reconstruction.explainedVariance).toBeCloseTo(explained(stream!), 5);
      expect(reconstruction.explainedVarianceAfterFirst).toBeCloseTo(explained(stream!.slice(1)), 5);
      for (const { error } of rows.flat()) expect(error).toBeCloseTo(1 / 4, 6);
    });
  });

  it("that is of one token has no variance", () =>
    withDictionary(IDENTITY, async (dictionary) => {
      const { reconstruction } = await readFeatures(model, { dictionary, tokens: [[5]] });
      expect(reconstruction).toMatchObject({ explainedVariance: null, explainedVarianceAfterFirst: null, error: 0 });
    }));

  it("each feature has its largest activation where the stream reaches furthest its way", () =>
    withDictionary(IDENTITY, async (dictionary) => {
      const { largest, rows, hook } = await readFeatures(model, { dictionary, tokens, top: 3 });
      expect(hook).toBe(HOOK);
      const { cache, logits } = runWithCache(model, tokens, { names: [HOOK] });
      const stream = cache.get(HOOK).arraySync() as number[][][];
      logits!.dispose();
      cache.dispose();
      const all = tokens.flatMap((row, r) => row.flatMap((_, p) => stream[r]![p]!.map((x, d) => ({ feature: x > 0 ? d : d + WIDTH, activation: Math.abs(x), row: r, position: p })))); // biome-ignore format: one line
      const [first] = all.toSorted((a, b) => b.activation - a.activation);
      expect(largest).toHaveLength(3);
      expect(largest[0]).toMatchObject({ ...first!, activation: expect.closeTo(first!.activation, 4) });
      const own = all.filter(({ feature }) => feature === first!.feature).map(({ activation }) => activation);
      expect(largest[0]!.share).toBeCloseTo(own.length / 21, 6);
      expect(largest[0]!.mean).toBeCloseTo(own.reduce((a, b) => a + b) / 21, 4);
      const there = all.filter(({ row, position }) => row === 2 && position === 4);
      const order = there.toSorted((a, b) => b.activation - a.activation).map(({ feature }) => feature);
      expect(rows[2]![4]!.top.map(({ feature }) => feature)).toEqual(order.slice(0, 3));
    }));
});

describe("taking features out", () => {
  it("both ways of a dimension is putting it to 0; once is no change, twice is doubling", () =>
    withDictionary(IDENTITY, async (dictionary) => {
      const common = { dictionary, tokens, features: [7, 7 + WIDTH] };
      const mask = Array.from({ length: WIDTH }, (_, d) => (d === 7 ? 0 : 1));
      for (const [scale, factor] of [
        [0, mask],
        [2, mask.map((x) => 2 - x)],
      ] as const) {
        // biome-ignore format: one line
        const { clean, changed, nextToken } = await scaleFeatures(model, { ...common, scale });
        const interventions = [{ at: HOOK, do: "scale" as const, with: [...factor] }];
        const expected = await intervene(model, { tokens, interventions });
        expect(Math.abs(changed.loss - clean.loss)).toBeGreaterThan(1e-3);
        expect(changed.nll.flat().map((x, i) => Math.abs(x - expected.changed.nll.flat()[i]!)).every((x) => x < 1e-4)).toBe(true); // biome-ignore format: one line
        expect(nextToken[0]![0]!.ablated).toBeCloseTo(expected.nextToken[0]![0]!.ablated, 4);
      }
      const still = await scaleFeatures(model, { ...common, scale: 1 });
      expect(still.changed).toEqual(still.clean);
    }));

  it("that are never active changes nothing", () => {
    const dead = { ...IDENTITY, b_enc: BOTH_SIGNS.map((_, f) => (f === 3 ? -1e6 : 0)) };
    return withDictionary(dead, async (dictionary) => {
      const { clean, changed } = await scaleFeatures(model, { dictionary, tokens, features: [3] });
      expect(changed).toEqual(clean);
    });
  });

  it("of all heads' outputs reads them side by side", () => {
    const hook = "blocks.2.attn.hook_z";
    return withDictionary({ ...IDENTITY, hook }, async (dictionary) => {
      // Dimension 3 of head 2, of 8.
      const features = [2 * 8 + 3, 2 * 8 + 3 + WIDTH];
      const { changed } = await scaleFeatures(model, { dictionary, tokens, features });
      const factor = Array.from({ length: 8 }, (_, d) => (d === 3 ? 0 : 1));
      const interventions = [{ at: hook, heads: [2], do: "scale" as const, with: factor }];
      expect(changed.loss).toBeCloseTo((await intervene(model, { tokens, interventions })).changed.loss, 5);
    });
  });
});

describe("what is refused", () => {
  const named = (name: string) => ({ config: { architecture: name } });
  it.each([
    ["another architecture", { ...IDENTITY, ...named("gated") }, "unsupported"],
    ["a scaling of the input", { ...IDENTITY, config: { normalize_activations: "layer_norm" } }, "unsupported"],
    ["the fields of an earlier version", { ...IDENTITY, config: { activation_fn_str: "topk" } }, "unsupported"],
    ["a head alone", { ...IDENTITY, config: { metadata: { hook_head_index: 3 } } }, "unsupported"],
    ["a width that is none", { ...IDENTITY, config: { d_in: "wide" } }, "input"],
    ["weights of another shape", { ...IDENTITY, config: { d_sae: 5 } }, "mismatch"],
    ["topk without k", { ...IDENTITY, ...named("topk") }, "input"],
    ["more active features than there are", { ...IDENTITY, config: { architecture: "topk", k: 97 } }, "input"],
    ["jumprelu without thresholds", { ...IDENTITY, ...named("jumprelu") }, "missing"],
    ["weights that are no numbers", { ...IDENTITY, b_dec: new Array(WIDTH).fill(Number.NaN) }, "corrupt"],
  ])("%s", async (_, saved, kind) => {
    await saveDictionary(folder, saved);
    await expect(loadDictionary(folder)).rejects.toMatchObject({ kind });
  });

  it("a folder without the files", async () => {
    await expect(loadDictionary(join(folder, "nothing"))).rejects.toMatchObject({ kind: "missing" });
    const half = join(folder, "half");
    await mkdir(half);
    await writeFile(join(half, "cfg.json"), JSON.stringify({ architecture: "standard", d_in: 2, d_sae: 3 }));
    await expect(loadDictionary(half)).rejects.toMatchObject({ kind: "missing" });
  });

  it.each([
    ["another width", { W_enc: [[1], [1]], W_dec: [[1, 1]], hook: HOOK }, {}, "mismatch"],
    ["a hook point that the model lacks", { ...IDENTITY, hook: "blocks.7.hook_resid_post" }, {}, "mismatch"],
    ["another hook point than its own", IDENTITY, { at: "blocks.0.hook_resid_post" }, "mismatch"],
    ["no hook point", { ...IDENTITY, hook: undefined }, {}, "input"],
    ["a hook point that is none", { ...IDENTITY, hook: undefined }, { at: "blocks.0.hook_resid" }, "usage"],
    ["patterns", { ...IDENTITY, hook: undefined }, { at: "blocks.0.attn.hook_pattern" }, "unsupported"],
    ["an option that there is not", IDENTITY, { layer: 1 }, "usage"],
    ["rows that are none", IDENTITY, { tokens: [] }, "input"],
  ])("to read through a dictionary: %s", (_, saved, change, kind) =>
    withDictionary(saved, (dictionary) =>
      expect(readFeatures(model, { dictionary, tokens, ...change })).rejects.toMatchObject({ kind }),
    ),
  );

  it("features that there are not, and no features", () =>
    withDictionary(IDENTITY, async (dictionary) => {
      for (const features of [[2 * WIDTH], [-1], []])
        await expect(featureChange(model, { dictionary, tokens, features })).rejects.toMatchObject({ kind: "usage" });
    }));
});
