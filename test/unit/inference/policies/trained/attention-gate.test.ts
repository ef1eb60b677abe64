import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { headModel } from "../../../../../backend/common/heads/model.ts";
import { Random } from "../../../../../backend/common/random.ts";
import { type GatesFile, writeGates } from "../../../../../backend/heads/gate-files.ts";
import { generate } from "../../../../../backend/inference/generate.ts";
import { forward } from "../../../../../backend/models/forward/forward.ts";
import type { Model } from "../../../../../backend/models/model.ts";
import { errorOf } from "../../../../helpers/errors.ts";
import { kernelsHere } from "../../../../helpers/kernels/here.ts";
import { randomModel, randomTokens, smallConfig } from "../../../../helpers/models.ts";

await kernelsHere();
const folder = mkdtempSync(join(tmpdir(), "headscope-attention-gate-"));
const gates = join(folder, "gates.safetensors");
const WIDTH = 3;
let model: Model;
let file: GatesFile;

beforeAll(async () => {
  model = randomModel(smallConfig({ n_layers: 2 }));
  const random = new Random(4);
  const drawn = (shape: number[]) => ({
    shape,
    values: Float32Array.from({ length: shape.reduce((a, b) => a * b) }, () => random.normal()),
  });
  const parts = [0, 1].flatMap((l) => [
    [`blocks.${l}.project`, drawn([3 * WIDTH, 48])] as const,
    [`blocks.${l}.out`, drawn([2, WIDTH])] as const,
    [`blocks.${l}.bias`, drawn([2])] as const,
  ]);
  const about = { method: "attention-gate", model: headModel(model), params: {}, seed: 0, step: 1, steps: 1, seconds: 0, curve: [] }; // biome-ignore format: one object
  file = { about, tensors: new Map(parts) };
  await writeGates(gates, file);
});
afterAll(() => {
  model.dispose();
  rmSync(folder, { recursive: true });
});

/** The gates [layers][KV heads][positions], by loops over the stream of the forward. */
function gatesOn(tokens: readonly number[]): number[][][] {
  const names = [0, 1].map((l) => `blocks.${l}.hook_resid_pre`);
  const { activations, dispose } = forward(model, { tokens: [[...tokens]], logitsAt: "none" }, { names });
  const found = names.map((name, l) => {
    const stream = (activations.get(name)!.arraySync() as number[][][])[0]!;
    const part = (of: string) => file.tensors.get(`blocks.${l}.${of}`)!.values;
    const vectors = stream.map((x) => {
      const scale = Math.sqrt(x.reduce((sum, y) => sum + y * y, 0) / 48 + 1e-6);
      const row = (i: number) => x.reduce((sum, y, j) => sum + (y / scale) * part("project")[i * 48 + j]!, 0);
      return Array.from({ length: 3 * WIDTH }, (_, i) => row(i));
    });
    const read = vectors.map((own) => {
      const logits = vectors.map((other) =>
        [0, 1, 2].reduce((sum, i) => sum + (own[i]! * other[WIDTH + i]!) / Math.sqrt(WIDTH), 0),
      );
      const top = Math.max(...logits);
      const weights = logits.map((logit) => Math.exp(logit - top));
      const total = weights.reduce((a, b) => a + b);
      return [0, 1, 2].map((i) => weights.reduce((sum, w, k) => sum + (w / total) * vectors[k]![2 * WIDTH + i]!, 0));
    });
    return [0, 1].map((g) =>
      read.map((y) => {
        const score = y.reduce((sum, z, i) => sum + z * part("out")[g * WIDTH + i]!, part("bias")[g]!);
        return 1 / (1 + Math.exp(-score));
      }),
    );
  });
  dispose();
  return found;
}

describe("attention-gate", () => {
  it.each([50, 600])(
    "keeps what its gates put at the threshold or above, and the last of %i tokens",
    async (length) => {
      const tokens = randomTokens(1, length, 96, 8)[0]!;
      const policies = [{ name: "attention-gate", params: { gates, threshold: 0.4, prefill: "dense" } }];
      const { cache, policies: used } = await generate(model, { tokens, policies, maxTokens: 1, stop: [] });
      const values = gatesOn(tokens);
      cache.kept!.forEach((layer, l) => {
        layer.forEach((positions, g) => {
          const stay = values[l]![g]!.map((gate, p) => gate >= 0.4 || p === length - 1);
          const near = values[l]![g]!.map((gate) => Math.abs(gate - 0.4) < 1e-4);
          const held = new Set(positions);
          const odd = stay.flatMap((kept, p) => (kept !== held.has(p) && !near[p] ? [p] : []));
          expect(odd, `${l}.${g}`).toEqual([]);
        });
      });
      const sizes = cache.kept!.flat().map((positions) => positions.length);
      expect(new Set(sizes).size).toBeGreaterThan(1);
      expect(used![0]!.params["ratio"]).toBeUndefined();
    },
  );

  it("keeps the best where a budget is given", async () => {
    const tokens = randomTokens(1, 50, 96, 8)[0]!;
    const policies = [{ name: "attention-gate", params: { gates, budget: 11, prefill: "dense" } }];
    const { cache } = await generate(model, { tokens, policies, maxTokens: 1, stop: [] });
    const best = gatesOn(tokens).map((layer) =>
      layer.map((row) => {
        const order = row.slice(0, 49).map((gate, p) => ({ gate, p }));
        return [
          ...order
            .sort((a, b) => b.gate - a.gate)
            .slice(0, 10)
            .map(({ p }) => p),
          49,
        ].sort((a, b) => a - b);
      }),
    );
    expect(cache.kept).toEqual(best);
  });

  it("is refused beside a policy for blocks, unless the prompt sees itself whole", async () => {
    const tokens = randomTokens(1, 50, 96, 8)[0]!;
    const refused = (params: object) => {
      const own = { name: "attention-gate", params: { gates, ...params } };
      return generate(model, { tokens, policies: [own, { name: "a-shape", params: {} }], maxTokens: 1 });
    };
    expect(await errorOf(refused({}))).toMatchObject({ kind: "usage", field: "policies" });
    expect((await refused({ prefill: "dense" })).ids).toHaveLength(1);
  });

  it("says which command makes its gates", async () => {
    const policies = [{ name: "attention-gate", params: {} }];
    const error = await errorOf(generate(model, { tokens: [1, 2], policies, maxTokens: 1 }));
    expect(error).toMatchObject({
      kind: "usage",
      field: "gates",
      remedy: expect.stringContaining("--for attention-gate"),
    });
  });
});
