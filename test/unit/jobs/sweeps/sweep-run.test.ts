import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, beforeEach, describe, expect, it } from "vitest";
import { planSweep, runSweep } from "../../../../backend/jobs/sweeps/sweep.ts";
import { parseSweep } from "../../../../backend/jobs/sweeps/sweep-file.ts";
import { openStore, type Store } from "../../../../backend/store/store.ts";
import { buildCli } from "../../../helpers/cli.ts";

/** Trains in a moment. */
const PARAMS = {
  steps: 12, batch: 4, n_layers: 1, n_heads: 1, d_model: 8, context: 16, segment_min: 2, segment_max: 4, gap_max: 2,
  evaluation_rows: 8, points: 3, checkpoints: 3, optimiser: "sgd",
}; // biome-ignore format: a table

function plan(grid: object, seeds = [0]) {
  return planSweep(parseSweep({ task: "induction", params: PARAMS, grid, seeds, probes: [] }, "s.yaml"), "s.yaml");
}

beforeAll(buildCli); // sweeps train in the bundled worker

let folder: string;
let store: Store;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "headscope-sweep-"));
  store = openStore({ folder });
  return async () => {
    store.close();
    await rm(folder, { recursive: true, force: true });
  };
});

describe("a sweep", () => {
  it("that is stopped goes on with the points that are not done, and sums up all of them", async () => {
    const planned = plan({ learning_rate: [0.1, 0.2] }, [0, 1]);
    const stop = new AbortController();
    const stopped = runSweep(store, planned, { signal: stop.signal, onPoint: () => stop.abort(new Error("enough")) });
    await expect(stopped).rejects.toThrow("enough");
    expect(store.runs().map(({ status }) => status)).toEqual(["done", "done", "cancelled", "cancelled"]);
    expect(store.jobs().map(({ status }) => status)).toEqual(["done", "cancelled"]);
    const first = store.runs().slice(0, 2);

    const told: { point: number; done: number; total: number }[] = [];
    const results = await runSweep(store, planned, { onProgress: (point, each) => told.push({ point, ...each }) });
    expect(new Set(told.map(({ point }) => point))).toEqual(new Set([1]));
    // Two seeds of twelve steps of one layer: what was done before is no part of the way.
    expect(new Set(told.map(({ total }) => total))).toEqual(new Set([24]));
    expect(told.map(({ done }) => done)).toEqual(told.map(({ done }) => done).toSorted((a, b) => a - b));
    expect(told.at(-1)!.done).toBe(24);
    expect(store.runs().slice(0, 2)).toEqual(first);
    expect(results.map(({ runs }) => runs.map(({ run, seed, status }) => [run, seed, status]))).toEqual([
      [["induction-1", 0, "done"], ["induction-2", 1, "done"]], // biome-ignore format: a table
      [["induction-3", 0, "done"], ["induction-4", 1, "done"]], // biome-ignore format: a table
    ]);

    // Of every point the last metrics of its runs, their mean and their range.
    const { runs, metrics } = results[1]!;
    for (const { run, metrics: own } of runs)
      for (const [name, value] of Object.entries(own)) expect(store.metrics(run).get(name)!.at(-1)!.value).toBe(value);
    const losses = runs.map((run) => run.metrics["loss"]!);
    expect(Object.keys(metrics)).toEqual(Object.keys(runs[0]!.metrics));
    expect(metrics["loss"]).toEqual({
      mean: (losses[0]! + losses[1]!) / 2,
      min: Math.min(...losses),
      max: Math.max(...losses),
    });
    expect(losses[0]).not.toBe(losses[1]);
  });

  it("goes on after a point whose training diverges, and says why it did", async () => {
    const results = await runSweep(store, plan({ learning_rate: [1e30, 0.1] }));
    expect(results.map(({ runs }) => runs.map(({ status }) => status))).toEqual([["failed"], ["done"]]);
    expect(results[0]!.runs[0]!.error).toMatch(/diverged/);
    expect(results[0]!.metrics).toEqual({});
  });
});
