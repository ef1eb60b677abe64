import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { sweepCsv, sweepText } from "../../../../backend/cli/text/sweep.ts";
import { runsFor } from "../../../../backend/jobs/reuse.ts";
import type { SweepResult } from "../../../../backend/jobs/sweeps/results.ts";
import { planSweep } from "../../../../backend/jobs/sweeps/sweep.ts";
import { parseSweep, readSweep, sweepPoints } from "../../../../backend/jobs/sweeps/sweep-file.ts";
import { openStore } from "../../../../backend/store/store.ts";
import { refused } from "../../../helpers/errors.ts";
import { bundleScript, startScript } from "../../../helpers/processes/script.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "headscope-sweep-"));
  return () => rm(folder, { recursive: true, force: true });
});

/** A sweep file with this text. */
async function file(text: string, name = "sweep.yaml"): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, text);
  return path;
}
const points = (value: object) => sweepPoints(parseSweep(value, "s.yaml"), "s.yaml");
const plan = (value: object) => planSweep(parseSweep(value, "s.yaml"), "s.yaml");

describe("a sweep file", () => {
  it("says the same in YAML and in JSON", async () => {
    const yaml = await file(
      "task: induction\nparams: {steps: 10}\ngrid:\n  learning_rate: [1e-3, 0.01]\nseeds: [1, 2]\n",
    );
    const json = await file(
      '{"task": "induction", "params": {"steps": 10}, "grid": {"learning_rate": [0.001, 0.01]}, "seeds": [1, 2]}',
      "sweep.json",
    );
    const sweep = await readSweep(yaml);
    expect(sweep).toEqual(await readSweep(json));
    expect(sweep).toEqual({
      task: "induction",
      params: { steps: 10 },
      grid: { learning_rate: [0.001, 0.01] },
      seeds: [1, 2],
    });
  });

  it.each([
    ["task: induction\ngrid: {n_heads: [1, 2\n", /sweep\.yaml is not YAML: .*; mend the file there/],
    ["task: induction\nsteps: 10\n", /sweep\.yaml: there is no field "steps" in a sweep.*under params/],
    ["task: induction\nsedes: [1]\n", /there is no field "sedes".*did you mean seeds/],
    ["grid: {}\n", /sweep\.yaml: task:/],
    ["task: induction\ngrid: {n_heads: 4}\n", /sweep\.yaml: grid\.n_heads: must be a list of values/],
    ["task: induction\ngrid: {n_heads: []}\n", /sweep\.yaml: grid\.n_heads: must hold a value/],
    ["task: induction\nseeds: [1, 1]\n", /sweep\.yaml: seeds: must hold each seed once/],
    ["task: induction\nparams: {steps: 1}\ngrid: {steps: [1]}\n", /steps is in params and in grid/],
    ["task: induction\nrandom: {count: 2, lr: {between: [0, 1]}}\n", /random\.lr: must be one of/],
    ["task: induction\nrandom: {count: 2, lr: {uniform: [1, 0]}}\n", /random\.lr: 1 is above 0/],
    ["task: induction\ngrid: {a: [1]}\nrandom: {count: 1}\n", /grid and random cannot go together/],
  ])("that is wrong is refused with its name and the field: %j", async (text, message) => {
    const refused = await readSweep(await file(text)).catch((error: unknown) => error as { line: string });
    expect((refused as { line: string }).line).toMatch(message);
  });
});

