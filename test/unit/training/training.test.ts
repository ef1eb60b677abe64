import { beforeAll, describe, expect, it } from "vitest";
import { nextTokenLosses } from "../../../backend/circuits/loss.ts";
import { Random } from "../../../backend/common/random.ts";
import { hasKernels } from "../../../backend/kernels/kernels.ts";
import { forward } from "../../../backend/models/forward/forward.ts";
import { modelOfParameters } from "../../../backend/models/sources/run-checkpoint.ts";
import { initialParameters, parameterCount, parameterLayout } from "../../../backend/models/weights/trainable.ts";
import { initBackend } from "../../../backend/runtime/backend.ts";
import { tf } from "../../../backend/runtime/tf.ts";
import { makeSpec, modelConfigOf } from "../../../backend/training/spec.ts";
import { Evaluator } from "../../../backend/training/step.ts";
import type { SyntheticTask } from "../../../backend/training/task.ts";
import { type Metrics, spacedSteps, type TrainState, train } from "../../../backend/training/train.ts";
import { refused } from "../../helpers/errors.ts";
import { tiny } from "../../helpers/training/tiny-task.ts";

const task = tiny as unknown as SyntheticTask;

beforeAll(async () => void (await initBackend()));

interface Recorded {
  metrics: { step: number; seed: number; values: Metrics }[];
  checkpoints: { seed: number; state: TrainState }[];
}

/** Trains and records; `stopAt` aborts when that step is measured. */
async function run(
  raw: Record<string, unknown>,
  seeds: number[],
  options: { resume?: TrainState[]; stopAt?: number } = {},
): Promise<Recorded & { end: { step: number; status: string } }> {
  const recorded: Recorded = { metrics: [], checkpoints: [] };
  const controller = new AbortController();
  const end = await train(
    task,
    makeSpec(task, raw, { seeds: seeds.length }),
    seeds,
    {
      onMetrics(step, seed, values) {
        recorded.metrics.push({ step, seed, values });
        if (step === options.stopAt) controller.abort();
      },
      async onCheckpoint(seed, state) {
        recorded.checkpoints.push({ seed, state });
      },
      signal: controller.signal,
    },
    { resume: options.resume },
  );
  return { ...recorded, end };
}

