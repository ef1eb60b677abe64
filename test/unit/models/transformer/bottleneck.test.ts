import { readFileSync } from "node:fs";
import { beforeAll, describe, expect, it } from "vitest";
import { logitDirection } from "../../../../backend/circuits/attribution/directions.ts";
import { modelConfigSchema } from "../../../../backend/common/api/model-config.ts";
import { storeRun } from "../../../../backend/models/backward/stored-run.ts";
import { KvCache } from "../../../../backend/models/cache/kv-cache.ts";
import { codesOf } from "../../../../backend/models/codes.ts";
import type { ModelConfig } from "../../../../backend/models/config.ts";
import { forward } from "../../../../backend/models/forward/forward.ts";
import { modelOfParameters } from "../../../../backend/models/sources/run-checkpoint.ts";
import { hookNames } from "../../../../backend/models/transformer/hook-points.ts";
import { processWeights } from "../../../../backend/models/weights/processing.ts";
import { parameterCount, parameterLayout, parametersOf } from "../../../../backend/models/weights/trainable.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import type { Batch } from "../../../../backend/training/task.ts";
import { sequencesOf } from "../../../../backend/training/task.ts";
import { failure, refused } from "../../../helpers/errors.ts";
import { randomModel, randomTokens, smallConfig } from "../../../helpers/models.ts";
import { expectTenSteps, type OracleSteps } from "../../../helpers/oracles/ten-steps.ts";
import {
  largestDistance,
  oracleStart,
  TINY_CONFIG,
  TINY_SHAPE,
  tinyBatch,
  unpacked,
} from "../../../helpers/oracles/tiny-transformer.ts";

interface Case extends OracleSteps {
  name: string;
  heads: number;
  codes: number;
  commitment: number;
  readout: number | null;
  last?: true;
  logits: string;
  chosen: number[][][];
  gap: number;
}
const file = new URL("../../../oracles/bottleneck.json", import.meta.url);
const { cases } = JSON.parse(readFileSync(file, "utf8")) as { cases: Case[] };
const CASES = cases.map((each) => [each.name, each] as const);

const configOf = ({ heads, codes, readout }: Case): ModelConfig => ({
  ...TINY_CONFIG,
  bottleneck: { heads, codes },
  ...(readout === null ? {} : { readout_hidden: [readout] }),
});

const batchOf = ({ last }: Case, step: number): Batch => {
  const batch = tinyBatch(step);
  if (!last) return batch;
  const ends = <T extends Int32Array | Float32Array>(all: T): T => all.filter((_, i) => i % 6 === 5) as T;
  return { ...batch, classes: ends(batch.classes!), weights: ends(batch.weights) };
};

beforeAll(async () => void (await initBackend()));

describe("ten steps of Adam through a bottleneck are PyTorch's", () => {
  it.each(CASES)("in codes that rounding can't exchange: %s", (_, { gap }) => expect(gap).toBeGreaterThan(1e-4));

  it.each(CASES)("%s", (_, each) => {
    const config = configOf(each);
    const { commitment, last } = each;
    const run = {
      config,
      start: oracleStart(config, each.parameters),
      training: { commitment, learning_rate: 0.003 },
      shape: { ...TINY_SHAPE, scored: last ? "last" : "all" } as const,
      batch: (step: number) => batchOf(each, step),
      path: "functions",
    } as const;
    expectTenSteps(run, each);
  });
});

