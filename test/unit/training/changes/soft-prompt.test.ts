import { beforeAll, describe, expect, it } from "vitest";
import { initialParameters } from "../../../../backend/models/weights/trainable.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { makeSpec } from "../../../../backend/training/spec.ts";
import { failure } from "../../../helpers/errors.ts";
import { task, trainTiny, valuesOf } from "../../../helpers/training/tiny-run.ts";

const PROMPT = { soft_prompt: 4 };
const ALONE = { ...PROMPT, train_only: "soft_prompt" };

beforeAll(async () => void (await initBackend()));

describe("a soft prompt", () => {
  it("leaves the initial values of all other weights as they are without it", async () => {
    const [plain, prompted] = [await trainTiny({ steps: 1 }), await trainTiny({ steps: 1, ...PROMPT })];
    const [without, behind] = [plain, prompted].map(({ at }) => at(0).state[0]!);
    expect(behind!.slice(0, without!.length)).toEqual(without);
    const vectors = valuesOf(prompted.places, "soft_prompt", behind!);
    expect(vectors).toHaveLength(4 * 16);
    const spread = Math.sqrt(vectors.reduce((sum, x) => sum + x * x, 0) / vectors.length);
    expect(Math.abs(4 * spread - 1)).toBeLessThan(0.3); // 64 numbers of standard deviation 1 / sqrt(d_model)
  });

  it.each(["adamw", "sgd"])("is trained alone under %s, to the bit, and the loss falls", async (optimiser) => {
    const first = await trainTiny({});
    const origin = { config: first.config, parameters: first.at(20).state[0]! };
    const given = { ...ALONE, optimiser, weight_decay: 0.1, learning_rate: optimiser === "sgd" ? 1 : 0.05 };
    const { places, at, metrics } = await trainTiny(given, [5], { origin });
    const [before, after] = [at(0).state[0]!, at(20).state[0]!];
    expect(before.slice(0, origin.parameters.length)).toEqual(origin.parameters);
    for (const { name } of places) {
      const same = Buffer.from(valuesOf(places, name, before).buffer).equals(
        Buffer.from(valuesOf(places, name, after).buffer),
      );
      expect([name, same]).toEqual([name, name !== "soft_prompt"]);
    }
    expect(metrics.at(-1)!.values["fresh.loss"]).toBeLessThan(metrics[0]!.values["fresh.loss"]!);
  });

  it("begins, of a run without one, with fresh vectors of each seed", async () => {
    const first = await trainTiny({});
    const origin = { config: first.config, parameters: first.at(20).state[0]! };
    const { places, at } = await trainTiny({ ...ALONE, steps: 1 }, [3, 4], { origin });
    for (const seed of [3, 4])
      expect(valuesOf(places, "soft_prompt", at(0, seed).state[0]!)).toEqual(
        valuesOf(places, "soft_prompt", initialParameters(places, seed)),
      );
  });

  it("is left out of a run that begins with a run that has one, whose other weights are the same", async () => {
    const first = await trainTiny({ ...PROMPT, steps: 3 });
    const origin = { config: first.config, parameters: first.at(3).state[0]! };
    const { at, config } = await trainTiny({ steps: 1 }, [0], { origin });
    expect(config).not.toHaveProperty("soft_prompt");
    expect(at(0).state[0]).toEqual(origin.parameters.slice(0, -4 * 16));
  });

  it.each([
    ["tokens", {}],
    ["vectors and their last output", { vectors: true, last: true, positional_embedding_type: "rotary" }],
  ])("goes on bit for bit: %s", async (_, given) => {
    const raw = { ...given, ...PROMPT, freeze: "soft_prompt", attn_only: false };
    const whole = await trainTiny(raw, [1, 2]);
    const part = await trainTiny(raw, [1, 2], { stopAt: 9 });
    const resume = [1, 2].map((seed) => part.at(9, seed));
    const rest = await trainTiny(raw, [1, 2], { resume });
    for (const seed of [1, 2]) expect(rest.at(20, seed).state).toEqual(whole.at(20, seed).state);
    expect(rest.metrics).toEqual(whole.metrics.filter(({ step }) => step > 9));
  });

  it("is not there with 0 vectors", () => {
    const { model } = makeSpec(task, { soft_prompt: 0 });
    expect(model.soft_prompt).toBe(0);
  });
});

describe("a soft prompt that can't be", () => {
  it.each([
    [{ train_only: "soft_prompt" }, [], "train_only", /no weights "soft_prompt"/],
    [{ soft_prompt: 0, freeze: "soft_prompt" }, [], "freeze", /no weights "soft_prompt"/],
    [{ soft_prompt: 4 }, ["induction"], "probes", /a soft prompt of 4 vectors stands before it/],
    [{ soft_prompt: 1025 }, [], "soft_prompt", /soft_prompt/],
    [{ soft_prompt: 4, codes: 8 }, [], "codes", /a soft prompt has no tokens/],
  ])("%j is refused before training", async (raw, probes, field, message) => {
    const error = await failure(() => makeSpec(task, raw, { probes }));
    expect(error).toMatchObject({ kind: "usage", message: expect.stringMatching(message) });
    expect([error.field].flat()).toContain(field);
  });
});
