import { describe, expect, it } from "vitest";
import { figureSchema } from "../../../../backend/common/figures/figure.ts";
import { diagramCells, type MeasuredSweep, phaseDiagram } from "../../../../backend/common/figures/phase-diagram.ts";

const metric = "in-context.accuracy";
const point = (values: Record<string, unknown>, mean?: number) => ({
  values,
  metrics: mean === undefined ? {} : { [metric]: { mean, min: mean - 0.1, max: mean + 0.1 } },
});
const sweep = (axes: MeasuredSweep["axes"], points: MeasuredSweep["points"]): MeasuredSweep => ({
  ...{ task: "induction", seeds: [0, 1], axes, points },
});

describe("a phase diagram", () => {
  const two = sweep(
    [
      { name: "K", values: [128, 64] },
      { name: "B", values: [1, 2, 4] },
    ],
    [1, 2, 4].flatMap((B) =>
      [128, 64].map((K) => point({ B, K }, B === 4 && K === 64 ? undefined : B / 10 + K / 1000)),
    ),
  );

  it("has the first axis from the left and the second from the bottom, whatever the order of values and points", () => {
    expect(diagramCells(two).map((row) => row.map((cell) => [cell!.values["K"], cell!.values["B"]]))).toEqual([
      [[64, 4], [128, 4]],
      [[64, 2], [128, 2]],
      [[64, 1], [128, 1]],
    ]); // biome-ignore format: a table
  });

  it("draws means as colours over the whole range of an accuracy, and nothing where nothing is measured", () => {
    const figure = figureSchema.parse(phaseDiagram(two, metric));
    expect(figure).toMatchObject({
      kind: "heatmap",
      x: { title: "K", labels: ["64", "128"] },
      y: { title: "B", labels: ["4", "2", "1"] },
      scale: { title: metric, range: [0, 1] },
    });
    if (figure.kind !== "heatmap") throw new Error("no heatmap");
    expect(figure.z[0]![0]).toBeNull();
    expect(figure.z[0]![1]).toBeCloseTo(0.528, 12);
    expect(figure.z[2]![0]).toBeCloseTo(0.164, 12);
  });

  it("over one parameter of numbers is a line with the range over the seeds, logarithmic where they span much", () => {
    const one = sweep([{ name: "K", values: [512, 64] }], [point({ K: 512 }, 0.9), point({ K: 64 })]);
    expect(figureSchema.parse(phaseDiagram(one, metric))).toMatchObject({
      kind: "lines",
      x: { title: "K", log: true },
      lines: [{ x: [64, 512], y: [null, 0.9], band: { low: [null, 0.8], high: [null, 1] } }],
    });
  });

  it("over words is one row", () => {
    const words = sweep([{ name: "attention", values: ["softmax", "linear"] }], [point({ attention: "linear" }, 0.5)]);
    expect(figureSchema.parse(phaseDiagram(words, metric))).toMatchObject({
      kind: "heatmap",
      x: { labels: ["softmax", "linear"] },
      y: { labels: [metric] },
      z: [[null, 0.5]],
    });
  });
});
