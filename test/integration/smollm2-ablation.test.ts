import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ablate, ablateSweep } from "../../backend/circuits/ablate.ts";
import { pairing } from "../../backend/hooks/reference.ts";
import { loadModel } from "../../backend/models/load.ts";
import type { Model } from "../../backend/models/model.ts";
import { havePulled, onSmolLm2, oracle, worst } from "../helpers/pulled.ts";

type Losses = { loss: number; nll: number[][] };
interface Oracle {
  rows: number[][];
  heads: [number, number][];
  permutation: number[];
  clean: Losses;
  ablated: Record<"zero" | "mean" | "meanByPosition" | "resample", Losses>;
  single: Losses & { heads: [number, number][] };
}

describe.skipIf(!havePulled)(onSmolLm2("ablation on SmolLM2"), () => {
  let model: Model;
  const { rows: tokens, heads: chosen, permutation, clean, ablated, single } = oracle<Oracle>("ablation");
  const refs = (heads: [number, number][]) => heads.map(([layer, head]) => ({ layer, head }));
  beforeAll(async () => {
    model = await loadModel("smollm2-135m");
  });
  afterAll(() => model?.dispose());

  it.each(["zero", "mean", "meanByPosition", "resample"] as const)(
    "by %s gives the losses of transformers",
    async (name) => {
      const byPosition = name === "meanByPosition";
      const method = byPosition ? "mean" : name;
      // The seed that pairs the rows as the oracle does.
      const seed = Array.from({ length: 100 }, (_, s) => s).find((s) => pairing(3, s).join() === permutation.join())!;
      const result = await ablate(model, {
        tokens,
        heads: refs(chosen),
        method,
        byPosition,
        seed,
        controls: name === "zero" ? 5 : 0,
      });
      expect(worst(result.clean.nll, clean.nll)).toBeLessThan(1e-3);
      expect(worst(result.ablated.nll, ablated[name].nll)).toBeLessThan(1e-3);
      expect(Math.abs(result.ablated.loss - ablated[name].loss)).toBeLessThan(1e-3);
      if (name === "zero") expect(result.control!.range[1]).toBeLessThan(result.ablated.loss);
    },
  );

  it("takes out one head, in a sweep", async () => {
    const [plain, one] = await ablateSweep(model, { tokens, method: "zero", sets: [[], refs(single.heads)] });
    expect(worst(plain!.nll, clean.nll)).toBeLessThan(1e-3);
    expect(worst(one!.nll, single.nll)).toBeLessThan(1e-3);
  });
});
