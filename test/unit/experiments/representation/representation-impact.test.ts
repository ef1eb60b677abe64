import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { experimentParameters, experiments, runExperiment } from "../../../../experiments/index.ts";
import {
  type ArmResult,
  correlation,
  judge,
  passing,
  type RepresentationSeed,
} from "../../../../experiments/representation/judge.ts";
import { ownStore } from "../../../helpers/training/own-store.ts";

const NAME = "representation-impact";
const chance = { weights: 0.25, context: 1 / 3 };
const STEPS = [0, 100, 200, 300, 400, 500, 600, 700, 800];

/** A training whose probes and accuracy jump at given steps. */
function arm(weights: number, context: number, accuracy = context): ArmResult {
  const layer = (score: number, control: number) => ({ score, low: score - 0.05, control });
  return {
    steps: STEPS,
    components: STEPS.map((step) => ({
      weights: [layer(step >= weights ? 0.95 : 0.25, 0.25), layer(0.2, 0.25)],
      context: [layer(0.3, 0.33), layer(step >= context ? 0.97 : 0.33, 0.33)],
    })),
    accuracy: { steps: STEPS, values: STEPS.map((step) => (step >= accuracy ? 0.98 : 0.5)) },
  };
}

const NEVER = 10_000;
const four = (fresh: ArmResult, right: ArmResult, wrong: ArmResult): RepresentationSeed[] =>
  Array.from({ length: 4 }, () => ({
    ...{ "fresh weights": fresh, "the items' factors": right, "other factors": wrong },
    bayes: { bare: 0.5, hidden: 1 },
  }));
const verdicts = (seeds: RepresentationSeed[]) =>
  Object.fromEntries(judge(seeds, chance).map(({ id, verdict }) => [id, verdict]));

describe("representation-impact", () => {
  test("reproduces all claims where known factors bring what follows from them sooner", () => {
    expect(new Set(Object.values(verdicts(four(arm(100, 500), arm(0, 200), arm(100, 500)))))).toEqual(
      new Set(["reproduced"]),
    );
  });

  test("does not call it help where other factors help as much", () => {
    expect(verdicts(four(arm(100, 500), arm(0, 200), arm(100, 200)))).toEqual({
      readable: "reproduced",
      related: "reproduced",
      "weights-first": "reproduced",
      helps: "not reproduced",
      sooner: "not reproduced",
    });
  });

  test("finds no relation between probes and an accuracy that comes at another time, and no order of what comes together", () => {
    const own = verdicts(four(arm(500, 500, 100), arm(0, 700, 100), arm(0, 700, 100)));
    expect([own["related"], own["weights-first"]]).toEqual(["not reproduced", "inconclusive at this scale"]);
  });

  test("cannot tell of an ability that never comes", () => {
    const none = arm(100, NEVER);
    expect(verdicts(four(none, none, none))).toEqual({
      readable: "not reproduced",
      related: "inconclusive at this scale",
      "weights-first": "inconclusive at this scale",
      helps: "not reproduced",
      sooner: "inconclusive at this scale",
    });
  });

  test("takes an ability to be there half of the way from Bayes without labels to Bayes with them", () => {
    const [seed] = four(arm(0, 300), arm(0, NEVER), arm(0, 0));
    expect(passing(seed!, "fresh weights")).toBeCloseTo(200 + (100 * (0.75 - 0.5)) / (0.98 - 0.5));
    expect(passing(seed!, "the items' factors")).toBeUndefined();
    expect(passing(seed!, "other factors")).toBe(0);
  });

  test("correlates as Pearson does: the products of deviations over the root of both sums of squares", () => {
    expect(correlation([1, 2, 3, 5], [2, 1, 4, 6])).toBeCloseTo(10.25 / Math.sqrt(8.75 * 14.75), 12);
    expect(correlation([4, 3, 2], [1, 2, 3])).toBeCloseTo(-1, 12);
    expect(correlation([1, 1], [2, 3])).toBeNaN();
  });

  test("refuses a single seed, which has no other factors", () => {
    expect(() => experimentParameters(experiments, NAME, "quick", { seeds: [0] })).toThrow(
      expect.objectContaining({ kind: "usage", message: expect.stringContaining("parameter seeds") }),
    );
  });
});

describe("a very small run", () => {
  const lab = ownStore();

  test("trains each seed from its own knowledge and the next one's, probes and reports; again, it measures nothing", async () => {
    const params = experimentParameters(experiments, NAME, "quick", {
      ...{ seeds: [0, 1], steps: 100, told_steps: 20, factors: 2, values: 3, examples: 3, n_layers: 1, n_heads: 1 },
      ...{ d_model: 8, batch: 8, saves: 3, rows: 64, evaluation_rows: 64 },
    });
    const run = () => runExperiment(experiments.get(NAME), { store: lab.store, preset: "quick", params, command: "" });
    const { report } = await run();
    expect(report.claims.map(({ verdict }) => verdict)).toEqual(Array(5).fill("too few seeds to tell"));
    expect(report.figures.map(({ name }) => name)).toEqual([
      ...["accuracy", "in-weights-component", "in-context-component", "layers"],
    ]);
    const own = report.runs.map((id) => lab.store.run(id));
    const seedOf = (from: unknown) => own.find(({ id }) => String(from).startsWith(`run:${id}@`))?.seed;
    expect(own.map(({ seed, spec }) => [seed, seedOf(spec.training.from)])).toEqual([
      ...[[0, undefined], [1, undefined]],
      ...[[0, undefined], [0, 0], [0, 1]],
      ...[[1, undefined], [1, 1], [1, 0]],
    ]);
    const kept = await readdir(join(lab.store.folder, "measurements"));
    const again = await run();
    expect(again.report.claims).toEqual(report.claims);
    expect(await readdir(join(lab.store.folder, "measurements"))).toEqual(kept);
  });
}); // biome-ignore format: sizes a line
