import { beforeAll, describe, expect, it } from "vitest";
import { headWeights } from "../../../../backend/circuits/weights/head-weights.ts";
import { parseHeads } from "../../../../backend/heads/refs.ts";
import { loadModel } from "../../../../backend/models/load.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { circuitOracle, FAMILIES, loadFamily } from "../../../helpers/oracles/circuits.ts";

beforeAll(async () => void (await initBackend()));

/** Closeness to seven digits, which is what the files hold; of numbers near zero to 2e-4. */
const near = (value: number) => expect.closeTo(value, 4 - Math.max(0, Math.ceil(Math.log10(Math.abs(value) + 1e-9))));

describe.each(FAMILIES)("heads in the weights of %s are NumPy's", (name) => {
  const { heads } = circuitOracle(name);

  // OLMo 2 has no norms in front of attention, and what those behind it scale can't be folded.
  const sections = Object.entries(heads).filter(([processing]) => !(name === "olmo2" && processing === "fold_ln"));

  it.each(sections)("%s", async (processing, expected) => {
    const plain = await loadFamily(name);
    const model = processing === "raw" ? plain : await loadModel(plain.ref, { process: ["fold_ln"] });
    const names = expected.heads.map(({ head }) => head).join();
    const shape = { layers: model.config.n_layers, heads: model.config.n_heads };
    const tokenPairs = expected.tokenPairs[0]!.pairs.length;
    const found = await headWeights(model, { heads: await parseHeads(names, shape), tokenPairs });
    expected.heads.forEach(({ copying, ov, qk }, i) => {
      const own = found.heads[i]!;
      expect(own.copying).toEqual(near(copying));
      for (const [circuit, size] of [[own.ov, ov], [own.qk, qk]] as const) {
        expect(circuit.norm).toEqual(near(size.norm));
        expect(circuit.singular).toEqual(size.singular.map(near));
      }
    }); // biome-ignore format: one line
    for (const { from, to, q, k, v } of expected.composition) {
      const own = found.composition.find((pair) => pair.from === from && pair.to === to)!;
      expect([own.q, own.k, own.v]).toEqual([q, k, v].map(near));
    }
    expect(found.composition).toHaveLength(expected.composition.length);
    expected.tokenPairs.forEach(({ pairs, diagonal }, i) => {
      const own = found.tokenPairs![i]!;
      expect(own.pairs.map(({ value }) => value)).toEqual(pairs.map(({ value }) => near(value)));
      expect(own.diagonal.top1).toBeCloseTo(diagonal.top1, 5);
      expect(own.diagonal.top10).toBeCloseTo(diagonal.top10, 5);
      expect(own.diagonal.median).toBe(diagonal.median);
      expect(own.diagonal.mean).toBeCloseTo(diagonal.mean, 2);
    });
    for (const loaded of new Set([plain, model])) loaded.dispose();
  });
});
