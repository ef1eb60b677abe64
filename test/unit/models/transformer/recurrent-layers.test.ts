import { readFileSync } from "node:fs";
import { beforeAll, describe, expect, it } from "vitest";
import { metricGradient } from "../../../../backend/circuits/metrics/measure.ts";
import { modelConfigSchema } from "../../../../backend/common/api/model-config.ts";
import { MIXERS, type MixerName } from "../../../../backend/common/words.ts";
import { compileInterventions, disposeInterventions } from "../../../../backend/hooks/interventions.ts";
import { backward } from "../../../../backend/models/backward/backward.ts";
import { storeRun } from "../../../../backend/models/backward/stored-run.ts";
import { KvCache } from "../../../../backend/models/cache/kv-cache.ts";
import type { ModelConfig } from "../../../../backend/models/config.ts";
import { forward } from "../../../../backend/models/forward/forward.ts";
import { modelOfParameters } from "../../../../backend/models/sources/run-checkpoint.ts";
import { hookNames } from "../../../../backend/models/transformer/hook-points.ts";
import { requireSoftmax } from "../../../../backend/models/transformer/kernels/index.ts";
import {
  initialParameters,
  parameterCount,
  parameterLayout,
  parametersOf,
} from "../../../../backend/models/weights/trainable.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { sequencesOf } from "../../../../backend/training/task.ts";
import { failure, refused } from "../../../helpers/errors.ts";
import { randomModel, randomTokens, smallConfig } from "../../../helpers/models.ts";
import { derivativeAlong, innerProduct, normals, relativeError } from "../../../helpers/oracles/differences.ts";
import { expectTenSteps, type OracleSteps } from "../../../helpers/oracles/ten-steps.ts";
import {
  largestDistance,
  oracleStart,
  TINY_CONFIG,
  tinyBatch,
  unpacked,
} from "../../../helpers/oracles/tiny-transformer.ts";

interface Case extends OracleSteps {
  name: string;
  mixer: MixerName[];
  logits: string;
}
const file = new URL("../../../oracles/recurrent_layers.json", import.meta.url);
const { cases } = JSON.parse(readFileSync(file, "utf8")) as { cases: Case[] };
const CASES = cases.map((each) => [each.name, each] as const);

const configOf = ({ mixer }: Case): ModelConfig => ({ ...TINY_CONFIG, n_layers: mixer.length, mixer, state: 3 });

beforeAll(async () => void (await initBackend()));

describe("ten steps of Adam are PyTorch's, whose state goes from token to token", () => {
  it("of every mixer", () => expect(new Set(cases.flatMap(({ mixer }) => mixer))).toEqual(new Set(MIXERS)));

  it.each(CASES)("%s", (_, each) => {
    const config = configOf(each);
    const start = oracleStart(config, each.parameters);
    expectTenSteps({ config, start, training: { learning_rate: 0.003 }, path: "functions" }, each);
  });
});

describe("the forward with hooks", () => {
  it.each(CASES)("has PyTorch's logits: %s", (_, each) => {
    const config = configOf(each);
    const model = modelOfParameters("tiny", config, oracleStart(config, each.parameters));
    const result = forward(model, { tokens: sequencesOf(tinyBatch(0)), logitsAt: "all" });
    expect(largestDistance(result.logits!.dataSync(), unpacked(each.logits))).toBeLessThan(1e-5);
    result.dispose();
    model.dispose();
  });
});

/** A hybrid of three layers: selective, attention, linear recurrence. */
const hybrid = (changes: Partial<ModelConfig> = {}) =>
  randomModel(
    smallConfig({ n_key_value_heads: 6, mixer: ["selective", "attention", "linear-recurrence"], state: 5, ...changes }),
  );

