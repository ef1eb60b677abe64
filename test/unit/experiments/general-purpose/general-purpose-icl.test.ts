import { describe, expect, test } from "vitest";
import {
  type GeneralParams,
  generalParameters,
  mainPlan,
  phasePlan,
  sizeOf,
  statePlans,
} from "../../../../experiments/general-purpose/arms.ts";
import { type GeneralResults, judge, type PhaseSeed, phaseOf } from "../../../../experiments/general-purpose/judge.ts";
import { experimentParameters, experiments, runExperiment } from "../../../../experiments/index.ts";
import { ownStore } from "../../../helpers/training/own-store.ts";

const NAME = "general-purpose-icl";
const verdicts = (results: GeneralResults) =>
  Object.fromEntries(judge(results).map(({ id, verdict }) => [id, verdict]));
const four = <T>(value: T): T[] => [value, value, value, value];

const seed = (first: number, seen: number, unseen: number): PhaseSeed => ({
  first,
  seen,
  newItems: seen,
  unseen,
  allNew: unseen,
});
const memorises = seed(0.95, 1, 0.25);
const identifies = seed(0.4, 0.8, 0.25);
const generalises = seed(0.25, 0.8, 0.79);
const fails = seed(0.25, 0.3, 0.25);

/** The accuracy on unseen tasks that is right from a step on. */
const right = (from: number) => {
  const steps = Array.from({ length: 51 }, (_, i) => 20 * i);
  return { steps, values: steps.map((step) => (step >= from ? 0.9 : 0.25)) };
};

const cells = (few: PhaseSeed, middle: PhaseSeed, narrow: PhaseSeed, wide: PhaseSeed) => [
  { tasks: 8, width: 8, seeds: four(memorises) },
  { tasks: 8, width: 32, seeds: four(few) },
  { tasks: 512, width: 8, seeds: four(fails) },
  { tasks: 512, width: 32, seeds: four(middle) },
  { tasks: 65536, width: 8, seeds: four(narrow) },
  { tasks: 65536, width: 32, seeds: four(wide) },
]; // biome-ignore format: a cell a line

const reproduced: GeneralResults = {
  cells: cells(memorises, identifies, fails, generalises),
  states: { "small state": four(0.25), "larger state": four(0.85), "more parameters": four(0.5) },
  plateaus: { base: four(right(600)), batch: four(right(400)), bias: four(right(440)) },
  chance: 0.25,
};

describe("phases", () => {
  test.each([
    [memorises, "memorises"],
    [identifies, "identifies"],
    [generalises, "generalises"],
    [fails, "fails"],
    [seed(0.7, 0.9, 0.7), "generalises"],
  ])("%j: %s", (values, phase) => {
    expect(phaseOf(values, 0.25)).toBe(phase);
  });
});

describe("its claims", () => {
  test("are reproduced where everything is as in the paper", () => {
    expect(new Set(Object.values(verdicts(reproduced)))).toEqual(new Set(["reproduced"]));
  });

  test("are not where each phase is another, state and parameters do the same, and plateaus are as long", () => {
    const other = verdicts({
      cells: cells(identifies, memorises, generalises, seed(0.25, 0.95, 0.8)),
      states: { "small state": four(0.5), "larger state": four(0.7), "more parameters": four(0.65) },
      plateaus: { base: four(right(600)), batch: four(right(580)), bias: four(right(2000)) },
      chance: 0.25,
    });
    expect(other).toEqual({
      memorise: "not reproduced",
      identify: "not reproduced",
      generalise: "not reproduced",
      width: "not reproduced",
      state: "reproduced",
      parameters: "not reproduced",
      batch: "not reproduced",
      bias: "not reproduced",
    });
  });

  test("cannot be told where nothing generalises, no state helps, and no plateau is left; one that only the change leaves is shorter", () => {
    const other = verdicts({
      cells: cells(memorises, identifies, fails, fails),
      states: { "small state": four(0.25), "larger state": four(0.3), "more parameters": four(0.25) },
      plateaus: { base: four(right(2000)), batch: four(right(2000)), bias: four(right(900)) },
      chance: 0.25,
    });
    expect(other).toMatchObject({
      width: "inconclusive at this scale",
      state: "not reproduced",
      parameters: "inconclusive at this scale",
      batch: "inconclusive at this scale",
      bias: "reproduced",
    });
  });
});

describe("its models", () => {
  const params = generalParameters.parse({}) as GeneralParams;

  test("have equal numbers of parameters where states differ, and equal states where parameters do", () => {
    const plans = statePlans(params);
    const [small, larger, more] = [plans["small state"], plans["larger state"], plans["more parameters"]].map(sizeOf);
    expect(Math.abs(larger!.parameters / small!.parameters - 1)).toBeLessThan(0.01);
    expect(larger!.state).toBeGreaterThan(3 * small!.state);
    expect(more!.state).toBe(small!.state);
    expect(more!.parameters).toBeGreaterThan(2 * small!.parameters);
  });

  test("have a state of keys and values, or of what a recurrence carries from token to token", () => {
    expect(sizeOf(mainPlan(params)).state).toBe(2 * 16 * 2 * 32);
    // Two layers of two heads, each 1 x 16 numbers and three tokens of a query, a key and a value before the convolution.
    expect(sizeOf(statePlans(params)["small state"]).state).toBe(2 * 2 * (1 * 16 + 3 * (1 + 1 + 16)));
  });

  test("of the other comparisons begin from the cell of the most tasks and the largest width", () => {
    expect(mainPlan(params)).toEqual(phasePlan(params, 65536, 32));
  });

  test("are refused where the MLPs cannot make up for the state's parameters", () => {
    expect(() => statePlans({ ...params, recurrent_mlp: 8 })).toThrow(
      expect.objectContaining({ kind: "usage", field: ["recurrent_mlp", "states"] }),
    );
    expect(generalParameters.safeParse({ task_counts: [8, 4, 16] }).success).toBe(false);
    expect(generalParameters.safeParse({ states: [8, 8] }).success).toBe(false);
  });
});

describe("a very small run", () => {
  const lab = ownStore();

  test("trains, judges and reports; again, it makes no run", async () => {
    const params = experimentParameters(experiments, NAME, "quick", {
      ...{ seeds: [0, 1], steps: 100, recurrent_steps: 20, task_counts: [1, 2, 4], widths: [4, 8], n_layers: 1, n_heads: 1 },
      ...{ items: 4, dimension: 2, examples: 4, batch: 8, large_batch: 16, states: [1, 2], points: 10, evaluation_rows: 64 },
    });
    const run = () => runExperiment(experiments.get(NAME), { store: lab.store, preset: "quick", params, command: "" });
    const { report } = await run();
    expect(report.claims.map(({ verdict }) => verdict)).toEqual(Array(8).fill("too few seeds to tell"));
    expect(report.figures.map(({ name }) => name)).toEqual([
      ...["phases", "diagram-first", "diagram-seen", "diagram-unseen", "state", "parameters", "plateaus"],
    ]);
    expect(report.runs).toHaveLength(2 * (6 + 2 + 3));
    const again = await run();
    expect(again.report.claims).toEqual(report.claims);
    expect(again.report.runs).toEqual(report.runs);
  });
}); // biome-ignore format: sizes a line
