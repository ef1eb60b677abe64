import { readFileSync } from "node:fs";
import type { Tensor } from "@tensorflow/tfjs";
import { beforeAll, describe, expect, it } from "vitest";
import { gradient } from "../../../../backend/circuits/gradients/gradient.ts";
import { headFactors } from "../../../../backend/circuits/weights/factors.ts";
import { modelConfigSchema } from "../../../../backend/common/api/model-config.ts";
import { KvCache } from "../../../../backend/models/cache/kv-cache.ts";
import type { ModelConfig } from "../../../../backend/models/config.ts";
import { forward } from "../../../../backend/models/forward/forward.ts";
import type { Model } from "../../../../backend/models/model.ts";
import { modelOfParameters } from "../../../../backend/models/sources/run-checkpoint.ts";
import { hookNames } from "../../../../backend/models/transformer/hook-points.ts";
import { requireSoftmax } from "../../../../backend/models/transformer/kernels/index.ts";
import { trainingForward } from "../../../../backend/models/transformer/training-forward.ts";
import { parameter } from "../../../../backend/models/weights/parameters.ts";
import { parameterLayout } from "../../../../backend/models/weights/trainable.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { makeSpec, modelConfigOf } from "../../../../backend/training/spec.ts";
import { sequencesOf } from "../../../../backend/training/task.ts";
import { probeMany } from "../../../../probes/index.ts";
import { failure, refused } from "../../../helpers/errors.ts";
import { leavesNoTensors, maxDifference, randomModel, randomTokens, smallConfig } from "../../../helpers/models.ts";
import { derivativeAlong, innerProduct, normals, relativeError } from "../../../helpers/oracles/differences.ts";
import { expectTenSteps, type OracleSteps } from "../../../helpers/oracles/ten-steps.ts";
import {
  largestDistance,
  oracleStart,
  TINY_CONFIG,
  tinyBatch,
  unpacked,
} from "../../../helpers/oracles/tiny-transformer.ts";
import { task } from "../../../helpers/training/tiny-run.ts";

interface Case extends OracleSteps {
  name: string;
  heads: { keys: number; values: number; keyWidth: number; valueWidth: number; bias: boolean; rotary: boolean };
  logits: string;
  pattern: string;
}
const file = new URL("../../../oracles/unequal_heads.json", import.meta.url);
const { cases } = JSON.parse(readFileSync(file, "utf8")) as { cases: Case[] };
const CASES = cases.map((each) => [each.name, each] as const);

const configOf = ({ heads }: Case): ModelConfig => ({
  ...TINY_CONFIG,
  key_heads: heads.keys,
  value_heads: heads.values,
  key_width: heads.keyWidth,
  value_width: heads.valueWidth,
  rotary_dim: heads.rotary ? heads.keyWidth : 0,
  attn_scale: 1 / Math.sqrt(heads.keyWidth),
  ...(heads.rotary ? { positional_embedding_type: "rotary" as const } : {}),
  ...(heads.bias ? { attention: "key-value-bias" as const } : {}),
});

beforeAll(async () => void (await initBackend()));
leavesNoTensors();

describe("ten steps of Adam with keys and values of unequal number and width are PyTorch's", () => {
  it.each(CASES)("%s", (_, each) => {
    const config = configOf(each);
    const start = oracleStart(config, each.parameters);
    expectTenSteps({ config, start, training: { learning_rate: 0.01 }, path: "functions" }, each);
  });
});

describe("the forward with hooks has PyTorch's logits and patterns", () => {
  it.each(CASES)("%s", (_, each) => {
    const config = configOf(each);
    const model = modelOfParameters("tiny", config, oracleStart(config, each.parameters));
    const name = "blocks.0.attn.hook_pattern";
    const result = forward(model, { tokens: sequencesOf(tinyBatch(0)), logitsAt: "all" }, { names: [name] });
    expect(largestDistance(result.logits!.dataSync(), unpacked(each.logits))).toBeLessThan(1e-5);
    expect(largestDistance(result.activations.get(name)!.dataSync(), unpacked(each.pattern))).toBeLessThan(1e-5);
    result.dispose();
    model.dispose();
  });
});

