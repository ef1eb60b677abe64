import { beforeAll, expect, it } from "vitest";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { makeSpec } from "../../../../backend/training/spec.ts";
import type { SyntheticTask } from "../../../../backend/training/task.ts";
import { type Metrics, train } from "../../../../backend/training/train.ts";
import { loadAsFile, typescriptOf } from "../../../helpers/docs.ts";

beforeAll(async () => void (await initBackend()));

it("the task of docs/add-a-task.md is learned as it stands there", async () => {
  const { delayedCopy } = await loadAsFile<{ delayedCopy: SyntheticTask }>(typescriptOf("docs/add-a-task.md"));
  const small = { d_model: 32, n_layers: 1, context: 12, vocabulary: 8, steps: 300, learning_rate: 0.01, points: 2 };
  const last: Metrics[] = [];
  await train(delayedCopy, makeSpec(delayedCopy, small), [0], {
    onMetrics: (_, __, values) => void last.push(values),
    onCheckpoint: async () => {},
  });
  expect(last.at(-1)!["fresh.accuracy"]).toBeGreaterThan(0.9);
});