describe("the forward with hooks", () => {
  it.each(CASES)("has PyTorch's logits and codes: %s", async (_, each) => {
    const config = configOf(each);
    const model = modelOfParameters("tiny", config, oracleStart(config, each.parameters));
    const rows = sequencesOf(tinyBatch(0));
    const before = tf.memory().numTensors;
    const result = forward(model, { tokens: rows, logitsAt: "all" });
    expect(largestDistance(result.logits!.dataSync(), unpacked(each.logits))).toBeLessThan(1e-5);
    result.dispose();
    const codes = await codesOf(model, rows);
    // The oracle has by position the codes that its output is computed from: those of the position before.
    each.chosen.forEach((row, r) => {
      expect([...codes[r]!.subarray(0, 5 * each.heads)]).toEqual(row.slice(1).flat());
    });
    expect(tf.memory().numTensors).toBe(before);
    model.dispose();
  });

  it("gives a position the same logits alone, among all, and in a shorter row beside a longer one", () => {
    const model = coded();
    const [row] = randomTokens(1, 20, 96);
    const all = forward(model, { tokens: [row!], logitsAt: "all" });
    const expected = (all.logits!.arraySync() as number[][][])[0]!;
    for (const position of [0, 7, 19]) {
      const one = forward(model, { tokens: [row!], logitsAt: [position] });
      expect(largestDistance(one.logits!.dataSync(), expected[position]!)).toBeLessThan(1e-4);
      one.dispose();
    }
    const mixed = forward(model, { tokens: [row!.slice(0, 8), row!], logitsAt: "last" });
    const found = mixed.logits!.arraySync() as number[][][];
    expect(largestDistance(found[0]![0]!, expected[7]!)).toBeLessThan(1e-4);
    expect(largestDistance(found[1]![0]!, expected[19]!)).toBeLessThan(1e-4);
    for (const result of [all, mixed]) result.dispose();
    model.dispose();
  });

  it("sees of the history nothing but the codes: other tokens with the same codes give the same logits", async () => {
    const model = coded();
    const rows = randomTokens(64, 6, 96).map((row) => [...row.slice(0, 5), 3]);
    const codes = await codesOf(model, rows);
    const keys = codes.map((row) => row.subarray(4 * 2, 5 * 2).join());
    const pairs = keys.flatMap((key, i) =>
      keys.flatMap((other, j) => (j > i && other === key ? [[i, j] as const] : [])),
    );
    expect(pairs.length).toBeGreaterThan(10);
    const result = forward(model, { tokens: rows, logitsAt: "last" });
    const logits = result.logits!.arraySync() as number[][][];
    for (const [i, j] of pairs) expect(largestDistance(logits[i]![0]!, logits[j]![0]!)).toBeLessThan(1e-5);
    expect(largestDistance(logits[0]![0]!, logits[keys.findIndex((key) => key !== keys[0])]![0]!)).toBeGreaterThan(
      1e-3,
    );
    result.dispose();
    model.dispose();
  });
});

/** A model of two heads of four codes. */
function coded(changes: Partial<ModelConfig> = {}) {
  return randomModel(smallConfig({ bottleneck: { codes: 4, heads: 2 }, ...changes }));
}

describe("a model with a bottleneck", () => {
  it("has as many parameters as its layout", () => {
    const config = smallConfig({ bottleneck: { codes: 4, heads: 2 } });
    const places = parameterLayout(config);
    expect(parametersOf(config)).toBe(parameterCount(places));
    expect(places.find(({ name }) => name === "codes")!.shape).toEqual([8, config.d_model / 2]);
  });

  it("has no hooks at the final norm, which reads another position than that of the logits", () => {
    expect(hookNames(smallConfig({ bottleneck: { codes: 4, heads: 2 } })).filter((name) => /ln_final/.test(name))).toEqual([]);
  });

  it.each([
    ["a cache", (model: ReturnType<typeof coded>) => forward(model, { tokens: [[1, 2]], cache: new KvCache(model.config) })],
    ["a stream to begin with", (model: ReturnType<typeof coded>) => forward(model, { resid: tf.zeros([1, 2, model.config.d_model]), startLayer: 1 })],
    ["a way back", (model: ReturnType<typeof coded>) => storeRun(model, { tokens: [[1, 2]] })],
    ["a direct attribution", (model: ReturnType<typeof coded>) => logitDirection(model, { answer: 1, wrong: 2 })],
    ["processing of weights", (model: ReturnType<typeof coded>) => processWeights(model.config, model.weights, ["fold_ln"], "x")],
  ] as const)("refuses %s", async (_, use) => {
    const model = coded();
    const error = await failure(() => use(model));
    expect(error).toEqual(refused("unsupported", { field: "codes" }));
    model.dispose();
  });

  it("but a model without one has no codes", async () => {
    const model = randomModel(smallConfig());
    const error = await failure(() => codesOf(model, [[1]]));
    expect(error).toEqual(refused("unsupported", { field: "codes" }));
    model.dispose();
  });

  it.each([
    ["heads that do not divide the stream", { bottleneck: { codes: 4, heads: 5 } }],
    ["vectors", { bottleneck: { codes: 4, heads: 1 }, d_input: 3 }],
  ] as const)("cannot have %s", (_, changes) => {
    const parsed = modelConfigSchema.safeParse(smallConfig(changes as unknown as Partial<ModelConfig>));
    expect(parsed.error?.issues[0]?.path).toEqual(["bottleneck"]);
  });
}); // biome-ignore format: a table