/** Six query heads on two key heads of 4 and three value heads of 10 numbers. */
const unequal = (changes: Partial<ModelConfig> = {}) =>
  randomModel(
    smallConfig({
      n_key_value_heads: 6,
      ...{ key_heads: 2, value_heads: 3, key_width: 4, value_width: 10, rotary_dim: 4, attn_scale: 0.5 },
      ...changes,
    }),
  );

describe("a model of unequal keys and values", () => {
  it("has its hook points, in their shapes", () => {
    const model = unequal();
    const names = hookNames(model);
    expect(names.some((name) => name.endsWith("hook_attn_in"))).toBe(false);
    const result = forward(model, { tokens: randomTokens(2, 9, 96) }, { names });
    const shape = (name: string) => result.activations.get(`blocks.1.${name}`)!.shape.slice(2);
    expect([...result.activations.keys()].toSorted()).toEqual(names.toSorted());
    expect({
      q: shape("attn.hook_q"),
      k: shape("attn.hook_rot_k"),
      v: shape("attn.hook_v"),
      z: shape("attn.hook_z"),
      kInput: shape("hook_k_input"),
      vInput: shape("hook_v_input"),
    }).toEqual({ q: [6, 4], k: [2, 4], v: [3, 10], z: [6, 10], kInput: [2, 48], vInput: [3, 48] });
    result.dispose();
    model.dispose();
  });

  it("looked at by head is the same, and the training's forward too, at the last position", () => {
    const model = unequal();
    const tokens = randomTokens(1, 9, 96);
    const [plain, split] = [[], ["blocks.0.hook_q_input", "blocks.1.attn.hook_result"]].map((names) =>
      forward(model, { tokens, logitsAt: "last" }, { names }),
    );
    expect(maxDifference(plain!.logits!, split!.logits!)).toBeLessThan(1e-3);
    const trained = tf.tidy(() => {
      const { cos, sin } = model.rotary!;
      const table = (t: Tensor) => tf.reshape(tf.slice(t, [0, 0], [9, 4]), [9, 1, 4]);
      const read = tf.tensor1d(tokens[0]!, "int32");
      const input = {
        read,
        rows: 1,
        positions: 9,
        rotation: { cos: table(cos), sin: table(sin) },
        scored: "last" as const,
      };
      return trainingForward(model.config, model.weights, input).logits.dataSync();
    });
    expect(largestDistance(plain!.logits!.dataSync(), trained)).toBeLessThan(1e-3);
    plain!.dispose();
    split!.dispose();
    model.dispose();
  });

  it("of more than 512 tokens is what its first tokens are alone", () => {
    const model = unequal({ n_layers: 1 });
    const [row] = randomTokens(1, 600, 96);
    const long = forward(model, { tokens: [row!], logitsAt: [519] });
    const short = forward(model, { tokens: [row!.slice(0, 520)], logitsAt: "last" });
    expect(maxDifference(long.logits!, short.logits!)).toBeLessThan(1e-3);
    long.dispose();
    short.dispose();
    model.dispose();
  });

  it("is the grouped model where both are two heads of d_head", () => {
    const tokens = randomTokens(1, 9, 96);
    const [grouped, same] = [smallConfig(), smallConfig({ n_key_value_heads: 6, key_heads: 2, value_heads: 2 })].map(
      (config) => randomModel(config),
    );
    const [one, other] = [grouped!, same!].map((model) => forward(model, { tokens }));
    expect(maxDifference(one!.logits!, other!.logits!)).toBeLessThan(1e-4);
    for (const each of [one!, other!, grouped!, same!]) each.dispose();
  });

  it("has a head's circuits of the key and of the value that it reads", () => {
    const model = unequal();
    const [k, v] = ["W_K", "W_V"].map((name) => parameter(model, `blocks.1.attn.${name}`));
    const factors = headFactors(model, 1, [4]);
    const head = (t: Tensor, h: number) => tf.tidy(() => tf.slice(t, [h, 0, 0], [1, -1, -1]));
    const expected = [head(k!, 1), head(v!, 2)];
    expect(maxDifference(factors.k, expected[0]!)).toBe(0);
    expect(maxDifference(factors.v, expected[1]!)).toBe(0);
    tf.dispose([k!, v!, ...expected, ...Object.values(factors)]);
    model.dispose();
  });

  it("is probed by query head", async () => {
    const model = unequal();
    const [found] = await probeMany(model, ["previous-token"]);
    const { values } = found!.metrics["previous-token"]!;
    expect(values.map((row) => row.length)).toEqual([6, 6, 6]);
    expect(values.flat().every((value) => value > 0 && value < 1)).toBe(true);
    model.dispose();
  });
});