describe("a training run", () => {
  it("learns, is measured at log-spaced steps, and leaks no tensor", async () => {
    await run({}, [0]);
    const before = tf.memory().numTensors;
    const { metrics, checkpoints, end } = await run({}, [0]);
    expect(tf.memory().numTensors).toBe(before);
    expect(end).toEqual({ step: 20, status: "done" });
    expect(metrics.map((m) => m.step)).toEqual(spacedSteps(20, 5, "log"));
    expect(checkpoints.map((c) => c.state.step)).toEqual(spacedSteps(20, 3, "log"));
    expect(metrics.at(-1)!.values["fresh.loss"]!).toBeLessThan(metrics[0]!.values["fresh.loss"]! / 2);
  });

  it("is the same again, and another with another seed", async () => {
    const [a, b, c] = [await run({}, [3]), await run({}, [3]), await run({}, [4])];
    expect(b).toEqual(a);
    expect(c.metrics.at(-1)!.values).not.toEqual(a.metrics.at(-1)!.values);
  });

  it.each([{}, { optimiser: "sgd", momentum: 0.9, clip: 0.5, schedule: "cosine", warmup: 3 }])(
    "goes on from where it was stopped, bit for bit: %j",
    async (raw) => {
      const points = { points: 20, ...raw };
      const whole = await run(points, [0, 1]);
      const first = await run(points, [0, 1], { stopAt: 7 });
      expect(first.end).toEqual({ step: 7, status: "cancelled" });
      const stopped = first.checkpoints.slice(-2).map((c) => c.state);
      const rest = await run(points, [0, 1], { resume: stopped });
      expect([...first.metrics, ...rest.metrics]).toEqual(whole.metrics);
      expect(rest.checkpoints.slice(-2)).toEqual(whole.checkpoints.slice(-2));
    },
  );

  it("goes on by what computed its gradients, which the checkpoint says, and without word by functions", async () => {
    const first = await run({}, [0], { stopAt: 4 });
    const { state } = first.checkpoints.at(-1)!;
    expect(state.gradients).toBe(hasKernels() ? "kernel" : "functions");
    for (const gradients of ["functions", undefined] as const) {
      const rest = await run({}, [0], { resume: [{ ...state, gradients }] });
      expect(rest.checkpoints.at(-1)!.state.gradients).toBe("functions");
    }
  });

  it("of several seeds gives what each gives alone", async () => {
    const together = await run({}, [5, 6]);
    for (const seed of [5, 6]) {
      const alone = await run({}, [seed]);
      const theirs = together.metrics.filter((m) => m.seed === seed);
      theirs.forEach(({ values }, i) => {
        for (const [name, value] of Object.entries(values))
          expect(value).toBeCloseTo(alone.metrics[i]!.values[name]!, 4);
      });
    }
  });

  it("of another attention kernel goes on from a checkpoint bit for bit", async () => {
    const attention = "key-value-bias";
    const whole = await run({ attention }, [2]);
    const begun = await run({ attention }, [2], { stopAt: 4 });
    const from = begun.checkpoints.at(-1)!.state;
    expect(from.gradients).toBe("functions");
    const rest = await run({ attention }, [2], { resume: [from] });
    expect(rest.checkpoints.at(-1)!.state.state).toEqual(whole.checkpoints.at(-1)!.state.state);
    const { checkpoints, metrics } = whole;
    const config = modelConfigOf(makeSpec(task, { attention }).model, task.shape(makeSpec(task).params));
    expect(config.attention).toBe(attention);
    expect(checkpoints.at(-1)!.state.state[0]!.length).toBe(parameterCount(parameterLayout(config)));
    expect(metrics.at(-1)!.values["fresh.loss"]!).toBeLessThan(metrics[0]!.values["fresh.loss"]! / 2);
  });

  it("of a hybrid goes on from a checkpoint bit for bit", async () => {
    const raw = { mixer: ["selective", "linear-recurrence", "attention"], n_layers: 3, state: 2 };
    const whole = await run(raw, [2]);
    const begun = await run(raw, [2], { stopAt: 4 });
    const from = begun.checkpoints.at(-1)!.state;
    expect(from.gradients).toBe("functions");
    const rest = await run(raw, [2], { resume: [from] });
    expect(rest.checkpoints.at(-1)!.state.state).toEqual(whole.checkpoints.at(-1)!.state.state);
    const values = (at: number) => whole.metrics.at(at)!.values["fresh.loss"]!;
    expect(values(-1)).toBeLessThan(values(0) / 2);
  });

  it("of recurrent layers whose last position alone is scored learns too", async () => {
    const { metrics } = await run({ mixer: ["selective"], last: true }, [2]);
    expect(metrics.at(-1)!.values["fresh.loss"]!).toBeLessThan(metrics[0]!.values["fresh.loss"]! / 2);
  });

  it.each([
    ["a mixer too many", { mixer: ["selective", "attention", "attention"] }, ["mixer", "n_layers"]],
    ["a state without a recurrence", { state: 4 }, ["state", "mixer"]],
    ["a state of attention", { state: 4, mixer: ["attention"] }, ["state", "mixer"]],
    ["an attention kernel without attention", { mixer: ["selective"], attention: "sigmoid" }, ["attention", "mixer"]],
    ["heads to be pruned", { mixer: ["selective"], prune: "heads", prune_sparsity: 0.5 }, ["prune", "mixer"]],
  ] as const)("refuses %s", (_, raw, field) => {
    expect(() => makeSpec(task, raw)).toThrow(refused("usage", { field: [...field] }));
  });

  it("refuses probes, which look at attention, of a recurrent layer", () => {
    expect(() => makeSpec(task, { mixer: ["attention", "selective"], n_layers: 2 }, { probes: ["induction"] })).toThrow(
      refused("usage", { field: "probes", message: "layer 1 has a selective state space" }),
    );
  });

  it("says that it diverged before anything looks into the model", async () => {
    const diverging = train(
      task,
      makeSpec(task, { learning_rate: 1e30, optimiser: "sgd", normalization_type: "none", points: 20 }),
      [0],
      {
        onMetrics(_, __, values) {
          expect(Object.values(values).every(Number.isFinite)).toBe(true);
        },
        async onCheckpoint() {},
        async measure(model) {
          return { loss_of_a_probe: nextTokenLosses(model, [[0, 1, 2]]).loss };
        },
      },
    );
    await expect(diverging).rejects.toThrow(refused("input"));
  });

  it("stops where the loss is no number, naming the step and the checkpoint that is kept", async () => {
    const saved: number[] = [];
    const diverging = train(
      task,
      makeSpec(task, { learning_rate: 1e30, optimiser: "sgd", normalization_type: "none" }),
      [0],
      {
        onMetrics() {},
        async onCheckpoint(_, { step, state }) {
          saved.push(step);
          for (const values of state) expect(values.every(Number.isFinite)).toBe(true);
        },
      },
    );
    await expect(diverging).rejects.toThrow(/diverged: the loss of seed 0 is no number at step \d+/);
    await expect(diverging).rejects.toMatchObject({ remedy: expect.stringContaining(`step ${saved.at(-1)}`) });
  });
});

