import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { answerPairs, maskedAnswers } from "../../../backend/circuits/pair-answers.ts";
import { tokenPairs } from "../../../backend/circuits/pairs.ts";
import { maskFromHeads, maskFromKvHeads } from "../../../backend/common/heads/mask.ts";
import { headModel } from "../../../backend/common/heads/model.ts";
import { randomMask } from "../../../backend/common/heads/random-mask.ts";
import { Random } from "../../../backend/common/random.ts";
import { generate } from "../../../backend/inference/generate.ts";
import type { Model } from "../../../backend/models/model.ts";
import { initBackend } from "../../../backend/runtime/backend.ts";
import { circuitOracle, loadFamily } from "../../helpers/oracles/circuits.ts";

let model: Model;
beforeAll(async () => {
  await initBackend();
  model = await loadFamily("llama-gqa");
});
afterAll(() => model.dispose());

const [first, second] = circuitOracle("llama-gqa").pairs;
const pairs = () =>
  tokenPairs(model, [{ ...first!, clean: first!.clean.slice(3), corrupt: first!.corrupt.slice(3) }, second]);
const masks = () => ({
  streaming: maskFromKvHeads(headModel(model), [{ layer: 1, head: 0 }], { sink: 1, recent: 3 }),
  ablating: maskFromHeads(headModel(model), [
    { layer: 0, head: 1 },
    { layer: 1, head: 2 },
  ]),
});

describe("answers under a mask", () => {
  it.each(["streaming", "ablating"] as const)("are those of a generation's first token: %s", async (kind) => {
    const mask = masks()[kind];
    const { perPair } = await answerPairs(model, pairs(), { mask });
    const whole = await answerPairs(model, pairs());
    for (const [p, { clean, answer, wrong }] of pairs().entries()) {
      const { logits } = await generate(model, { tokens: clean, maxTokens: 1, mask });
      expect(perPair[p]!.clean).toBeCloseTo(logits[answer as number]! - logits[wrong as number]!, 4);
      expect(Math.abs(perPair[p]!.clean - whole.perPair[p]!.clean)).toBeGreaterThan(1e-3);
    }
  });

  it("come with the heads that the mask names, and one control a draw, the same for a seed", async () => {
    const mask = masks().streaming;
    const { n_layers, n_key_value_heads, n_heads } = model.config;
    const answers = await maskedAnswers(model, pairs(), { mask, draws: 3, seed: 7 });
    expect(answers.heads).toEqual({
      full: 1,
      kvHeads: n_layers * n_key_value_heads,
      ablated: 0,
      heads: n_layers * n_heads,
    });
    expect(answers.controls).toHaveLength(3);
    expect((await maskedAnswers(model, pairs(), { mask, draws: 3, seed: 7 })).controls).toEqual(answers.controls);
  });

  it("refuse a mask of another shape", async () => {
    const other = maskFromHeads({ ...headModel(model), layers: 1 }, []);
    await expect(answerPairs(model, pairs(), { mask: other })).rejects.toMatchObject({ kind: "mismatch" });
  });
});

describe("a random mask", () => {
  it("has as many heads of each kind at other places", () => {
    const mask = { ...masks().streaming, ...{ heads: masks().ablating.heads } };
    const count = (table: readonly (readonly string[])[] | undefined, word: string) =>
      table!.flat().filter((each) => each === word).length;
    const drawn = Array.from({ length: 20 }, (_, draw) => randomMask(mask, new Random(0, draw)));
    for (const { kvHeads, heads } of drawn) {
      expect(count(kvHeads, "retrieval")).toBe(1);
      expect(count(heads, "ablate")).toBe(2);
    }
    expect(new Set(drawn.map(({ kvHeads }) => JSON.stringify(kvHeads))).size).toBeGreaterThan(1);
  });
});
