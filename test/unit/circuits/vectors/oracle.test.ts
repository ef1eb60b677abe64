import { beforeAll, describe, expect, it } from "vitest";
import { functionVector } from "../../../../backend/circuits/vectors/function-vector.ts";
import { steer } from "../../../../backend/circuits/vectors/steer.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { circuitOracle, loadFamily } from "../../../helpers/oracles/circuits.ts";

beforeAll(async () => void (await initBackend()));

/** Families that differ in what vectors pass: biases, parallel blocks, grouped queries, norms behind attention. */
const FAMILIES = ["gpt2", "gpt_neox", "llama-gqa", "gemma2", "olmo2"];

/** Largest difference of two lists of numbers. */
const worst = (a: readonly number[], b: readonly number[]): number =>
  a.length === b.length ? Math.max(...a.map((x, i) => Math.abs(x - b[i]!))) : Number.POSITIVE_INFINITY;

describe.each(FAMILIES)("vectors of %s are PyTorch's", (name) => {
  const { functionVector: expected, steering } = circuitOracle(name);

  it("for a function", async () => {
    const model = await loadFamily(name);
    const layers = Object.keys(expected.zeroShot).filter((layer) => layer !== "none");
    const { cases, top } = expected;
    const found = await functionVector(model, { cases, top, layers: layers.map(Number) });
    const mean = found.effects[0]!.map((row, l) =>
      row.map((_, h) => found.effects.reduce((sum, table) => sum + table[l]![h]!, 0) / cases.length),
    );
    expect(worst(mean.flat(), expected.values.flat())).toBeLessThan(2e-5);
    expect(found.top).toEqual(expected.heads);
    expect(worst(found.vector, expected.vector)).toBeLessThan(2e-4);
    for (const side of ["clean", "shuffled"] as const)
      expect(worst(found.perCase.map((one) => one[side]), expected.perCase.map((one) => one[side]))).toBeLessThan(2e-5); // biome-ignore format: one line
    expect(Object.keys(found.zeroShot).sort()).toEqual(Object.keys(expected.zeroShot).sort());
    for (const [layer, { probability, ranks }] of Object.entries(expected.zeroShot)) {
      expect(found.zeroShot[layer]!.probability).toBeCloseTo(probability, 5);
      expect(found.zeroShot[layer]!.ranks).toEqual(ranks);
    }
    model.dispose();
  });

  it("for steering", async () => {
    const model = await loadFamily(name);
    const vector = Array.from({ length: model.config.d_model }, (_, i) => 3 * Math.sin(i));
    for (const { rows: tokens, layer, positions, scale, vocabulary, lastLogits, ...sizes } of steering) {
      const found = await steer(model, { tokens, vector, layer, positions, scale, logits: true });
      expect(worst([found.norm, found.residNorm], [sizes.norm, sizes.residNorm])).toBeLessThan(2e-4);
      for (const run of ["base", "steered"] as const) {
        expect(found[run].top.map(({ id }) => id)).toEqual(sizes[run].top.map(({ id }) => id));
        expect(worst(found[run].top.map(({ logit }) => logit), sizes[run].top.map(({ logit }) => logit))).toBeLessThan(2e-4); // biome-ignore format: one line
      }
      const logits = (found.logits!.arraySync() as number[][][]).map((row) => vocabulary.map((id) => row.at(-1)![id]!));
      expect(worst(logits.flat(), lastLogits.flat())).toBeLessThan(2e-4);
      found.logits!.dispose();
    }
    model.dispose();
  });
});
