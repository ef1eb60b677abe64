import { describe, expect, it } from "vitest";
import type { Definitions } from "../../../backend/common/api/definitions.ts";
import { lineColour } from "../../../frontend/src/colours.ts";
import { theme } from "../../../frontend/src/state/theme.svelte.ts";
import { bestOf, headScale, headTable } from "../../../frontend/src/training/checkpoint/heads.ts";
import { parameterRows, riseRows, seriesOf, valueRows } from "../../../frontend/src/training/comparison/compare.ts";
import {
  bandOf,
  bestHead,
  curvesOf,
  type MetricCurves,
  nearestStep,
  smooth,
  valueAt,
  withMeasurements,
} from "../../../frontend/src/training/curves/curves.ts";
import { panelFigure } from "../../../frontend/src/training/curves/figure.ts";
import { evaluationOf, metricsOf } from "../../../frontend/src/training/curves/metrics.ts";
import { type PanelSource, panelsOf } from "../../../frontend/src/training/curves/panels.ts";

const NAMES = [
  "induction.induction[1.3]",
  "in-context.accuracy",
  "induction.induction[0.0]",
  "attention-sink.importance[0.0]",
  "in-context.loss",
  "gradient-norm",
  "first-copy.loss",
  "loss",
];

describe("metrics", () => {
  it("groups losses, the training loss first, then accuracies, then heads by probe and metric", () => {
    const found = metricsOf(NAMES);
    expect(found.map(({ key, kind }) => `${kind} ${key}`)).toEqual([
      "loss loss",
      "loss first-copy.loss",
      "loss in-context.loss",
      "accuracy in-context.accuracy",
      "heads attention-sink.importance",
      "heads induction.induction",
      "other gradient-norm",
    ]);
    expect(found[5]!.heads.map(({ name }) => name)).toEqual(["induction.induction[0.0]", "induction.induction[1.3]"]);
    expect(found[4]!.title).toBe("attention-sink: importance, best head");
  });

  it("names the evaluation of a metric, of which the training loss has none", () => {
    const [training, , , accuracy] = metricsOf(NAMES);
    expect(evaluationOf(training!)).toBeUndefined();
    expect(evaluationOf(accuracy!)).toEqual({ name: "in-context", what: "accuracy" });
  });
});

describe("curves", () => {
  const curves: MetricCurves = curvesOf({
    "p.p[0.0]": [[0, 0.1], [10, 0.2], [20, 0.3]],
    "p.p[0.1]": [[0, 0.2], [10, null], [20, 0.9]],
    "p.p[1.0]": [[0, 0], [10, 0.1], [20, 0.8]],
    "p.p[1.1]": [[0, 0], [10, 0.1], [20, -0.5]],
  }); // biome-ignore format: a table
  const [metric] = metricsOf(curves.keys());

  it("takes measurements in any order and replaces those of a step that is there", () => {
    const before = curvesOf({ loss: [[0, 5], [10, 4]] }); // biome-ignore format: a table
    const after = withMeasurements(before, [
      { step: 20, values: { loss: 3, "x.accuracy": 0.5 } },
      { step: 10, values: { loss: 3.5 } },
      { step: 5, values: { loss: null } },
    ]);
    expect(after.get("loss")).toEqual({ steps: [0, 5, 10, 20], values: [5, null, 3.5, 3] });
    expect(after.get("x.accuracy")).toEqual({ steps: [20], values: [0.5] });
    expect(before.get("loss")!.steps).toEqual([0, 10]);
  });

  it("follows the best head, which changes over training, past values that are no numbers", () => {
    expect(bestHead(curves, metric!)).toEqual({
      steps: [0, 10, 20],
      values: [0.2, 0.2, 0.9],
      heads: ["0.1", "0.0", "0.1"],
    });
  });

  it("lays heads out by layer at the step measured nearest to a checkpoint", () => {
    const table = headTable(curves, metric!, 17)!;
    expect(table.step).toBe(20);
    expect(table.values).toEqual([[0.3, 0.9], [0.8, -0.5]]); // biome-ignore format: a table
    expect(bestOf(table)).toBe("0.1");
    expect(headTable(new Map(), metric!, 0)).toBeUndefined();
  });

  it("colours heads over all that the metric can be, else over all of training, and knows their chance", () => {
    const probes = (range: readonly [number, number]) =>
      ({ probes: [{ name: "p", meanings: { p: { meaning: "", range } } }] }) as unknown as Definitions;
    const even = { "p.p": 0.25 };
    const scale = (definitions: Definitions | undefined) => headScale(curves, metric!, { definitions, even });
    expect(scale(probes([-1, 1]))).toEqual({ range: [-1, 1], chance: 0.25 });
    // From the least to the largest value of all steps, so that a colour means the same at every step.
    expect(scale(undefined).range).toEqual([-0.5, 0.9]);
    expect(scale(probes([0, 1])).range).toEqual([-0.5, 0.9]);
    expect(headScale(curves, metric!, { definitions: undefined }).chance).toBeUndefined();
  });

  it("leaves heads without a value at that step empty", () => {
    expect(headTable(curves, metric!, 10)!.values[0]).toEqual([0.2, Number.NaN]);
  });

  it("finds the nearest step, the earlier of two as near", () => {
    expect([0, 4, 5, 6, 99].map((step) => nearestStep([0, 10, 20], step))).toEqual([0, 0, 0, 1, 2]);
    expect(nearestStep([], 3)).toBeUndefined();
    expect(valueAt({ steps: [0, 10], values: [1, 2] })).toBe(2);
    expect(valueAt({ steps: [0, 10], values: [1, 2] }, 3)).toBe(1);
  });

  it("smooths a constant to itself from its first value on, and nothing at weight 0", () => {
    const constant = { steps: [0, 1, 2, 3], values: [4, 4, null, 4] };
    smooth(constant, 0.9).values.forEach((value, i) => {
      if (constant.values[i] === null) expect(value).toBeNull();
      else expect(value).toBeCloseTo(4, 12);
    });
    expect(smooth({ steps: [0, 1], values: [0, 1] }, 0).values).toEqual([0, 1]);
    // Weights 0.5 and 0.25 of 1 and 0, over their sum.
    expect(smooth({ steps: [0, 1], values: [0, 1] }, 0.5).values[1]).toBeCloseTo(2 / 3, 12);
  });

  it("takes mean and range at the steps that every seed has", () => {
    const band = bandOf([
      { steps: [0, 10, 20], values: [1, 2, 3] },
      { steps: [0, 10], values: [3, 5] },
      { steps: [0, 10, 20], values: [2, null, 9] },
    ]);
    expect(band).toEqual({ steps: [0, 10], values: [2, null], low: [1, null], high: [3, null] });
  });
});

