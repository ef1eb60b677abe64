import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { sweepDocument } from "../../../../backend/common/api/sweeps.ts";
import { sweep as kind } from "../../../../backend/jobs/kinds/sweep.ts";
import { runsFor } from "../../../../backend/jobs/reuse.ts";
import { findSweep, isKept, keepSweep, keptSweeps } from "../../../../backend/jobs/sweeps/kept.ts";
import { planSweep } from "../../../../backend/jobs/sweeps/sweep.ts";
import { parseSweep } from "../../../../backend/jobs/sweeps/sweep-file.ts";
import { openStore, type RunRecord, type Store } from "../../../../backend/store/store.ts";
import { refused } from "../../../helpers/errors.ts";

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

const planned = (grid: object, rest: object = {}) => {
  const sweep = parseSweep({ task: "induction", grid, ...rest }, "s");
  return { sweep, plan: planSweep(sweep, "s") };
};

describe("a kept sweep", () => {
  it("goes by one name however its values are written, and is listed once", async () => {
    const texts = planned({ learning_rate: ["0.001", "3e-3"], n_heads: ["2"] }, { seeds: [0, 1] });
    const numbers = planned({ learning_rate: [0.001, 0.003], n_heads: [2] }, { seeds: [0, 1] });
    const id = await keepSweep(folder, texts.sweep, texts.plan);
    expect(await keepSweep(folder, numbers.sweep, numbers.plan)).toBe(id);
    expect(await keptSweeps(folder)).toMatchObject([
      {
        id,
        task: "induction",
        seeds: [0, 1],
        axes: [
          { name: "learning_rate", values: [0.001, 0.003] },
          { name: "n_heads", values: [2] },
        ],
      },
    ]);
  });

  it("has the means over the seeds that are done, of runs that anybody has trained, and makes none itself", async () => {
    const { sweep, plan } = planned({ n_heads: [2, 4] }, { seeds: [0, 1], params: { steps: 9 } });
    const id = await keepSweep(folder, sweep, plan);
    expect((await findSweep(store, id)).points.map(({ runs }) => runs)).toEqual([[], []]);
    expect(store.runs()).toEqual([]);

    const [runs] = runsFor(store, [plan.points[1]!.spec], plan.seeds) as [RunRecord[]];
    for (const [run, value] of [[runs[0]!, 0.5], [runs[1]!, 1]] as const) {
      store.addMetrics(run.id, 9, { loss: 2 * value, "repeat.accuracy": value, "induction.induction[1.0]": 1 });
      store.updateRun(run.id, { status: "done", step: 9 });
    } // biome-ignore format: a table
    const document = await findSweep(store, id);
    expect(sweepDocument.parse(document)).toEqual(document);
    expect(document.metrics).toEqual(["loss", "repeat.accuracy"]);
    expect(document.points[1]).toMatchObject({
      values: { n_heads: 4 },
      runs: [{ run: runs[0]!.id, seed: 0 }, { run: runs[1]!.id, seed: 1 }],
      metrics: { "repeat.accuracy": { mean: 0.75, min: 0.5, max: 1 }, loss: { mean: 1.5 } },
    }); // biome-ignore format: a table
    expect(document.command).toBe("npx headscope sweep induction --over n_heads=2,4 --param steps=9 --seeds 0,1");
  });

  it("has a grid over one or two parameters", () => {
    expect(isKept(planned({ n_heads: [2, 4], batch: [8] }).plan)).toBe(true);
    expect(isKept(planned({}).plan)).toBe(false);
    expect(isKept(planned({ n_heads: [2], batch: [8], steps: [9] }).plan)).toBe(false);
    const random = parseSweep({ task: "induction", random: { count: 3, batch: { choices: [8, 16] }, n_heads: { choices: [1, 2, 4] } } }, "s"); // biome-ignore format: one line
    expect(isKept(planSweep(random, "s"))).toBe(false);
  });

  it("that is not there is refused by its name, and a file that is none is left out of the list", async () => {
    const { sweep, plan } = planned({ n_heads: [2] });
    const id = await keepSweep(folder, sweep, plan);
    await expect(findSweep(store, "induction-0")).rejects.toThrow(refused("missing", { message: "induction-0" }));
    await expect(findSweep(store, "../x")).rejects.toThrow(refused("missing"));
    await writeFile(join(folder, "sweeps", `${id}.json`), "{}");
    await expect(findSweep(store, id)).rejects.toThrow(refused("input", { message: "headscope.sweep/1" }));
    expect(await keptSweeps(folder)).toEqual([]);
  });
});

describe("a request for a sweep", () => {
  const check = (request: object) => kind.check({ kind: "sweep", task: "induction", ...request } as never, {} as never);

  it("is refused before it waits, with the parameter that cannot be", async () => {
    await expect(check({ grid: { n_head: ["2"] } })).rejects.toThrow(refused("usage", { field: "n_head" }));
    await expect(check({ grid: { n_heads: ["0"] } })).rejects.toThrow(refused("usage", { field: "n_heads" }));
    await expect(check({ grid: {} })).rejects.toThrow(refused("usage", { field: "grid" }));
  });

  it("may have five hundred runs", async () => {
    const values = Array.from({ length: 64 }, (_, i) => i + 1);
    const request = { grid: { batch: values, steps: values } };
    await expect(check(request)).rejects.toThrow(refused("usage", { field: "grid", message: "4,096 runs" }));
  });
});
