import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { experimentParameters, experiments, runExperiment } from "../../../../experiments/index.ts";
import { judge, SHARES, type WindowFit } from "../../../../experiments/windows/judge.ts";
import { ownStore } from "../../../helpers/training/own-store.ts";

const NAME = "sequential-functions";

/** Errors that are bad at the first pairs and then level. */
const level = (value: number) => [1, 1, 1, 1, ...Array<number>(4).fill(value)];
const fitOf = (model: readonly number[], best = [0.05, 0.4, 0.6, 0.8, 1], alone = 0.6): WindowFit => ({
  model: model.map(level),
  best: best.map(level),
  alone: level(alone),
});
const verdicts = (clean: WindowFit, noisy: WindowFit) =>
  Object.fromEntries(
    judge(Array.from({ length: 4 }, () => ({ clean, noisy }))).map(({ id, verdict }) => [id, verdict]),
  );

describe("its claims", () => {
  test("are decided by errors at the end, between answering 0 and the predictors", () => {
    const [good, robust] = [fitOf([0.1, 0.2, 0.6, 0.9, 1.2]), fitOf([0.3, 0.4, 0.7, 0.9, 1])];
    expect(new Set(Object.values(verdicts(good, robust)))).toEqual(new Set(["reproduced"]));
  });

  test("are not reproduced by a model that answers 0, or that random labels ruin", () => {
    const zero = fitOf(SHARES.map(() => 1));
    expect(verdicts(zero, zero)).toEqual({
      learns: "not reproduced",
      sequence: "not reproduced",
      deteriorates: "not reproduced",
      "keeps-some": "not reproduced",
      robust: "inconclusive at this scale",
      "learns-from-random": "not reproduced",
    });
    expect(verdicts(fitOf([0.55, 0.9, 0.95, 1, 1.05]), zero)).toMatchObject({
      sequence: "not reproduced",
      deteriorates: "reproduced",
      "keeps-some": "not reproduced",
      robust: "not reproduced",
    });
  });
}); // biome-ignore format: one line

describe("a very small run", () => {
  const lab = ownStore();

  test("trains, measures and judges; again, it measures nothing", async () => {
    const params = experimentParameters(experiments, NAME, "quick", {
      ...{ seeds: [0, 1], steps: 100, examples: 8, n_layers: 1, n_heads: 1, d_model: 8, batch: 8, rows: 32 },
    });
    const run = () => runExperiment(experiments.get(NAME), { store: lab.store, preset: "quick", params, command: "" });
    const { report } = await run();
    expect(report.claims.map(({ verdict }) => verdict)).toEqual(Array(6).fill("too few seeds to tell"));
    expect(report.figures.map(({ name }) => name)).toEqual(["pairs", "random-labels"]);
    const kept = await readdir(join(lab.store.folder, "measurements"));
    expect(kept).toHaveLength(4);
    expect((await run()).report.claims).toEqual(report.claims);
    expect(await readdir(join(lab.store.folder, "measurements"))).toEqual(kept);
  });
});
