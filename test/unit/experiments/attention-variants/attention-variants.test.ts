import { describe, expect, test } from "vitest";
import { makeSpec } from "../../../../backend/training/spec.ts";
import { judge, type VariantLosses } from "../../../../experiments/attention-variants/judge.ts";
import { experimentParameters, experiments } from "../../../../experiments/index.ts";
import { tasks } from "../../../../synthetic-tasks/index.ts";
import { failure } from "../../../helpers/errors.ts";

const four = (value: number) => [value, value, value, value];
const found = (changes: Partial<VariantLosses> = {}): VariantLosses => ({
  whole: four(0.1),
  powers: [{ name: "power 2", losses: four(0.12) }],
  ...{ keyHeads: four(0.11), valueHeads: four(0.16), keyWidths: four(0.12), valueWidths: four(0.18), factor: 4 },
  ...changes,
});
const of = (changes: Partial<VariantLosses> = {}) =>
  Object.fromEntries(judge(found(changes)).map(({ id, verdict }) => [id, verdict]));

describe("attention-variants", () => {
  test("is reproduced where powers are as good and keys cost less than values", () => {
    expect(new Set(Object.values(of()))).toEqual(new Set(["reproduced"]));
  });

  test("takes every power, and keys that cost less seed by seed", () => {
    const powers = [2, 4].map((power) => ({ name: `power ${power}`, losses: four(power === 2 ? 0.12 : 0.16) }));
    expect(of({ powers })["power"]).toBe("not reproduced");
    expect(of({ keyHeads: [0.11, 0.11, 0.17, 0.17] })["fewer-keys"]).toBe("not reproduced");
    expect(of({ keyHeads: [0.11, 0.11, 0.11, 0.17] })["fewer-keys"]).toBe("reproduced");
    expect(of({ keyHeads: four(0.151), valueHeads: four(0.3) })).toMatchObject({
      "fewer-keys": "reproduced",
      "equal-loss": "not reproduced",
    });
  });

  test("leaves open which costs less where neither costs anything", () => {
    expect(of({ keyWidths: four(0.1), valueWidths: four(0.105) })["narrower-keys"]).toBe("inconclusive at this scale");
  });

  test("compares models that the trainer takes, with as many numbers of keys as of values left", () => {
    const params = experimentParameters(experiments, "attention-variants", "quick");
    const { stages } = experiments.get("attention-variants");
    expect(stages(params).map(({ label }) => label)).toEqual([
      ...["softmax, all heads", "power 2", "power 4", "key heads / 4", "value heads / 4"],
      ...["key width / 4", "value width / 4"],
    ]);
    const task = tasks.get("linear-regression");
    expect(() => makeSpec(task, { n_heads: 4, d_model: 32, key_heads: 1, key_width: 2 })).not.toThrow();
  });

  test("is refused before training where heads can't be divided", async () => {
    const params = experimentParameters(experiments, "attention-variants", "quick", { shares: [3] });
    const checked: unknown[] = [];
    const task = tasks.get("linear-regression");
    const context = { check: (plan: { params: Record<string, unknown> }) => checked.push(makeSpec(task, plan.params)) };
    const error = await failure(() => experiments.get("attention-variants").run(params, context as never));
    expect(error.kind).toBe("usage");
    expect([error.field].flat()).toContain("shares");
  });
});
