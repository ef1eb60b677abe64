import { readFileSync } from "node:fs";
import type { Tensor } from "@tensorflow/tfjs";
import { beforeAll, describe, expect, it } from "vitest";
import { modelConfigSchema } from "../../../../backend/common/api/model-config.ts";
import { ATTENTION_KERNELS, type AttentionKernelName } from "../../../../backend/common/words.ts";
import { hasKernels } from "../../../../backend/kernels/kernels.ts";
import { KvCache } from "../../../../backend/models/cache/kv-cache.ts";
import type { ModelConfig } from "../../../../backend/models/config.ts";
import { forward } from "../../../../backend/models/forward/forward.ts";
import { modelOfParameters } from "../../../../backend/models/sources/run-checkpoint.ts";
import { kernelOf, requireSoftmax } from "../../../../backend/models/transformer/kernels/index.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { sequencesOf } from "../../../../backend/training/task.ts";
import { failure, refused } from "../../../helpers/errors.ts";
import { randomModel, randomTokens, smallConfig } from "../../../helpers/models.ts";
import { expectTenSteps, type OracleSteps } from "../../../helpers/oracles/ten-steps.ts";
import {
  largestDistance,
  TINY_CONFIG,
  tinyBatch,
  tinyParameters,
  unpacked,
} from "../../../helpers/oracles/tiny-transformer.ts";

interface Case extends OracleSteps {
  name: string;
  logits: string;
  pattern: string;
}
const file = new URL("../../../oracles/attention_kernels.json", import.meta.url);
const oracle = JSON.parse(readFileSync(file, "utf8")) as { cases: Case[] };
const NAMES = ATTENTION_KERNELS.map((name) => [name] as const);

function configOf(name: string): ModelConfig {
  const [, kernel, power] = /^(.*?)(?:-(\d))?$/.exec(name)!;
  return {
    ...TINY_CONFIG,
    ...(kernel === "softmax" ? {} : { attention: kernel as AttentionKernelName }),
    ...(power ? { attention_power: Number(power) } : {}),
  };
}

beforeAll(async () => void (await initBackend()));

describe("ten steps of Adam are PyTorch's", () => {
  it("of every kernel", () => {
    expect(new Set(oracle.cases.map(({ name }) => configOf(name).attention ?? "softmax"))).toEqual(
      new Set(ATTENTION_KERNELS),
    );
  });

  it.each(oracle.cases.map((each) => [each.name, each] as const))("%s", (name, each) => {
    const config = configOf(name);
    const start = tinyParameters(config, each.parameters);
    const path = hasKernels() && kernelOf(config).fused ? "kernel" : "functions";
    expectTenSteps({ config, start, training: { learning_rate: 0.01 }, path }, each);
  });
});

describe("the forward with hooks has PyTorch's logits and patterns", () => {
  it.each(oracle.cases.map((each) => [each.name, each] as const))("%s", (name, each) => {
    const config = configOf(name);
    const model = modelOfParameters("tiny", config, tinyParameters(config, each.parameters));
    const before = tf.memory().numTensors;
    const names = ["blocks.0.attn.hook_pattern", "blocks.0.attn.hook_attn_scores"];
    const result = forward(model, { tokens: sequencesOf(tinyBatch(0)), logitsAt: "all" }, { names });
    expect(largestDistance(result.logits!.dataSync(), unpacked(each.logits))).toBeLessThan(1e-5);
    const pattern = result.activations.get(names[0]!)!;
    expect(largestDistance(pattern.dataSync(), unpacked(each.pattern))).toBeLessThan(1e-5);
    const sums = tf.tidy(() => tf.sum(pattern, -1).dataSync());
    const { normalised, extra } = kernelOf(config);
    const whole = sums.every((sum) => Math.abs(sum - 1) < 1e-3);
    expect(whole).toBe(normalised && !extra);
    if (extra) expect(Math.max(...sums)).toBeLessThan(1);
    result.dispose();
    expect(tf.memory().numTensors).toBe(before);
    model.dispose();
  });
});

/** A model of grouped queries, whose extra keys, if it has any, are not 0. */
function groupedModel(attention: AttentionKernelName) {
  const positions = attention === "linear" ? { positional_embedding_type: "standard" as const, n_ctx: 64 } : {};
  return randomModel(smallConfig({ n_layers: 2, ...(attention === "softmax" ? {} : { attention }), ...positions }));
}