describe("a hybrid model", () => {
  it("has the hook points of each layer's mixer, in their shapes", () => {
    const model = hybrid();
    const names = hookNames(model).filter((name) => name.includes(".attn."));
    const short = (layer: number) =>
      names.filter((name) => name.startsWith(`blocks.${layer}.`)).map((name) => name.slice(14));
    const recurrent = ["hook_q", "hook_k", "hook_v", "hook_z", "hook_result"];
    expect([short(0), short(2)]).toEqual([recurrent, recurrent]);
    expect(short(1)).toContain("hook_pattern");
    const result = forward(model, { tokens: randomTokens(2, 9, 96) }, { names: hookNames(model) });
    expect([...result.activations.keys()]).toEqual(expect.arrayContaining(hookNames(model)));
    expect(result.activations.get("blocks.0.attn.hook_q")!.shape).toEqual([2, 9, 6, 5]);
    expect(result.activations.get("blocks.0.attn.hook_v")!.shape).toEqual([2, 9, 6, 8]);
    expect(result.activations.get("blocks.1.attn.hook_q")!.shape).toEqual([2, 9, 6, 8]);
    result.dispose();
    model.dispose();
  });

  it("sees no future, and pads nothing into a state", () => {
    const model = hybrid();
    const [row] = randomTokens(1, 20, 96);
    const whole = forward(model, { tokens: [row!], logitsAt: "all" });
    const mixed = forward(model, { tokens: [row!.slice(0, 11), row!], logitsAt: "all" });
    const expected = whole.logits!.arraySync() as number[][][];
    const found = mixed.logits!.arraySync() as number[][][];
    for (let t = 0; t < 11; t++) expect(largestDistance(found[0]![t]!, expected[0]![t]!)).toBeLessThan(1e-4);
    whole.dispose();
    mixed.dispose();
    model.dispose();
  });

  it("of more than 512 tokens is what its first tokens are alone", () => {
    const model = hybrid({ n_layers: 1, mixer: ["selective"] });
    const [row] = randomTokens(1, 700, 96);
    const long = forward(model, { tokens: [row!], logitsAt: [599] });
    const short = forward(model, { tokens: [row!.slice(0, 600)], logitsAt: "last" });
    expect(largestDistance(long.logits!.dataSync(), short.logits!.dataSync())).toBeLessThan(1e-3);
    long.dispose();
    short.dispose();
    model.dispose();
  });

  it("is ablated by head: with all heads of a layer gone the stream passes it by", async () => {
    const model = hybrid({ attn_only: true });
    const tokens = randomTokens(1, 8, 96);
    const zero = { at: "blocks.0.attn.hook_z", do: "zero" } as const;
    const interventions = compileInterventions(model, [zero], { rows: 1, positions: 8 });
    const names = ["blocks.0.hook_resid_pre", "blocks.0.hook_resid_post"];
    const result = forward(model, { tokens }, { names, interventions });
    const [before, after] = names.map((name) => result.activations.get(name)!.dataSync());
    expect(largestDistance(after!, before!)).toBeLessThan(1e-6);
    result.dispose();
    disposeInterventions(interventions);
    model.dispose();
  });

  it("has as many parameters as its layout, and states that begin to forget slowly", () => {
    const config = smallConfig({
      n_key_value_heads: 6,
      mixer: ["selective", "attention", "linear-recurrence"],
      state: 5,
    });
    const places = parameterLayout(config);
    expect(parametersOf(config)).toBe(parameterCount(places));
    const values = initialParameters(places, 0);
    const of = (name: string) => {
      const { offset, size } = places.find((place) => place.name === name)!;
      return [...values.subarray(offset, offset + size)];
    };
    expect(of("blocks.0.attn.step_bias")).toEqual(new Array(6).fill(-4));
    expect(new Set(of("blocks.2.attn.convolution"))).toEqual(new Set([0]));
    expect(places.some(({ name }) => name.startsWith("blocks.1.attn.decay") || name === "blocks.2.attn.step")).toBe(
      false,
    );
  });
});

