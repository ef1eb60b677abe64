import { describe, expect, test } from "vitest";
import { parameterCount, parameterLayout } from "../../../backend/models/weights/trainable.ts";
import { makeSpec, modelConfigOf } from "../../../backend/training/spec.ts";
import { experimentParameters, experiments, runExperiment } from "../../../experiments/index.ts";
import { judge as judgeDual, type SplitCurves } from "../../../experiments/weights/dual-process.ts";
import { judge as judgeSoups } from "../../../experiments/weights/model-soups.ts";
import { headPlans, judge as judgePruning, matchingSparsity } from "../../../experiments/weights/prune-or-not.ts";
import { tasks } from "../../../synthetic-tasks/index.ts";
import { ownStore } from "../../helpers/training/own-store.ts";

const verdicts = (claims: readonly { id: string; verdict: string }[]) =>
  Object.fromEntries(claims.map(({ id, verdict }) => [id, verdict]));

describe("prune-or-not", () => {
  const pair = (weights: number, dense: number, sparse: number) => ({
    ...{ weights, dense: [dense, dense, dense, dense], sparse: [sparse, sparse, sparse, 9] },
  });

  test("decides by three of four seeds, with a margin between the losses", () => {
    const whole = [0.5, 0.5, 0.5, 0.5];
    const widths = [pair(32, 0.6, 0.52), pair(16, 0.6, 0.595)];
    expect(verdicts(judgePruning({ widths, heads: pair(48, 0.6, 0.58), whole }))).toEqual({
      moderate: "reproduced",
      strong: "inconclusive at this scale",
      "nearly-whole": "reproduced",
      heads: "reproduced",
    });
    const worse = [pair(32, 0.6, 0.7), pair(16, 0.6, 0.7)];
    expect(verdicts(judgePruning({ widths: worse, heads: pair(48, 0.6, 0.62), whole }))).toEqual({
      moderate: "not reproduced",
      strong: "not reproduced",
      "nearly-whole": "not reproduced",
      heads: "not reproduced",
    });
  });

  test("prunes the large model to the small one's number of weights", () => {
    const params = experimentParameters(experiments, "prune-or-not", "quick");
    const task = tasks.get("hmm-mixture");
    const count = (d_model: number) => {
      const { model, params: own } = makeSpec(task, {
        ...{ d_model, context: 24, concepts: 4, vocabulary: 16, states: 4 },
        ...{ n_layers: 2, n_heads: 4, attn_only: false, positional_embedding_type: "standard" },
      });
      return parameterLayout(modelConfigOf(model, task.shape(own)));
    };
    for (const width of [16, 8]) {
      const large = count(32);
      const kept = 1 - matchingSparsity(params as never, width);
      const left = large.reduce((sum, { kind, size }) => sum + (kind === "matrix" ? kept * size : size), 0);
      expect(left).toBeCloseTo(parameterCount(count(width)), 6);
    }
  });

  test("takes as many heads as the model with fewer has less", () => {
    const params = experimentParameters(experiments, "prune-or-not", "quick", { n_layers: 3, heads: 1 }) as never;
    const { dense, sparse } = headPlans(params);
    const places = ({ params: given }: typeof dense) => {
      const task = tasks.get("hmm-mixture");
      const { model, params: own } = makeSpec(task, given);
      return parameterLayout(modelConfigOf(model, task.shape(own)));
    };
    const gone = parameterCount(places(sparse)) - parameterCount(places(dense));
    expect(sparse.params).toMatchObject({ prune: "heads", prune_sparsity: 0.75, n_heads: 4, d_model: 32 });
    expect(gone).toBe(3 * 3 * 4 * 32 * 8); // layers, heads of each, Q K V and O
  });

  test("refuses as many heads as the large model has", () => {
    const task = () => experimentParameters(experiments, "prune-or-not", "quick", { heads: 4 });
    expect(task).toThrow(/heads/);
  });
});

test("model-soups decides by the losses of soups and runs", () => {
  const outcome = (greedy: number, uniform: number, unrelated: number) => ({
    ...{ runs: [1, 1.2], best: 1, greedy, uniform, chosen: 1, unrelated: { soup: unrelated, own: 1 } },
  });
  const four = (...losses: [number, number, number]) => Array.from({ length: 4 }, () => outcome(...losses));
  expect(verdicts(judgeSoups(four(1.004, 1.05, 3)))).toEqual({
    greedy: "reproduced",
    uniform: "not reproduced",
    "above-average": "reproduced",
    "one-origin": "reproduced",
  });
  expect(verdicts(judgeSoups(four(1.01, 1.15, 1.5)))).toEqual({
    greedy: "not reproduced",
    uniform: "not reproduced",
    "above-average": "not reproduced",
    "one-origin": "not reproduced",
  });
});

describe("dual-process", () => {
  const seed = (unseen: number[], switched: number): SplitCurves => {
    const steps = unseen.map((_, i) => i);
    const level = (value: number) => ({ steps, values: steps.map(() => value) });
    return {
      head: level(1),
      tail: level(1),
      unseen: { steps, values: unseen },
      switched: level(switched),
      "tail-switched": level(1),
    };
  };
  const [goes, never, stays] = [
    [0.5, 0.9, 0.6, 0.6, 0.6],
    [0.5, 0.5, 0.5, 0.5, 0.5],
    [0.5, 0.9, 0.9, 0.9, 0.9],
  ];
  const four = (each: SplitCurves) => [each, each, each, each];

  test("decides by peaks and ends", () => {
    const claims = judgeDual({
      "without forgetting": four(seed(goes, 0.1)),
      "active forgetting": four(seed(stays, 0.9)),
      "temporary forgetting": four(seed(stays, 0.4)),
    });
    expect(new Set(Object.values(verdicts(claims)))).toEqual(new Set(["reproduced"]));
  });

  test("cannot tell whether an ability goes that never came", () => {
    const claims = judgeDual({
      "without forgetting": four(seed(never, 0.6)),
      "active forgetting": four(seed(never, 0.4)),
      "temporary forgetting": four(seed(stays, 0.7)),
    });
    expect(verdicts(claims)).toEqual({
      "comes-and-goes": "inconclusive at this scale",
      "in-weights": "not reproduced",
      "active-forgetting": "not reproduced",
      "no-weights": "not reproduced",
      "temporary-forgetting": "not reproduced",
    });
  });
});

describe("a very small model-soups", () => {
  const lab = ownStore();

  test("fine-tunes, averages and reports; again, it makes no run", async () => {
    const experiment = experiments.get("model-soups");
    const params = experimentParameters(experiments, "model-soups", "quick", {
      seeds: [0, 1], steps: 100, tuning_steps: 20, learning_rates: [1e-3], orders: 2, d_model: 8, batch: 8, evaluation_rows: 64,
    }); // biome-ignore format: a table
    const run = () =>
      runExperiment(experiment, {
        store: lab.store,
        preset: "quick",
        params,
        command: "headscope experiment run model-soups",
      });
    const { report } = await run();
    expect(report.claims.map(({ id }) => id)).toEqual(experiment.claims.map(({ id }) => id));
    const runs = lab.store.runs().length;
    expect(runs).toBeGreaterThanOrEqual(2 + 4 + 3); // first, fine-tuned, and the soups that differ
    const again = await run();
    expect(lab.store.runs()).toHaveLength(runs);
    expect(again.report.claims).toEqual(report.claims);
  });
});
