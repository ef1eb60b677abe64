import { describe, expect, it } from "vitest";
import { parseSweep } from "../../../backend/jobs/sweeps/sweep-file.ts";
import {
  axisValues,
  gridOf,
  pointCount,
  sweepCommand,
  sweepRequest,
} from "../../../frontend/src/training/sweeps/axes.ts";

const draft = { task: "induction", params: { steps: "9", n_heads: "2" }, seeds: "0,1" };

describe("the axes of a sweep's form", () => {
  it("are values with commas between them, or a list of lists", () => {
    expect(axisValues(" 1, 2 ,, 4")).toEqual(["1", "2", "4"]);
    expect(axisValues("[[8,4],[16]]")).toEqual([[8, 4], [16]]);
    expect(axisValues("[[8,")).toEqual(["[[8"]);
  });

  it("count where they have a parameter and values, each value once", () => {
    const grid = gridOf([
      { name: "n_heads", values: "2,4,2" },
      { name: "batch", values: "" },
    ]);
    expect(grid).toEqual({ n_heads: ["2", "4"] });
    expect(pointCount(grid)).toBe(2);
    expect(pointCount({})).toBe(0);
    expect(pointCount({ a: [1, 2], b: [1, 2, 3] })).toBe(6);
  });

  it("take the place of the form's own value, in the request and in the command", () => {
    const grid = { n_heads: ["2", "4"], readout_hidden: [[8, 4], []] };
    const request = sweepRequest(draft, [0, 1], grid);
    expect(request).toEqual({ kind: "sweep", task: "induction", grid, params: { steps: "9" }, seeds: [0, 1] });
    const { kind: _, ...sweep } = request;
    expect(parseSweep(sweep, "s").grid).toEqual(grid);
    expect(sweepCommand({ ...draft, probes: [] }, [0, 1], grid)).toBe(
      "npx headscope sweep induction --over n_heads=2,4 --over 'readout_hidden=[[8,4],[]]' --param steps=9 --seeds 0,1 --probes none",
    );
  });
});
