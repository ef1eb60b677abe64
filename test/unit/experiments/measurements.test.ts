import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { forward } from "../../../backend/models/forward/forward.ts";
import { openStore, type Store } from "../../../backend/store/store.ts";
import { type Experiment, seedList } from "../../../experiments/base.ts";
import { runExperiment } from "../../../experiments/index.ts";

const parameters = z.object({ seeds: seedList.default([0, 1, 2]), texts: z.int().default(2), model: z.string() });

/** Logits of the built-in model, by seed; `calls` says which seeds were measured. */
function logitsExperiment(calls: number[], whileMeasuring: (seed: number) => void = () => {}) {
  const experiment: Experiment<typeof parameters> = {
    name: "logits",
    title: "Logits",
    description: "The first logit of a token.",
    source: "none",
    trials: "none",
    parameters,
    presets: { quick: { model: "toy-induction" }, full: { model: "toy-induction" } },
    claims: [{ id: "finite", statement: "It is a number.", source: "none", check: "It is finite." }],
    extent: "texts",
    stages: () => [{ label: "logits", work: 3 }],
    async run({ seeds, model }, { measure }) {
      const values = await measure(
        seeds.map((seed) => ({
          name: "first",
          label: "logits",
          model,
          settings: { seed },
          values: z.object({ logit: z.number() }),
          async measure(loaded, { progress }) {
            calls.push(seed);
            progress(1, 2);
            whileMeasuring(seed);
            const run = forward(loaded, { tokens: [[seed + 1, 2]] });
            const [logit] = await run.logits!.data();
            run.dispose();
            return { logit: logit! };
          },
        })),
      );
      const measured = Object.fromEntries(values.map(({ logit }, i) => [String(seeds[i]), logit]));
      return { claims: [{ id: "finite", measured, verdict: "reproduced", why: "It is." }], figures: [] };
    },
  };
  return experiment as unknown as Experiment;
}

describe("measurements of a model by an experiment", () => {
  let folder: string;
  let store: Store;
  const run = (experiment: Experiment, options: Partial<Parameters<typeof runExperiment>[1]> = {}) => {
    const params = experiment.parameters.parse({ ...experiment.presets.quick }) as Record<string, unknown>;
    return runExperiment(experiment, { store, preset: "quick", params, command: "", ...options });
  };
  const kept = async () => (await readdir(join(folder, "measurements"))).sort();
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "measurements-"));
    store = openStore({ folder });
  });
  afterAll(async () => {
    store.close();
    await rm(folder, { recursive: true });
  });

  test("that is stopped are kept as far as they are done, and the next run goes on behind them", async () => {
    const calls: number[] = [];
    const controller = new AbortController();
    const reason = new Error("stop");
    const stopping = logitsExperiment(calls, (seed) => seed === 1 && controller.abort(reason));
    await expect(run(stopping, { signal: controller.signal })).rejects.toBe(reason);
    expect(calls).toEqual([0, 1]);
    expect(await kept()).toHaveLength(1);
    const { report } = await run(logitsExperiment(calls));
    expect(calls).toEqual([0, 1, 1, 2]);
    const again = await run(logitsExperiment(calls));
    expect(calls).toHaveLength(4);
    expect(again.report.claims).toEqual(report.claims);
    expect(Object.keys(report.claims[0]!.measured)).toEqual(["0", "1", "2"]);
  });

  test("are measured again where their file is broken or of another form", async () => {
    const calls: number[] = [];
    const [first, second] = (await kept()).map((name) => join(folder, "measurements", name)) as [string, string];
    const before = JSON.parse(await readFile(second, "utf8"));
    await writeFile(first, "{");
    await writeFile(second, JSON.stringify({ ...before, values: { logit: "high" } }));
    await run(logitsExperiment(calls));
    expect(calls).toHaveLength(2);
    expect(JSON.parse(await readFile(second, "utf8"))).toEqual(before);
  });

  test("tell how far the whole is", async () => {
    const told: number[] = [];
    await rm(join(folder, "measurements"), { recursive: true });
    await run(logitsExperiment([]), { progress: (done, total) => void told.push(done / total) });
    expect(told).toEqual(told.toSorted((a, b) => a - b));
    expect(told.at(-1)).toBe(1);
  });

  test("of a model that is not there are refused by name", async () => {
    const params = { seeds: [0], texts: 2, model: "/no/such/model" };
    await expect(run(logitsExperiment([]), { params })).rejects.toMatchObject({ kind: "missing" });
  });

  test("on fewer texts than the preset's leave the claim open", async () => {
    const { report } = await run(logitsExperiment([]), { params: { seeds: [0, 1, 2], texts: 1, model: "toy-induction" } }); // biome-ignore format: one line
    expect(report.claims[0]).toMatchObject({ verdict: "too little measured to tell" });
  });
});
