import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { TokenPair } from "../../backend/circuits/pairs.ts";
import { patch } from "../../backend/circuits/patch.ts";
import type { PatchNode, PatchPlace } from "../../backend/common/patching.ts";
import { loadModel } from "../../backend/models/load.ts";
import type { Model } from "../../backend/models/model.ts";
import { havePulled, onSmolLm2, oracle, worst } from "../helpers/pulled.ts";

interface Table {
  node: PatchNode;
  by: PatchPlace;
  layers: number[];
  patched: number[][];
}
interface Oracle {
  pairs: { cleanText: string; corruptText: string; pair: TokenPair; clean: number; corrupt: number; tables: Table[] }[];
}

describe.skipIf(!havePulled)(onSmolLm2("patching on SmolLM2"), () => {
  let model: Model;
  const [first, second] = oracle<Oracle>("patching").pairs as [Oracle["pairs"][0], Oracle["pairs"][0]];
  beforeAll(async () => {
    model = await loadModel("smollm2-135m");
  });
  afterAll(() => model?.dispose());

  it.each(first.tables.map(({ node, by }, i) => [node, by, i] as const))(
    "of %s by %s gives the logit differences of transformers",
    async (node, by, i) => {
      const { layers: all, patched: whole } = first.tables[i]!;
      // Of the tables that hold every layer, the same six as of the others.
      const chosen = all
        .map((layer, at) => ({ layer, at }))
        .filter(({ layer }) => [0, 8, 14, 17, 22, 29].includes(layer));
      const layers = chosen.map(({ layer }) => layer);
      const patched = chosen.map(({ at }) => whole[at]!);
      const result = await patch(model, { pairs: [first.pair], node, by, layers });
      expect(Math.abs(result.clean - first.clean)).toBeLessThan(1e-3);
      expect(Math.abs(result.corrupt - first.corrupt)).toBeLessThan(1e-3);
      expect(worst(result.patched, patched)).toBeLessThan(1e-3);
    },
  );

  it("takes texts, and averages over pairs of different lengths", async () => {
    const texts = [first, second].map(({ cleanText, corruptText, pair }) => ({
      clean: cleanText,
      corrupt: corruptText,
      answer: model.tokenizer!.decode([pair.answer]),
      wrong: model.tokenizer!.decode([pair.wrong]),
    }));
    const result = await patch(model, { pairs: texts, node: "z", by: "head", layers: [17, 22, 29] });
    const table = (p: Oracle["pairs"][0]) => p.tables.find(({ node, by }) => node === "z" && by === "head")!.patched;
    const mean = table(first).map((row, l) => row.map((x, h) => (x + table(second)[l]![h]!) / 2));
    expect(
      worst(
        result.patched,
        [17, 22, 29].map((l) => mean[l]),
      ),
    ).toBeLessThan(1e-3);
    expect(Math.abs(result.clean - (first.clean + second.clean) / 2)).toBeLessThan(1e-3);
  });
});
