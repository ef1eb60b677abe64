import { readFileSync } from "node:fs";
import { beforeAll, describe, expect, it } from "vitest";
import { patchPaths } from "../../../backend/circuits/patching/path.ts";
import { PATH_MLPS } from "../../../backend/common/patching.ts";
import { runWithCache } from "../../../backend/hooks/run.ts";
import { generate } from "../../../backend/inference/generate.ts";
import { loadModel } from "../../../backend/models/load.ts";
import { initBackend } from "../../../backend/runtime/backend.ts";
import { tf } from "../../../backend/runtime/tf.ts";
import { fixture } from "../../helpers/fixtures.ts";

interface Oracle {
  knockOut: { model: string; ids: number[]; layer: number; queries: number[]; keys: number[]; heads: number[]; pattern: number[][][]; logits: number[][] }[];
  paths: {
    model: string; pair: { clean: number[]; corrupt: number[]; answer: number; wrong: number }; into: [number, number];
    clean: number; corrupt: number; patched: Record<"direct" | "mlps", Record<"q" | "k" | "v", number[]>>;
  }[];
  steering: { model: string; ids: number[]; positions: number[]; generated: number[]; lastLogits: number[] }[];
} // biome-ignore format: a table

const oracle = JSON.parse(readFileSync(new URL("../../oracles/interventions.json", import.meta.url), "utf8")) as Oracle;
const load = (name: string) => loadModel(fixture(`families/${name}`));

beforeAll(() => initBackend());

/** Largest difference between numbers of one shape. */
function farthest(ours: unknown, theirs: unknown): number {
  if (typeof theirs === "number") return Math.abs((ours as number) - theirs);
  expect((ours as unknown[]).length).toBe((theirs as unknown[]).length);
  return Math.max(...(theirs as unknown[]).map((value, i) => farthest((ours as unknown[])[i], value)));
}

describe("knocked-out attention is transformers' with the same entries of its mask lowered", () => {
  it.each(oracle.knockOut)(
    "$model, layer $layer",
    async ({ model: name, ids, layer, queries, keys, heads, ...theirs }) => {
      const model = await load(name);
      const at = `blocks.${layer}.attn.hook_pattern`;
      const { cache, logits } = runWithCache(model, [ids], {
        names: [at],
        interventions: [{ at: "attn.hook_attn_scores", layer, heads, positions: queries, keys, do: "knock-out" }],
      });
      const ours = tf.tidy(() => [cache.get(at).squeeze([0]).arraySync(), logits!.squeeze([0]).arraySync()]);
      expect(farthest(ours[0], theirs.pattern)).toBeLessThan(1e-4);
      expect(farthest(ours[1], theirs.logits)).toBeLessThan(2e-4);
      logits!.dispose();
      cache.dispose();
      model.dispose();
    },
  );
});

describe("path patching is the patch made by hand in transformers", () => {
  const cases = oracle.paths.flatMap((path) =>
    PATH_MLPS.flatMap((mlps) => (["q", "k", "v"] as const).map((through) => ({ ...path, mlps, through }))),
  );
  it.each(cases)(
    "$model, MLPs $mlps, through $through",
    async ({ model: name, pair, into, mlps, through, ...theirs }) => {
      const model = await load(name);
      const [layer, head] = into;
      const result = await patchPaths(model, { pairs: [pair], into: [{ layer, head }], through, mlps, kvGroup: true });
      expect(result.mlps).toBe(mlps);
      expect(result.clean).toBeCloseTo(theirs.clean, 3);
      expect(result.corrupt).toBeCloseTo(theirs.corrupt, 3);
      expect(
        farthest(result.patched[0], theirs.patched[({ frozen: "direct", recomputed: "mlps" } as const)[mlps]][through]),
      ).toBeLessThan(2e-4);
      model.dispose();
    },
  );
});

describe("steering at positions of the sequence gives transformers' continuation", () => {
  const cases = oracle.steering.flatMap((one) => [true, false].map((useCache) => ({ ...one, useCache })));
  it.each(cases)("$model, positions $positions, with a cache: $useCache", async (one) => {
    const model = await load(one.model);
    const vector = Array.from({ length: model.config.d_model }, (_, i) => 3 * Math.sin(i));
    let last: number[] = [];
    const { ids } = await generate(model, {
      tokens: one.ids,
      maxTokens: one.generated.length,
      stop: [],
      useCache: one.useCache,
      interventions: [{ at: "blocks.1.hook_resid_pre", do: "add", with: vector, positions: one.positions }],
      onStep: ({ logits }) => {
        last = [...logits!.dataSync()];
      },
    });
    expect(ids).toEqual(one.generated);
    expect(farthest(last, one.lastLogits)).toBeLessThan(2e-4);
    model.dispose();
  });
});
