import { beforeAll, describe, expect, test } from "vitest";
import { modelOfParameters } from "../../../backend/models/sources/run-checkpoint.ts";
import { initialParameters, parameterLayout } from "../../../backend/models/weights/trainable.ts";
import { initBackend } from "../../../backend/runtime/backend.ts";
import { tf } from "../../../backend/runtime/tf.ts";
import { makeSpec, modelConfigOf } from "../../../backend/training/spec.ts";
import { experimentParameters, experiments } from "../../../experiments/index.ts";
import {
  contenders,
  LEAST_SQUARES,
  learnerDistances,
  ridgeName,
} from "../../../experiments/predictors/learner-distances.ts";
import {
  type Decoded,
  judge,
  type LayerScore,
  type ModelFit,
  type SeedFits,
} from "../../../experiments/predictors/learning-algorithm-claims.ts";
import { tasks } from "../../../synthetic-tasks/index.ts";

beforeAll(async () => void (await initBackend()));

const setting = { dimension: 2, sigma: 0, tau: 1 };
const STEP = "one gradient step";
const RIDGE = ridgeName(1);

/** A model at a distance from each learner: near to the one that is named. */
function modelNear(near: string, changes: Partial<ModelFit> & { far?: number; by?: number } = {}): ModelFit {
  const { far = 0.5, by = 0.01, sigma = 0, ...rest } = changes;
  const all = contenders({ ...setting, sigma }, [0.25, 1, 4]);
  const distances = Object.fromEntries(all.map(({ name }) => [name, { spd: name === near ? by : far, ilwd: name === near ? by : far }])); // biome-ignore format: one line
  return { depth: 1, width: 8, sigma, all, distances, zero: 1, errors: { model: [], learners: {} }, linearity: 1, ...rest };
} // biome-ignore format: one line

const layer = (score: number, control = 0): LayerScore => ({ score, low: score - 0.02, control });
const decoded = (moment: number[], weights: number[], control = 0): Decoded => ({
  moment: moment.map((score) => layer(score, control)),
  weights: weights.map((score) => layer(score, control)),
});
const along = (...names: string[]) => names.map((name, i) => modelNear(name, { depth: i + 1, far: 0.5 - 0.1 * i }));
const seed = (changes: Partial<SeedFits> = {}): SeedFits => ({
  depths: along(STEP, RIDGE, LEAST_SQUARES),
  widths: along(RIDGE, LEAST_SQUARES),
  noises: [modelNear(RIDGE, { sigma: 1 })],
  decoded: decoded([0.5, 0.9, 0.9], [0.4, 0.6, 0.9]),
  ...changes,
});
const verdicts = (changes: Partial<SeedFits> = {}) => {
  const seeds = [0, 1, 2, 3].map(() => seed(changes));
  return Object.fromEntries(judge(seeds, 0.65, [RIDGE]).map(({ id, verdict }) => [id, verdict]));
};
const UNDECIDED = "inconclusive at this scale";