describe("the points of a sweep", () => {
  it("of a grid are all combinations with what is fixed, each once", () => {
    expect(points({ task: "t", params: { c: 0 }, grid: { a: [1, 2, 1], b: ["x", "y"] } })).toEqual([
      { c: 0, a: 1, b: "x" },
      { c: 0, a: 1, b: "y" },
      { c: 0, a: 2, b: "x" },
      { c: 0, a: 2, b: "y" },
    ]);
  });

  it("at random follow from the seed, and stay when there are to be more", () => {
    const random = { seed: 3, a: { logUniform: [1e-4, 1] }, b: { choices: [16, 32] }, c: { integers: [2, 4] } };
    const few = points({ task: "t", random: { count: 5, ...random } });
    expect(points({ task: "t", random: { count: 400, ...random } }).slice(0, 5)).toEqual(few);
    expect(points({ task: "t", random: { count: 5, ...random, seed: 4 } })).not.toEqual(few);
  });

  it("at random fill their ranges: log-evenly, evenly, every choice and both ends", () => {
    const random = {
      a: { logUniform: [1e-4, 1] },
      b: { uniform: [2, 6] },
      c: { integers: [2, 4] },
      d: { choices: ["x", "y"] },
    };
    const all = points({ task: "t", random: { count: 2000, ...random } }) as Record<string, number>[];
    const share = (holds: (point: Record<string, number>) => boolean) => all.filter(holds).length / all.length;
    // 4.5 standard deviations of a share of 2,000
    const within = (value: number, wanted: number) => expect(Math.abs(value - wanted)).toBeLessThan(0.05);
    within(
      share(({ a }) => a! < 1e-2),
      0.5,
    );
    within(
      share(({ a }) => a! < 1e-3),
      0.25,
    );
    within(
      share(({ b }) => b! < 3),
      0.25,
    );
    for (const value of [2, 3, 4])
      within(
        share(({ c }) => c === value),
        1 / 3,
      );
    within(
      share(({ d }) => String(d) === "x"),
      0.5,
    );
    expect(share(({ a, b }) => a! >= 1e-4 && a! <= 1 && b! >= 2 && b! <= 6)).toBe(1);
  });

  it("are refused when they are too many", () => {
    const list = Array.from({ length: 101 }, (_, i) => i);
    expect(() => points({ task: "t", grid: { a: list, b: list } })).toThrow(refused("input", { message: "10201" }));
  });
});

describe("planning a sweep", () => {
  it("makes the specification of every point, for all seeds", () => {
    const {
      points: planned,
      varied,
      seeds,
    } = plan({
      task: "induction",
      params: { steps: 7 },
      grid: { n_heads: [2, 4] },
      seeds: [0, 5],
      probes: ["induction"],
    });
    expect([varied, seeds]).toEqual([["n_heads"], [0, 5]]);
    expect(planned.map(({ values, spec }) => [values, spec.model.n_heads, spec.training.steps, spec.probes])).toEqual([
      [{ n_heads: 2 }, 2, 7, ["induction"]],
      [{ n_heads: 4 }, 4, 7, ["induction"]],
    ]);
  });

  it.each([
    [{ task: "inducton" }, /s\.yaml: task: unknown task "inducton"; did you mean induction/],
    [{ task: "induction", probes: ["inducton"] }, /s\.yaml: probes: unknown probe "inducton"; did you mean induction/],
    [
      { task: "induction", params: { step: 5 } },
      /s\.yaml: params\.step: unknown parameter "step".*did you mean.*steps/,
    ],
    [{ task: "induction", grid: { n_head: [1] } }, /s\.yaml: grid\.n_head: unknown parameter.*did you mean.*n_heads/],
    [{ task: "induction", grid: { n_heads: [4, 0] } }, /s\.yaml: grid\.n_heads: parameter n_heads .* cannot be 0/],
    [
      { task: "induction", random: { count: 2, d_modle: { choices: [1] } } },
      /s\.yaml: random\.d_modle: unknown parameter.*did you mean.*d_model/,
    ],
    [
      { task: "induction", params: { d_model: 64 }, grid: { n_heads: [4, 7] } },
      /s\.yaml: at n_heads=7: d_model 64 is not a multiple of n_heads 7/,
    ],
  ])("refuses before anything is trained, with the place in the file: %j", (value, message) => {
    expect(() => plan(value)).toThrow();
    try {
      plan(value);
    } catch (error) {
      expect((error as { line: string }).line).toMatch(message);
    }
  });
});