describe("the schedule", () => {
  it("is spaced evenly by the logarithm of the steps, or by the steps", () => {
    expect(spacedSteps(1000, 4, "log")).toEqual([0, 1, 10, 100, 1000]);
    expect(spacedSteps(1000, 5, "linear")).toEqual([0, 250, 500, 750, 1000]);
    expect(spacedSteps(3, 40, "log")).toEqual([0, 1, 2, 3]);
  });
});

describe("the composed forward", () => {
  it.each([
    ["attention only", {}],
    [
      "MLPs and rotary positions",
      { attn_only: false, positional_embedding_type: "rotary", n_layers: 2, act_fn: "gelu" },
    ],
    ["the last position only", { last: true, n_layers: 2 }],
    ["the last position only, rotary, MLPs", { last: true, positional_embedding_type: "rotary", attn_only: false }],
    [
      "the last position only, vectors, a readout",
      { last: true, vectors: true, normalization_type: "none", readout_hidden: [9] },
    ],
    ["RMS norm, no positions", { normalization_type: "RMS", positional_embedding_type: "none" }],
    [
      "vectors, no norm, a readout",
      { vectors: true, normalization_type: "none", readout_hidden: [12, 9], attn_only: false },
    ],
  ])("gives the loss of the hooked forward: %s", (_, raw) => {
    const { model, params, training } = makeSpec(task, raw);
    const shape = task.shape(params);
    const config = modelConfigOf(model, shape);
    const places = parameterLayout(config);
    const values = initialParameters(places, 1);
    const ours = modelOfParameters("x", config, values);
    const batch = task.sample(null, params, new Random(1, 1), 4);
    const tables = ours.rotary ? [ours.rotary.cos, ours.rotary.sin] : [];
    const vector = tf.tensor1d(values);
    const tensors = tf.memory().numTensors;
    const measured = (["kernel", "functions"] as const).map((path) =>
      new Evaluator({ config, places, shape, training, tables }, path).evaluate(vector, batch),
    );
    expect(tf.memory().numTensors).toBe(tensors);
    const T = shape.positions;
    const input = batch.tokens
      ? { tokens: Array.from({ length: 4 }, (_, r) => [...batch.tokens!.subarray(r * T, (r + 1) * T)]) }
      : { inputs: tf.tensor3d(batch.inputs!, [4, T, 3]) };
    const result = forward(ours, { ...input, logitsAt: shape.scored });
    const scored = shape.scored === "last" ? 4 : 4 * T;
    const logits = result.logits!.reshape([scored, -1]);
    const expected = batch.classes
      ? tf.losses.softmaxCrossEntropy(tf.oneHot(tf.tensor1d(batch.classes, "int32"), 10), logits)
      : tf.mean(tf.square(tf.sub(logits, tf.tensor2d(batch.values!, [scored, 1]))));
    const best = logits.argMax(-1).dataSync();
    for (const { loss, accuracy } of measured) {
      expect(Math.abs(loss - expected.dataSync()[0]!)).toBeLessThan(1e-5);
      if (batch.classes)
        expect(accuracy).toBeCloseTo(batch.classes.reduce((n, c, i) => n + Number(c === best[i]), 0) / scored, 6);
      else expect(accuracy).toBeUndefined();
    }
    vector.dispose();
    ours.dispose();
  });
});

describe("parameters that can't be", () => {
  it.each([
    [{ d_model: 10, n_heads: 3 }, /d_model 10 is not a multiple of n_heads 3/],
    [
      { d_model: 6, n_heads: 2, positional_embedding_type: "rotary" },
      /rotary positions need an even d_head, and it is 3/,
    ],
    [{ batch: 100_000_000 }, /needs about [\d.]+ GiB, and this machine has/],
    [{ learning_rat: 1 }, /unknown parameter "learning_rat" of task tiny/],
    [{ attention: "linear", positional_embedding_type: "rotary" }, /features of queries and keys/],
    [{ attention_power: 4 }, /attention_power is of polynomial attention, and attention is softmax/],
    [{ attention: "polynomial", attention_power: 3 }, /parameter attention_power of task tiny cannot be 3/],
    [{ attention: "softmx" }, /parameter attention of task tiny cannot be "?softmx/],
    [{ steps: 0 }, /parameter steps of task tiny cannot be 0/],
  ])("%j is refused before training", (raw, message) => {
    expect(() => makeSpec(task, raw)).toThrow(message);
  });
});