describe("a run over a cache is the whole forward", () => {
  it.each(NAMES)("%s", (attention) => {
    const model = groupedModel(attention);
    const rows = randomTokens(2, 13, model.config.d_vocab);
    const whole = forward(model, { tokens: rows, logitsAt: "all" });
    const expected = whole.logits!.arraySync() as number[][][];
    whole.dispose();
    const before = tf.memory().numTensors; // with the rotation's tables, which the model keeps
    const cache = new KvCache(model.config, { rows: 2 });
    for (const [first, count] of [[0, 8], [8, 1], [9, 1], [10, 3]] as const) {
      const part = rows.map((row) => row.slice(first, first + count));
      const names = count === 3 ? ["blocks.1.attn.hook_pattern"] : [];
      const result = forward(model, { tokens: part, cache, logitsAt: "all" }, { names });
      const logits = result.logits!.arraySync() as number[][][];
      logits.forEach((row, r) => {
        row.forEach((values, t) => {
          expect(largestDistance(values, expected[r]![first + t]!)).toBeLessThan(2e-4);
        });
      });
      result.dispose();
    } // biome-ignore format: spans
    cache.dispose();
    expect(tf.memory().numTensors).toBe(before);
    model.dispose();
  });
});

describe("interventions on a pattern act on what the kernel weighs", () => {
  it.each(NAMES)("%s: a pattern of zeros leaves the extra value alone", (attention) => {
    const model = groupedModel(attention);
    const hook = (pattern: Tensor) => tf.zerosLike(pattern);
    const result = forward(
      model,
      { tokens: randomTokens(1, 9, model.config.d_vocab), logitsAt: "none" },
      { hooks: [["blocks.0.attn.hook_pattern", hook]], names: ["blocks.0.attn.hook_z"] },
    );
    const z = result.activations.get("blocks.0.attn.hook_z")!.dataSync() as Float32Array;
    const largest = z.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
    if (attention === "key-value-bias") expect(largest).toBeGreaterThan(0.01);
    else expect(largest).toBe(0);
    result.dispose();
    model.dispose();
  });

  it.each(NAMES)("%s: a key whose score is taken away gets no attention", (attention) => {
    const model = groupedModel(attention);
    const gone = (scores: Tensor) =>
      tf.tidy(() => tf.sub(scores, tf.mul(tf.oneHot(tf.tensor1d([2], "int32"), 9), 1e9)));
    const result = forward(
      model,
      { tokens: randomTokens(1, 9, model.config.d_vocab), logitsAt: "none" },
      { hooks: [["blocks.0.attn.hook_attn_scores", gone]], names: ["blocks.0.attn.hook_pattern"] },
    );
    const pattern = result.activations.get("blocks.0.attn.hook_pattern")!.arraySync() as number[][][][];
    expect(pattern[0]!.flat().every((row) => row[2] === 0)).toBe(true);
    expect(pattern[0]!.every((head) => head[8]![7]! >= 0 && head[8]!.some((x) => x > 0))).toBe(true);
    result.dispose();
    model.dispose();
  });
});

describe("what reckons with softmax is refused", () => {
  it("a cache in half precision, without the kernels' pages", async () => {
    const config = smallConfig({ attention: "sigmoid" });
    expect((await failure(() => new KvCache(config, { kind: "f16" }))).kind).toBe("unsupported");
    const cache = new KvCache(config);
    expect(cache.storage.attend).toBeUndefined();
    cache.dispose();
  });

  it.each(NAMES)("%s: a policy that reckons with patterns", (attention) => {
    const check = () => requireSoftmax(attention === "softmax" ? {} : { attention }, "policy h2o");
    if (attention === "softmax") expect(check).not.toThrow();
    else expect(check).toThrow(refused("unsupported", { field: "attention" }));
  });
});

describe("a config whose fields contradict its attention", () => {
  it.each([
    ["rotary positions of linear attention", { attention: "linear" }, "attention"],
    ["a power of softmax attention", { attention_power: 2 }, "attention_power"],
    ["an odd power", { attention: "polynomial", attention_power: 3 }, "attention_power"],
  ] as const)("%s is no config", (_, changes, field) => {
    const parsed = modelConfigSchema.safeParse(smallConfig(changes as Partial<ModelConfig>));
    expect(parsed.error?.issues[0]?.path).toEqual([field]);
  });
});