describe("the claims about learning algorithms", () => {
  test("are all reproduced where models move from a gradient step to least squares", () => {
    expect(verdicts()).toEqual({
      depth: "reproduced",
      "depth-weights": "reproduced",
      width: "reproduced",
      noise: "reproduced",
      decodable: "reproduced",
      "moment-first": "reproduced",
    });
  });

  test("of depth fail where models go back, begin late, end early or leave the way, and are open where the deepest is near nobody", () => {
    const depth = (...names: string[]) => verdicts({ depths: along(...names) })["depth"];
    expect(depth(STEP, LEAST_SQUARES, RIDGE)).toBe("not reproduced");
    expect(depth(RIDGE, LEAST_SQUARES, LEAST_SQUARES)).toBe("not reproduced");
    expect(depth(STEP, RIDGE, RIDGE)).toBe("not reproduced");
    expect(depth(STEP, "3 nearest neighbours", LEAST_SQUARES)).toBe("not reproduced");
    const lost = [modelNear(STEP), modelNear(RIDGE), modelNear(LEAST_SQUARES, { by: 0.2 })];
    expect(verdicts({ depths: lost })).toMatchObject({ depth: UNDECIDED, "depth-weights": UNDECIDED });
  });

  test("of implied weights fail where a depth is further from least squares than the one before", () => {
    const depths = [modelNear(STEP, { far: 0.3 }), modelNear(RIDGE, { far: 0.4 }), modelNear(LEAST_SQUARES)];
    expect(verdicts({ depths })["depth-weights"]).toBe("not reproduced");
  });

  test("of width fail where the widest is hardly closer to least squares", () => {
    const widths = [modelNear(LEAST_SQUARES, { by: 0.03 }), modelNear(LEAST_SQUARES, { by: 0.02 })];
    expect(verdicts({ widths })["width"]).toBe("not reproduced");
  });

  test("of noise fail where another penalty or least squares is closer, and are open far from all", () => {
    const noise = (near: string, by = 0.01) => verdicts({ noises: [modelNear(near, { sigma: 1, by })] })["noise"];
    expect(noise(ridgeName(4))).toBe("not reproduced");
    expect(noise(LEAST_SQUARES)).toBe("not reproduced");
    expect(noise(RIDGE, 0.11)).toBe(UNDECIDED);
  });

  test("of probes fail where one target gives no more than the other does, or a control reads too", () => {
    const probed = (...args: Parameters<typeof decoded>) => verdicts({ decoded: decoded(...args) });
    expect(probed([0.9, 0.9], [0.6, 0.66])).toMatchObject({
      decodable: "not reproduced",
      "moment-first": "reproduced",
    });
    expect(probed([0.9, 0.9], [0.4, 0.9], 0.2)["decodable"]).toBe("not reproduced");
    expect(probed([0.4, 0.9], [0.9, 0.9])["moment-first"]).toBe("not reproduced");
    expect(probed([0.4, 0.9], [0.4, 0.9])["moment-first"]).toBe(UNDECIDED);
    expect(probed([0.9, 0.9], [0.4, 0.4])["moment-first"]).toBe(UNDECIDED);
  });
});

test("a model that says 0 is as far from the posterior mean as chance, and has implied weights 0; nothing is leaked", async () => {
  const task = tasks.get("linear-regression");
  const spec = makeSpec(task, { ...setting, examples: 5, n_layers: 1, n_heads: 1, d_model: 8 });
  const config = modelConfigOf(spec.model, task.shape(spec.params));
  const model = modelOfParameters("zero", config, initialParameters(parameterLayout(config), 1).fill(0));
  const all = contenders(setting, [1]);
  const asked = { params: spec.params, seed: 3, all, rows: 64 };
  await learnerDistances(model, asked);
  const before = tf.memory().numTensors;
  const { distances, zero, errors, linearity } = await learnerDistances(model, asked);
  expect(tf.memory().numTensors).toBe(before);
  // Without noise least squares is the posterior mean.
  expect(distances[LEAST_SQUARES]!.spd).toBeCloseTo(zero, 6);
  expect(errors.learners[LEAST_SQUARES]!.slice(2).every((error) => error < 1e-6)).toBe(true);
  expect(errors.model.every((error) => error > 0.4 && error < 1.8)).toBe(true);
  expect(linearity).toBe(1);
  // From two pairs on its weights are w, whose expected square is d; of one pair they are half of that.
  expect(distances[LEAST_SQUARES]!.ilwd).toBeGreaterThan(0.5);
  expect(distances[STEP]!.ilwd).toBeLessThan(distances[LEAST_SQUARES]!.ilwd);
  model.dispose();
});

test("the presets share trainings between their sweeps, and refuse a width that heads do not divide before any training", async () => {
  const experiment = experiments.get("learning-algorithm");
  const quick = experimentParameters(experiments, experiment.name, "quick");
  const labels = experiment.stages(quick as never).map(({ label }) => label);
  expect(labels.filter((label) => label.startsWith("depth"))).toEqual([
    "depth 1, width 32, σ 0",
    "depth 2, width 32, σ 0",
    "depth 4, width 32, σ 0",
    "depth 4, width 32, σ 1",
    "depth 4, width 8, σ 0",
  ]);
  const odd = experimentParameters(experiments, experiment.name, "quick", { widths: "9,32" });
  const check = (plan: { task: string; params: object }) => void makeSpec(tasks.get(plan.task), { ...plan.params });
  const context = { check, train: () => expect.unreachable() } as never;
  await expect(experiment.run(odd as never, context)).rejects.toMatchObject({ kind: "usage" });
});
