import { beforeAll, describe, expect, it } from "vitest";
import { Random } from "../../../backend/common/random.ts";
import type { Model } from "../../../backend/models/model.ts";
import { modelOfParameters } from "../../../backend/models/sources/run-checkpoint.ts";
import { initialParameters, parameterLayout } from "../../../backend/models/weights/trainable.ts";
import { initBackend } from "../../../backend/runtime/backend.ts";
import { tf } from "../../../backend/runtime/tf.ts";
import { makeSpec, modelConfigOf } from "../../../backend/training/spec.ts";
import type { Batch } from "../../../backend/training/task.ts";
import { tasks } from "../../../synthetic-tasks/index.ts";
import { regressionPrompts } from "../../../synthetic-tasks/learners/index.ts";
import { probeTargets, type TrainedTask, taskProbe } from "../../../synthetic-tasks/task-probe.ts";

beforeAll(async () => void (await initBackend()));

/** A task, and the model of its first step. */
function untrained(name: string, raw: Record<string, unknown>): { trained: TrainedTask; model: Model } {
  const task = tasks.get(name);
  const spec = makeSpec(task, raw);
  const config = modelConfigOf(spec.model, task.shape(spec.params));
  const model = modelOfParameters(name, config, initialParameters(parameterLayout(config), 1));
  return { trained: { task, params: spec.params, seed: 0 }, model };
}

describe("targets", () => {
  const params = { dimension: 2, examples: 4, sigma: 0.5, tau: 1 };
  const task = tasks.get("linear-regression");
  const batch = task.sample(null, params, new Random(3), 2);
  const { x, y } = regressionPrompts(params, batch);
  const table = (name: string) => {
    const found = probeTargets(task)[name]!.at(null as never, params as never, batch);
    return found.kind === "values" ? found : expect.unreachable();
  };

  it("of regression hold the pairs so far: at an x those before it, at a y its own too", () => {
    const { values, width } = table("moment");
    expect(width).toBe(2);
    const moment = (row: number, pairs: number) =>
      [0, 1].map((j) => {
        const each = Array.from({ length: pairs }, (_, i) => x[(row * 4 + i) * 2 + j]! * y[row * 4 + i]!);
        return each.reduce((a, b) => a + b, 0);
      });
    for (const row of [0, 1])
      for (let t = 0; t < 7; t++) {
        const at = (row * 7 + t) * 2;
        const expected = moment(row, Math.ceil(t / 2)).map((value) => expect.closeTo(value, 10));
        expect([...values.subarray(at, at + 2)]).toEqual(expected);
      }
    // Two pairs without noise would give w; with it, least squares fits them and the posterior's mean is shorter.
    const at = 4 * 2;
    const [fit, mean] = ["least-squares", "posterior-mean"].map((name) => table(name).values.subarray(at, at + 2));
    expect(fit![0]! * x[0]! + fit![1]! * x[1]!).toBeCloseTo(y[0]!, 8);
    expect(Math.hypot(...mean!)).toBeLessThan(Math.hypot(...fit!));
  });

  it("called label are what the loss asks for, and nothing where it asks for nothing", () => {
    const { values } = table("label");
    expect([...values.subarray(0, 7)]).toEqual([0, 1, 2, 3, 4, 5, 6].map((t) => (t % 2 === 0 ? batch.values![t] : Number.NaN))); // biome-ignore format: one line
    const gaussian = tasks.get("gaussian-classification");
    const own = gaussian.parameters.parse({ K: 8, L: 4, N: 4, B: 2, D: 3, N_max: 4 });
    const drawn: Batch = gaussian.sample(gaussian.world(own, 0), own, new Random(1), 3);
    const labels = probeTargets(gaussian)["label"]!.at(null as never, own as never, drawn);
    expect(labels).toMatchObject({ kind: "classes" });
    expect(labels.kind === "classes" && [...labels.classes].filter((c) => c >= 0)).toEqual([...drawn.classes!]);
  });
});

describe("probes of a task", () => {
  it("find no moment and no label where nothing has computed them", async () => {
    const { trained, model } = untrained("linear-regression", { dimension: 2, examples: 4, n_layers: 1, d_model: 16 });
    const asked = { target: "moment", rows: 200, at: "hook_resid_pre", layers: [0], l2: 1e-2 } as const;
    await taskProbe(model, trained, asked);
    const before = tf.memory().numTensors;
    // The moment of the first pair is y x: not linear in what the token of y holds.
    const found = await taskProbe(model, trained, { ...asked, position: 1 });
    expect(tf.memory().numTensors).toBe(before);
    expect(found).toMatchObject({ metric: "r2", train: 140, test: 60 });
    expect(found.layers[0]!.score).toBeLessThan(0.3);
    const { layers } = await taskProbe(model, trained, { ...asked, target: "label", position: 0 });
    expect(layers[0]!.score).toBeLessThan(0.3);
    model.dispose();
  });

  it("read classes too, at the last scored position of each row", async () => {
    const { trained, model } = untrained("associative-recall", { n_layers: 1, d_model: 16, n_heads: 2 });
    const found = await taskProbe(model, trained, { target: "label", rows: 60, method: "logistic", controls: 1 });
    expect(found.metric).toBe("accuracy");
    expect(found.layers).toHaveLength(1);
    model.dispose();
  });

  it.each([
    ["a target that there is not", { target: "momentum" }, "momentum"],
    ["a position beyond the sequence", { target: "label", position: 7 }, undefined],
    ["a position that has no target", { target: "label", position: 1 }, undefined],
  ])("refuse %s", async (_, change, subject) => {
    const { trained, model } = untrained("linear-regression", { dimension: 2, examples: 4, n_layers: 1, d_model: 16 });
    await expect(taskProbe(model, trained, change)).rejects.toMatchObject({
      kind: "usage",
      ...(subject === undefined ? { field: "position" } : { subject }),
    });
    model.dispose();
  });
});
