import { describe, expect, it } from "vitest";
import type { RunSummary } from "../../../backend/common/api/runs.ts";
import type { SweepDocument } from "../../../backend/common/api/sweeps.ts";
import { cellRows, cellTable } from "../../../frontend/src/components/phase-diagram/cells.ts";
import { firstMetric, savedStep, seedGroups, seedLines } from "../../../frontend/src/experiments/curves/seeds.ts";
import { claimVerdicts } from "../../../frontend/src/experiments/report.ts";
import { curvesOf } from "../../../frontend/src/training/curves/curves.ts";
import { metricsOf } from "../../../frontend/src/training/curves/metrics.ts";

const run = (id: string, group: string, seed: number) => ({ id, group, seed, tokens: true }) as RunSummary;

describe("curves by seed", () => {
  const all = [run("a-1", "a-1", 0), run("a-2", "a-1", 1), run("a-3", "a-3", 0)];

  it("are of the report's runs by setting, without those that were removed", () => {
    expect(
      seedGroups(["a-3", "a-2", "a-1", "a-9"], all).map(({ title, runs }) => [title, runs.map(({ id }) => id)]),
    ).toEqual([
      ["a-3, 1 seed", ["a-3"]],
      ["a-1, 2 seeds", ["a-2", "a-1"]],
    ]);
  });

  it("are a line a seed as measured, under the run's id, and begin with an accuracy", () => {
    const curves = curvesOf({ loss: [[0, 5], [8, 1]], "x.accuracy": [[0, 0.1], [8, null]] }); // biome-ignore format: a table
    const metrics = metricsOf(curves.keys());
    expect(firstMetric(metrics)!.key).toBe("x.accuracy");
    const lines = seedLines(all.slice(0, 2), metrics[0]!, (id) => (id === "a-2" ? curves : undefined));
    expect(lines).toMatchObject([{ run: "a-2", name: "seed 1", colour: 1, steps: [0, 8], values: [5, 1] }]);
  });

  it("lead to the saved step that is nearest", () => {
    expect([savedStep([0, 10, 100], 40), savedStep([0, 10], Number.POSITIVE_INFINITY), savedStep([], 4)]).toEqual([
      10,
      10,
      undefined,
    ]);
  });
});

describe("cells of a phase diagram", () => {
  const state = (run: string, status: "done" | "failed" | "running") => ({
    run,
    seed: 0,
    status,
    step: 9,
    metrics: {},
  });
  const sweep: SweepDocument = {
    ...{ id: "induction-0", task: "induction", seeds: [0, 1], created: "", params: {}, probes: [], command: "" },
    ...{ metric: "loss", metrics: ["loss"] },
    axes: [
      { name: "K", values: [1, 2] },
      { name: "B", values: [1] },
    ],
    points: [
      { values: { K: 2, B: 1 }, runs: [state("i-3", "failed"), state("i-4", "running")], metrics: {} },
      {
        values: { K: 1, B: 1 },
        runs: [state("i-1", "done"), state("i-2", "done")],
        metrics: { loss: { mean: 1.5, min: 1, max: 2 } },
      },
    ],
  };

  it("are in the order in which the diagram draws them, with their runs and what became of those", () => {
    expect(cellRows(sweep, "loss")).toEqual([
      { values: ["1", "1"], text: "1.500 (1.000 – 2.000)", mean: 1.5, runs: ["i-1", "i-2"], state: "" },
      { values: ["2", "1"], text: "–", mean: undefined, runs: ["i-3", "i-4"], state: "1 failed, 1 running" },
    ]);
    expect(cellTable(sweep, "loss").rows[0]).toEqual(["1", "1", 1.5, "i-1 i-2"]);
  });
});

describe("the gallery", () => {
  it("has every claim of an experiment, also those that a report of an earlier version lacks", () => {
    const claims = [
      { id: "a", statement: "A" },
      { id: "b", statement: "B" },
    ];
    expect(claimVerdicts(claims, [{ id: "b", verdict: "reproduced", why: "w" }])).toEqual([
      { id: "a", statement: "A" },
      { id: "b", statement: "B", verdict: "reproduced", why: "w" },
    ]);
  });
});
