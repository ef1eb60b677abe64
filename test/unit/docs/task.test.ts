import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll, expect, it } from "vitest";
import { initBackend } from "../../../backend/runtime/backend.ts";
import { makeSpec } from "../../../backend/training/spec.ts";
import type { SyntheticTask } from "../../../backend/training/task.ts";
import { type Metrics, train } from "../../../backend/training/train.ts";

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));

beforeAll(async () => void (await initBackend()));

it("the task of docs/add-a-task.md is learned as it stands there", async () => {
  const code = /```ts\n([\s\S]*?)```/.exec(readFileSync(join(ROOT, "docs/add-a-task.md"), "utf8"))![1]!;
  const folder = mkdtempSync(join(ROOT, "test/.docs-"));
  try {
    const path = join(folder, "task.ts");
    writeFileSync(
      path,
      code.replaceAll('"../backend', '"../../backend').replace('"./base', '"../../synthetic-tasks/base'),
    );
    const { delayedCopy } = (await import(path)) as { delayedCopy: SyntheticTask };
    const small = { d_model: 32, n_layers: 1, context: 12, vocabulary: 8, steps: 300, learning_rate: 0.01, points: 2 };
    const last: Metrics[] = [];
    await train(delayedCopy, makeSpec(delayedCopy, small), [0], {
      onMetrics: (_, __, values) => void last.push(values),
      onCheckpoint: async () => {},
    });
    expect(last.at(-1)!["fresh.accuracy"]).toBeGreaterThan(0.9);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