describe("runs for a specification", () => {
  it("are those of the same parameters and seed, or new ones", () => {
    const store = openStore({ folder });
    const specs = plan({ task: "induction", grid: { n_heads: [2, 4] } }).points.map(({ spec }) => spec);
    const first = runsFor(store, specs, [0, 1]);
    expect(first.map((runs) => runs.map(({ seed, group }) => [seed, group]))).toEqual([
      [[0, "induction-1"], [1, "induction-1"]], // biome-ignore format: a table
      [[0, "induction-3"], [1, "induction-3"]], // biome-ignore format: a table
    ]);
    const reordered = JSON.parse(JSON.stringify(specs)).map((spec: object) =>
      Object.fromEntries(Object.entries(spec).reverse()),
    );
    const again = runsFor(store, reordered, [2, 1]);
    expect(again.map((runs) => runs.map(({ id }) => id))).toEqual([
      ["induction-5", "induction-2"],
      ["induction-6", "induction-4"],
    ]);
    store.close();
  });

  it("are one a seed, however many processes ask for them at once", async () => {
    const store = openStore({ folder });
    const script = await bundleScript("store-script");
    const go = join(folder, "go");
    const others = [0, 1, 2].map(() => startScript(script, [folder, "reuse", go]));
    for (const { firstLine } of others) await firstLine;
    await writeFile(go, "");
    for (const { ended } of others) expect(await ended).toMatchObject({ code: 0, stderr: "" });
    const seeds = store.runs().map(({ seed }) => seed);
    expect(seeds.sort((a, b) => a - b)).toEqual(Array.from({ length: 60 }, (_, seed) => seed));
    store.close();
  });

  it("are finished ones rather than others", () => {
    const store = openStore({ folder });
    const { spec } = plan({ task: "induction" }).points[0]!;
    const ids = [0, 1, 2].map(() => store.createRuns(spec, [0])[0]!.id);
    store.updateRun(ids[0]!, { status: "failed", error: "the loss is not a number" });
    store.updateRun(ids[1]!, { status: "done" });
    expect(runsFor(store, [spec], [0])[0]![0]!.id).toBe(ids[1]);
    store.close();
  });
});

describe("a sweep's results", () => {
  const results: SweepResult[] = [
    {
      values: { n_heads: 2, readout_hidden: [8, 4] },
      runs: [
        { run: "induction-1", seed: 0, status: "done", step: 9, metrics: { loss: 1, "repeat.accuracy": 0.5 } },
        { run: "induction-2", seed: 1, status: "done", step: 9, metrics: { loss: 3, "repeat.accuracy": 0.5 } },
      ],
      metrics: { loss: { mean: 2, min: 1, max: 3 }, "repeat.accuracy": { mean: 0.5, min: 0.5, max: 0.5 } },
    },
    {
      values: { n_heads: 4, readout_hidden: [] },
      runs: [
        { run: "induction-3", seed: 0, status: "failed", step: 4, error: "the loss is NaN at step 5", metrics: {} },
        { run: "induction-4", seed: 1, status: "done", step: 9, metrics: { loss: 0.00125 } },
      ],
      metrics: { loss: { mean: 0.00125, min: 0.00125, max: 0.00125 } },
    },
  ];
  const planned = { task: "induction", varied: ["n_heads", "readout_hidden"], axes: [], seeds: [0, 1], points: [] };

  it("are a CSV line a run", () => {
    expect(sweepCsv(planned, results).split("\n")).toEqual([
      "n_heads,readout_hidden,seed,run,status,step,loss,repeat.accuracy",
      '2,"8,4",0,induction-1,done,9,1,0.5',
      '2,"8,4",1,induction-2,done,9,3,0.5',
      "4,,0,induction-3,failed,4,,",
      "4,,1,induction-4,done,9,0.00125,",
      "",
    ]);
  });

  it("are a line a point for people, with the range over the seeds and what failed", () => {
    expect(sweepText(planned, results).split("\n")).toEqual([
      "induction: 2 points, mean (range) over 2 seeds",
      "  n_heads  readout_hidden  status                           loss  repeat.accuracy",
      "        2             8,4  done              2.000 (1.000–3.000)            0.500",
      "        4                  1 failed, 1 done              0.00125",
      "induction-3, n_heads=4 readout_hidden=: the loss is NaN at step 5",
    ]);
  });
});