const run = (id: string, group: string, seed: number) =>
  ({ id, group, seed, task: "t", status: "done", step: 1, steps: 1, created: "", updated: "", tokens: true }) as const;

describe("comparison", () => {
  const runs = [run("t-1", "t-1", 0), run("t-2", "t-1", 1), run("t-3", "t-3", 0)];

  it("takes the seeds of a group together where asked", () => {
    expect(seriesOf(runs, false).map(({ runs: own }) => own)).toEqual([["t-1"], ["t-2"], ["t-3"]]);
    expect(seriesOf(runs, true).map(({ title, runs: own }) => [title, own])).toEqual([
      ["t-1, seeds 0, 1", ["t-1", "t-2"]],
      ["t-3", ["t-3"]],
    ]);
  });

  it("tells which parameters differ, also those that one run does not have", () => {
    const spec = (params: Record<string, unknown>, d_model: number) => ({
      task: "t",
      params,
      model: { d_model, readout_hidden: [8, 4] },
      training: { steps: 10 },
      probes: ["induction"],
    });
    const rows = parameterRows([
      { seed: 0, spec: spec({ a: 1 }, 64) },
      { seed: 0, spec: spec({ a: 1, b: true }, 32) },
    ]);
    expect(rows.filter(({ differs }) => differs).map(({ name, part, values }) => [part, name, values])).toEqual([
      ["task", "b", [undefined, "true"]],
      ["model", "d_model", ["64", "32"]],
    ]);
    expect(rows.find(({ name }) => name === "readout_hidden")!.values).toEqual(["8,4", "8,4"]);
  });

  it("gives last values, or those near a step, as mean and range over seeds", () => {
    const all = new Map([
      ["t-1", curvesOf({ loss: [[0, 4], [10, 1]] })],
      ["t-2", curvesOf({ loss: [[0, 6], [10, 2]] })],
    ]); // biome-ignore format: a table
    const [row] = valueRows(metricsOf(["loss"]), seriesOf(runs, true), (id) => all.get(id));
    expect(row!.cells).toEqual([{ mean: 1.5, low: 1, high: 2 }, undefined]);
    const [early] = valueRows(metricsOf(["loss"]), seriesOf(runs, false), (id) => all.get(id), 3);
    expect(early!.cells.map((cell) => cell?.mean)).toEqual([4, 6, undefined]);
  });
});

