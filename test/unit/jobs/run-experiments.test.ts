import { describe, expect, it } from "vitest";
import { type EndedExperiment, runExperiments } from "../../../backend/jobs/kinds/run-experiments.ts";
import { experiments, findReport } from "../../../experiments/index.ts";
import { refused } from "../../helpers/errors.ts";
import { ownStore } from "../../helpers/training/own-store.ts";

const SMALL = { seeds: [0, 1], steps: 100, n_layers: 1, n_heads: 1, d_model: 8, batch: 8, examples: 6, rows: 32 };
const FORGETTING = { name: "forgetting", preset: "quick", params: { ...SMALL, tuning_steps: 20 } } as const;
const PROMOT = { name: "promot", preset: "quick", params: { ...SMALL, tuning_steps: 20, prompt_steps: 20, vectors: 2 } } as const; // biome-ignore format: a request a line

describe("experiments at once", () => {
  const lab = ownStore();

  it("end with their reports though one of them fails, and train once what two of them want", async () => {
    const missing = { name: "early-exit", preset: "quick", params: { model: "run:nobody@1" } } as const;
    const [told, seen] = [[] as EndedExperiment[], [] as number[]];
    const ended = await runExperiments(lab.store, [FORGETTING, missing, PROMOT], {
      atOnce: 3,
      onProgress: (done, total) => {
        expect(total).toBe(3);
        seen.push(done);
      },
      onEnd: (each) => told.push(each),
    });
    expect(ended).toEqual(told);
    expect(seen.at(-1)).toBe(3);
    expect(ended.map(({ name }) => name).sort()).toEqual(["early-exit", "forgetting", "promot"]);
    for (const { name, report, error } of ended) {
      if (name === "early-exit") {
        expect(String(error)).toContain("nobody");
        continue;
      }
      expect((await findReport(experiments.get(name), { id: report! })).report.experiment.name).toBe(name);
    }
    const trained = lab.store.runs({}).map(({ seed, spec }) => JSON.stringify([seed, spec]));
    expect(new Set(trained).size).toBe(trained.length);
  });

  it("are refused before any is run where one asks for what there is not", async () => {
    const jobs = lab.store.jobs().length;
    const wrong = { ...FORGETTING, params: { stepz: 3 } };
    await expect(runExperiments(lab.store, [PROMOT, wrong])).rejects.toEqual(refused("usage", { message: "stepz" }));
    expect(lab.store.jobs()).toHaveLength(jobs);
  });
});