describe("gradients of a hybrid are the derivatives of its metric", () => {
  const metric = { name: "logit-diff", answers: [3], wrong: [5] } as const;
  const names = ["hook_resid_pre", "attn.hook_q", "attn.hook_k", "attn.hook_v", "attn.hook_z"];

  it.each([0, 2])("at the hook points of layer %i", (layer) => {
    const model = hybrid();
    const tokens = randomTokens(2, 9, 96, 3);
    const run = storeRun(model, { tokens });
    const { gradient } = metricGradient(run.logits, metric);
    const points = names.map((name) => `blocks.${layer}.${name}`);
    let compared = 0;
    for (const { layer: at, gradients } of backward(run, gradient, { names: points })) {
      if (at !== layer) continue;
      for (const name of points) {
        const own = gradients.get(name)!;
        const direction = normals(own.shape);
        const expected = derivativeAlong({ model, input: { tokens }, metric }, name, direction);
        // The normalisation of a small z bends more than a difference can follow.
        expect(relativeError(expected, innerProduct(own, direction)), name).toBeLessThan(1e-2);
        direction.dispose();
        compared++;
      }
    }
    expect(compared).toBe(points.length);
    gradient.dispose();
    run.dispose();
    model.dispose();
  });

  it("but not at the inputs of heads, which a recurrent layer has not apart", async () => {
    const model = hybrid();
    const run = storeRun(model, { tokens: [[1, 2, 3]] });
    const { gradient } = metricGradient(run.logits, metric);
    const error = await failure(() => [...backward(run, gradient, { inputs: true })]);
    expect(error).toEqual(refused("unsupported", { field: "mixer" }));
    gradient.dispose();
    run.dispose();
    model.dispose();
  });
});

describe("what looks for attention in a recurrent layer is refused", () => {
  it.each([
    ["a cache", (model: ReturnType<typeof hybrid>) => new KvCache(model.config)],
    ["a policy", (model: ReturnType<typeof hybrid>) => requireSoftmax(model.config, "policy h2o")],
    [
      "a pattern by name",
      (model: ReturnType<typeof hybrid>) =>
        forward(model, { tokens: [[1, 2]] }, { names: ["blocks.0.attn.hook_pattern"] }),
    ],
    ["a mask of keys", (model: ReturnType<typeof hybrid>) => forward(model, { tokens: [[1, 2]], keyMask: [[1, 1]] })],
    [
      "a reduction of patterns",
      (model: ReturnType<typeof hybrid>) =>
        forward(
          model,
          { tokens: [[1, 2]] },
          { reductions: [{ kind: "sum", name: "induction", weight: (q, k) => tf.mul(q, k) }] },
        ),
    ],
  ] as const)("%s", async (_, look) => {
    const model = hybrid();
    const before = tf.memory().numTensors;
    const error = await failure(() => look(model));
    expect(error).toEqual(refused("unsupported", { field: "mixer", message: "layer 0 has a selective state space" }));
    expect(tf.memory().numTensors).toBe(before);
    model.dispose();
  });

  it("but not in the attention layer of a hybrid", () => {
    const model = hybrid();
    const result = forward(model, { tokens: [[1, 2]] }, { names: ["blocks.1.attn.hook_pattern"] });
    expect(result.activations.size).toBe(1);
    result.dispose();
    model.dispose();
  });
});

describe("a config whose fields contradict its mixers is none", () => {
  const full = { n_key_value_heads: 6 };
  it.each([
    ["two mixers of three layers", { ...full, mixer: ["selective", "attention"] }, "mixer"],
    ["a state of attention", { ...full, state: 4 }, "state"],
    ["grouped queries of a recurrence", { mixer: ["selective", "attention", "attention"] }, "mixer"],
    [
      "an attention kernel of none",
      { ...full, attention: "sigmoid", mixer: ["selective", "selective", "selective"] },
      "attention",
    ],
  ] as const)("%s", (_, changes, field) => {
    const parsed = modelConfigSchema.safeParse(smallConfig(changes as unknown as Partial<ModelConfig>));
    expect(parsed.error?.issues[0]?.path).toEqual([field]);
  });
});