describe("panels", () => {
  const curves = new Map([
    ["t-1", curvesOf({ loss: [[1, 4]], "in.loss": [[1, 3]], "in.accuracy": [[1, 0.5]] })],
    ["t-2", curvesOf({ loss: [[1, 5]], "in.loss": [[1, 4]], "in.accuracy": [[1, 0.7]] })],
  ]);
  const source = (together: boolean, some: number): PanelSource => ({
    series: seriesOf([run("t-1", "t-1", 0), run("t-2", "t-1", 1)].slice(0, some), together),
    metrics: metricsOf(["loss", "in.loss", "in.accuracy"]),
    curves: (id) => curves.get(id),
    evaluations: () => ({ in: { title: "repeats", chance: { accuracy: 1 / 64 } } }),
    smoothing: 0,
  });

  it("of one run hold the metrics of a kind, of several one metric", () => {
    const names = (panels: ReturnType<typeof panelsOf>) =>
      panels.map(({ key, lines }) => [key, lines.map(({ name }) => name)]);
    expect(names(panelsOf(source(false, 1)))).toEqual([
      ["loss", ["training", "in"]],
      ["accuracy", ["in"]],
    ]);
    expect(names(panelsOf(source(false, 2)))).toEqual([
      ["loss", ["t-1", "t-2"]],
      ["in.loss", ["t-1", "t-2"]],
      ["in.accuracy", ["t-1", "t-2"]],
    ]);
  });

  it("draw seeds taken together as one line with a band", () => {
    const [loss] = panelsOf(source(true, 2));
    expect(loss!.lines[0]).toMatchObject({ values: [4.5], low: [4], high: [5] });
  });

  it("show once what guessing reaches", () => {
    const accuracy = panelsOf(source(false, 2)).at(-1)!;
    expect(accuracy.levels).toEqual([{ value: 0.0156, label: "chance 0.0156" }]);
  });

  it("name the evaluations where guessing reaches different levels", () => {
    const chance = (loss: number) => ({ title: "", chance: { loss } });
    const metrics = metricsOf(["a.loss", "b.loss", "c.loss"]);
    const one = new Map([["t-1", curvesOf({ "a.loss": [[1, 1]], "b.loss": [[1, 1]], "c.loss": [[1, 1]] })]]);
    const [losses] = panelsOf({
      ...source(false, 1),
      metrics,
      curves: (id) => one.get(id),
      evaluations: () => ({ a: chance(8), b: chance(8), c: chance(32) }),
    });
    expect(losses!.levels.map(({ label }) => label)).toEqual(["chance, a and b 8", "chance, c 32"]);
  });

  it("have the reference predictor as a level, its mean over the runs", () => {
    const loss: Readonly<Record<string, number>> = { "t-1": 0.5, "t-2": 0.7 };
    const reference = (id: string) => ({ title: "ridge", evaluations: { in: { loss: loss[id]! } } });
    const [both] = panelsOf({ ...source(true, 2), metrics: metricsOf(["in.loss", "in.accuracy"]), reference });
    expect(both!.levels.map(({ label }) => label)).toEqual(["ridge 0.6"]);
    const [, accuracy] = panelsOf({ ...source(false, 1), reference });
    expect(accuracy!.levels.map(({ label }) => label)).toEqual(["chance 0.0156"]);
  });

  it("of a single run can have a line for each head, in a panel for each probe", () => {
    const names = ["p.p[0.0]", "p.p[0.1]", "q.q[0.0]"];
    const curves = curvesOf(Object.fromEntries(names.map((name) => [name, [[1, 0.5]] as const])));
    const panels = panelsOf({ ...source(false, 1), metrics: metricsOf(names), curves: () => curves, everyHead: true });
    expect(panels.map(({ key, lines }) => [key, lines.map(({ name }) => name)])).toEqual([
      ["p.p", ["0.0", "0.1"]],
      ["q.q", ["0.0"]],
    ]);
  });
});