describe("gradients are the derivatives of the metric", () => {
  const metric = { name: "logit-diff", answers: [3], wrong: [5] } as const;
  const points = [
    "attn.hook_q",
    "attn.hook_k",
    "attn.hook_v",
    "attn.hook_z",
    "hook_q_input",
    "hook_k_input",
    "hook_v_input",
  ];

  it.each(points)("at %s", (point) => {
    const model = unequal();
    const input = { tokens: randomTokens(2, 9, 96, 3) };
    const name = `blocks.1.${point}`;
    const found = gradient(model, input, metric, [name]);
    const own = found.gradients.get(name)!;
    const direction = normals(own.shape);
    const expected = derivativeAlong({ model, input, metric }, name, direction);
    expect(relativeError(expected, innerProduct(own, direction))).toBeLessThan(1e-2);
    direction.dispose();
    found.gradients.dispose();
    model.dispose();
  });
});

describe("what takes keys and values side by side is refused", () => {
  const error = refused("unsupported", {
    field: "key_heads",
    message: "key_heads 2, value_heads 3, key_width 4, value_width 10",
  });

  it.each([
    ["a cache", (model: Model) => new KvCache(model.config)],
    ["a policy", (model: Model) => requireSoftmax(model.config, "policy h2o")],
    [
      "a window of keys",
      (model: Model) => forward(model, { tokens: [[1, 2]], windows: [0, 1, 2].map(() => [undefined]) }),
    ],
  ] as const)("%s", async (_, look) => {
    const model = unequal();
    expect(await failure(() => look(model))).toEqual(error);
    model.dispose();
  });
});

describe("the parameters of a run", () => {
  const configFor = (raw: Record<string, unknown>) => {
    const { model, params } = makeSpec(task, raw);
    return modelConfigOf(model, task.shape(params));
  };

  it("that say what is so anyway leave the config as it is", () => {
    expect(configFor({ key_heads: 2, value_heads: 2, key_width: 8, value_width: 8 })).toEqual(configFor({}));
  });

  it("give scores by the width of a key, and a parameter for every number", () => {
    const config = configFor({ key_heads: 1, key_width: 4 });
    expect(config).toMatchObject({ key_heads: 1, key_width: 4, attn_scale: 0.5 });
    const shapes = Object.fromEntries(parameterLayout(config).map(({ name, shape }) => [name, shape]));
    expect(shapes["blocks.0.attn.qkv"]).toEqual([(2 + 1) * 4 + 2 * 8, 16]);
    expect(shapes["blocks.0.attn.o"]).toEqual([16, 16]);
  });

  it.each([
    [{ n_heads: 4, key_heads: 3 }, "key_heads", /3 key_heads can't be shared evenly by 4 query heads/],
    [{ value_heads: 4 }, "value_heads", /4 value_heads can't be shared evenly by 2/],
    [{ key_width: 3, positional_embedding_type: "rotary" }, "key_width", /an even key_width, and it is 3/],
    [{ value_width: 4, mixer: "selective" }, "value_width", /layer 0 has a recurrence/],
    [{ key_heads: 1, prune: "heads" }, "key_heads", /a query with a key and a value of its own/],
  ])("%j is refused before training", async (raw, field, message) => {
    const refusal = await failure(() => makeSpec(task, raw));
    expect(refusal).toMatchObject({ kind: "usage", message: expect.stringMatching(message) });
    expect([refusal.field].flat()).toContain(field);
  });

  it.each([
    ["five key heads of six", { n_key_value_heads: 6, key_heads: 5 }, "key_heads"],
    [
      "a recurrence",
      { n_key_value_heads: 6, value_width: 4, mixer: ["selective", "attention", "attention"] },
      "value_width",
    ],
  ] as const)("a config of %s is none", (_, changes, field) => {
    const parsed = modelConfigSchema.safeParse(smallConfig(changes as unknown as Partial<ModelConfig>));
    expect(parsed.error?.issues[0]?.path).toEqual([field]);
  });
});
