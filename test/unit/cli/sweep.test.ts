import { expect, it } from "vitest";
import { sweepOf } from "../../../backend/cli/inputs/sweep.ts";
import { diagramText } from "../../../backend/cli/text/sweep.ts";
import { leftText } from "../../../backend/cli/text/train.ts";
import { refused } from "../../helpers/errors.ts";

it("axes on the command line say what a sweep file says", async () => {
  const { sweep } = await sweepOf("gaussian-classification", {
    over: ["K=64, 128", "readout_hidden=[[8,4],[16]]"],
    param: ["steps=9"],
    seeds: [0, 2],
    probes: "none",
  });
  expect(sweep).toEqual({
    task: "gaussian-classification",
    params: { steps: "9" },
    grid: { K: ["64", "128"], readout_hidden: [[8, 4], [16]] },
    seeds: [0, 2],
    probes: [],
  });
});

it("options of axes beside a sweep file are refused by their name, and an axis without values", async () => {
  await expect(sweepOf("sweep.yaml", { seeds: [1] })).rejects.toThrow(refused("usage", { field: "seeds" }));
  await expect(sweepOf("induction", { over: ["K="] })).rejects.toThrow(refused("input", { message: "grid.K" }));
});

it("a diagram is a table, its second axis from the bottom", () => {
  const text = diagramText({
    kind: "heatmap",
    name: "phase-diagram",
    title: "loss of t over K and B",
    x: { title: "K", labels: ["64", "128"] },
    y: { title: "B", labels: ["2", "1"] },
    z: [
      [0.5, null],
      [1, 0.001],
    ],
    scale: { title: "loss" },
  });
  expect(text.split("\n")).toEqual([
    "loss of t over K and B",
    "  B \\ K     64      128",
    "      2  0.500        –",
    "      1  1.000  0.00100",
  ]);
});

it("the time left is in seconds, then in minutes", () => {
  expect([undefined, 4_400, 89_000, 600_000].map(leftText)).toEqual(["", "4 s left", "89 s left", "10 min left"]);
});