describe("when something formed", () => {
  const rising = (half: number) =>
    [0, 100, 200, 300, 400, 500, 600].map((step) => [step, step < half ? 0.02 : 0.92] as const);
  const measured = (half: number) =>
    curvesOf({
      "in.loss": [[0, 4], [600, 1]],
      "in.accuracy": rising(half),
      "first.accuracy": [[0, 0.014], [300, 0.02], [600, 0.018]], // noise about chance
      "induction.induction[1.0]": rising(half + 100),
      "induction.induction[1.1]": [[0, 0.01], [600, 0.01]],
    }); // biome-ignore format: a table
  const metrics = metricsOf([...measured(300).keys()]);

  it("is half of the rise of accuracies and best heads; losses and noise have none", () => {
    const rows = riseRows(metrics, seriesOf([run("t-1", "t-1", 0)], false), () => measured(300));
    expect(rows.map(({ title, cells }) => [title, cells.map((cell) => cell?.step)])).toEqual([
      ["in accuracy", [250]],
      ["induction, best head", [350]],
    ]);
  });

  it("is the mean and the range of seeds taken together", () => {
    const series = seriesOf([run("t-1", "t-1", 0), run("t-2", "t-1", 1)], true);
    const [row] = riseRows(metrics, series, (id) => measured(id === "t-1" ? 200 : 400));
    expect(row!.cells).toEqual([{ step: 250, text: "250 (150 – 350)" }]);
  });

  it("is marked on the curves, also where they are drawn smooth", () => {
    const [losses, accuracies] = panelsOf({
      series: seriesOf([run("t-1", "t-1", 0)], false),
      metrics,
      curves: () => measured(300),
      evaluations: () => undefined,
      smoothing: 0.9,
    });
    expect(losses!.halves).toEqual([]);
    expect(accuracies!.halves).toEqual([{ name: "in", step: 250 }]);
    const figure = { lines: accuracies!.lines, unit: "accuracy", logValues: false, legend: false };
    const { layout } = panelFigure({ ...figure, logSteps: true, marks: [{ x: 250, label: "half at 250" }] });
    expect(layout["shapes"]).toMatchObject([{ x0: 250, x1: 250 }]);
    expect(layout["annotations"]).toMatchObject([{ text: "half at 250", x: Math.log10(250) }]);
  });
});

describe("the figure of a panel", () => {
  const options = {
    lines: [{ name: "loss", colour: 0, steps: [0, 1, 100], values: [5, 4, null] }],
    unit: "loss",
    logValues: false,
    legend: false,
  };

  it("spans what was measured, on a logarithmic axis from the first step after 0", () => {
    const { layout } = panelFigure({ ...options, logSteps: true, step: 0 });
    expect(layout["xaxis"]).toMatchObject({ type: "log", range: [0, 2] });
    // Step 0 has no place there: its marker stands at the left edge.
    expect(layout["shapes"]).toMatchObject([{ x0: 1, x1: 1 }]);
    expect(panelFigure({ ...options, logSteps: false }).layout["xaxis"]).toMatchObject({ range: [0, 100] });
    const running = panelFigure({ ...options, logSteps: false, until: 400 });
    expect(running.layout["xaxis"]).toMatchObject({ range: [0, 400] });
  });

  it("has the colours of light ground where it leaves a dark page", () => {
    const colour = () => (panelFigure({ ...options, logSteps: false }).data[0]!["line"] as { color: string }).color;
    theme.choice = "dark";
    expect(colour()).toBe(lineColour(0));
    const printed = theme.light(colour);
    expect(colour()).not.toBe(printed);
    theme.choice = "light";
    expect(printed).toBe(lineColour(0));
    theme.choice = "auto";
  });

  it("says so where only step 0 is measured, which a logarithmic axis has no place for", () => {
    const lines = [{ ...options.lines[0]!, steps: [0], values: [5] }];
    const notes = (logSteps: boolean) => panelFigure({ ...options, lines, logSteps }).layout["annotations"];
    expect(notes(true)).toHaveLength(1);
    expect(notes(false)).toEqual([]);
  });

  it("draws the band below its line, and levels that the axis can show", () => {
    const banded = { ...options.lines[0]!, low: [4, 3, null], high: [6, 5, null] };
    const levels = [{ value: 0, label: "nothing" }, { value: 1, label: "chance 1" }];
    const { data, layout } = panelFigure({ ...options, lines: [banded], logSteps: false, logValues: true, levels });
    expect(data.map((trace) => trace["fill"])).toEqual([undefined, "tonexty", undefined]);
    expect(layout["shapes"]).toMatchObject([{ y0: 1, y1: 1, name: "chance 1" }]);
  });

  it("names levels in the legend or not at all: words on the plot would lie on the curves", () => {
    const levels = [{ value: 4.1, label: "chance 4.1" }];
    const shapes = (namedLevels: boolean) =>
      panelFigure({ ...options, logSteps: false, levels, namedLevels }).layout["shapes"] as Record<string, unknown>[];
    expect(shapes(true)).toMatchObject([{ name: "chance 4.1", showlegend: true }]);
    expect(shapes(false)).toMatchObject([{ showlegend: false }]);
    for (const shape of [...shapes(true), ...shapes(false)]) expect(shape).not.toHaveProperty("label");
    expect(panelFigure({ ...options, logSteps: false, levels }).layout["annotations"]).toEqual([]);
  });
}); // biome-ignore format: short lists
