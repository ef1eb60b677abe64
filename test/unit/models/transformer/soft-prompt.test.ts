import { readFileSync } from "node:fs";
import { beforeAll, describe, expect, it } from "vitest";
import { gradient } from "../../../../backend/circuits/gradients/gradient.ts";
import { KvCache } from "../../../../backend/models/cache/kv-cache.ts";
import type { ModelConfig } from "../../../../backend/models/config.ts";
import { forward } from "../../../../backend/models/forward/forward.ts";
import { withoutSoftPrompt, withSoftPrompt } from "../../../../backend/models/soft-prompt.ts";
import { modelOfParameters } from "../../../../backend/models/sources/run-checkpoint.ts";
import { trainingForward } from "../../../../backend/models/transformer/training-forward.ts";
import { parameter } from "../../../../backend/models/weights/parameters.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { sequencesOf } from "../../../../backend/training/task.ts";
import { failure, refused } from "../../../helpers/errors.ts";
import { leavesNoTensors, maxDifference, randomModel, randomTokens, smallConfig } from "../../../helpers/models.ts";
import { derivativeAlong, innerProduct, normals, relativeError } from "../../../helpers/oracles/differences.ts";
import { expectTenSteps, type OracleSteps } from "../../../helpers/oracles/ten-steps.ts";
import {
  largestDistance,
  TINY_CONFIG,
  tinyBatch,
  tinyParameters,
  unpacked,
} from "../../../helpers/oracles/tiny-transformer.ts";

interface Case extends OracleSteps {
  positions: "learned" | "rotary";
  trained: "prompt" | "weights" | "all";
  logits: string;
}
const file = new URL("../../../oracles/soft_prompt.json", import.meta.url);
const { cases } = JSON.parse(readFileSync(file, "utf8")) as { cases: Case[] };
const CASES = cases.map((each) => [`${each.positions} positions, ${each.trained} trained`, each] as const);

const CHANGES = { prompt: { train_only: ["soft_prompt"] }, weights: { freeze: ["soft_prompt"] }, all: {} };

const configOf = ({ positions }: Pick<Case, "positions">): ModelConfig => ({
  ...TINY_CONFIG,
  soft_prompt: 3,
  positional_embedding_type: positions === "rotary" ? "rotary" : "standard",
});

beforeAll(async () => void (await initBackend()));
leavesNoTensors();

describe("ten steps of Adam with a soft prompt are PyTorch's", () => {
  it.each(CASES)("%s", (_, each) => {
    const config = configOf(each);
    const start = tinyParameters(config, each.parameters);
    const training = { ...CHANGES[each.trained], learning_rate: 0.01 };
    const isTrained = (name: string) =>
      each.trained === "all" || name.startsWith("soft_prompt") === (each.trained === "prompt");
    expectTenSteps({ config, start, training, isTrained, path: "functions" }, each);
  });
});

describe("the forward with hooks", () => {
  const rows = sequencesOf(tinyBatch(0));

  it.each(CASES)("has PyTorch's logits behind the prompt: %s", (_, each) => {
    const config = configOf(each);
    const model = modelOfParameters("tiny", config, tinyParameters(config, each.parameters));
    const result = forward(model, { tokens: rows, softPrompt: true, logitsAt: [3, 4, 5, 6, 7, 8] });
    expect(largestDistance(result.logits!.dataSync(), unpacked(each.logits))).toBeLessThan(1e-5);
    result.dispose();
    model.dispose();
  });

  it("counts positions from the prompt's first vector, which has no position of its own", () => {
    const config = configOf({ positions: "learned" });
    const model = modelOfParameters("tiny", config, tinyParameters(config, cases[0]!.parameters));
    const names = ["hook_embed", "hook_pos_embed", "blocks.0.attn.hook_pattern"];
    const result = forward(model, { tokens: rows, softPrompt: true }, { names });
    const [embedded, positions, pattern] = names.map((name) => result.activations.get(name)!);
    const prompt = parameter(model, "soft_prompt.W_P");
    const first = tf.tidy(() => tf.squeeze(tf.slice(embedded!, [1, 0, 0], [1, 3, 8]), [0]));
    expect(maxDifference(first, prompt)).toBe(0);
    const places = positions!.arraySync() as number[][][];
    expect(
      places[0]!
        .slice(0, 3)
        .flat()
        .every((x) => x === 0),
    ).toBe(true);
    expect(
      places[0]!
        .slice(3)
        .flat()
        .some((x) => x === 0),
    ).toBe(false);
    expect(pattern!.shape).toEqual([3, 2, 9, 9]);
    result.dispose();
    tf.dispose([prompt, first]);
    model.dispose();
  });

  it.each(["rotary", "standard", "none"] as const)(
    "with a prompt of %s positions is the training's, at the last position and in rows of other lengths",
    (positional_embedding_type) => {
      const model = randomModel(smallConfig({ n_ctx: 12, soft_prompt: 4, positional_embedding_type }));
      const [long, short] = randomTokens(2, 12, 96);
      const both = [long!, short!.slice(0, 7)];
      const result = forward(model, { tokens: both, softPrompt: true, logitsAt: "last" });
      both.forEach((row, r) => {
        const expected = tf.tidy(() => {
          const { cos, sin } = model.rotary ?? {};
          const table = (t: typeof cos) => t && tf.reshape(tf.slice(t, [0, 0], [4 + row.length, 8]), [-1, 1, 8]);
          const rotation = cos && sin ? { cos: table(cos)!, sin: table(sin)! } : undefined;
          const read = tf.tensor1d(row, "int32");
          const input = { read, rows: 1, positions: row.length, rotation, scored: "last" as const };
          return trainingForward(model.config, model.weights, input).logits.dataSync();
        });
        const own = tf.tidy(() => tf.slice(result.logits!, [r, 0, 0], [1, 1, 96]).dataSync());
        expect(largestDistance(own, expected)).toBeLessThan(1e-3);
      });
      result.dispose();
      model.dispose();
    },
  );

  it("of more than 512 tokens is what its first tokens are alone", () => {
    const model = randomModel(smallConfig({ n_layers: 1, soft_prompt: 5 }));
    const [row] = randomTokens(1, 700, 96);
    const long = forward(model, { tokens: [row!], softPrompt: true, logitsAt: [604] });
    const short = forward(model, { tokens: [row!.slice(0, 600)], softPrompt: true, logitsAt: "last" });
    expect(maxDifference(long.logits!, short.logits!)).toBeLessThan(1e-3);
    long.dispose();
    short.dispose();
    model.dispose();
  });
});

describe("gradients", () => {
  it("at the prompt's vectors are the derivatives of the metric", () => {
    const model = randomModel(smallConfig({ soft_prompt: 3 }));
    const metric = { name: "logit-diff", answers: [3], wrong: [5] } as const;
    const input = { tokens: randomTokens(2, 9, 96, 3), softPrompt: true };
    const names = ["hook_embed", "blocks.1.attn.hook_v"];
    const found = gradient(model, input, metric, names);
    for (const name of names) {
      const own = found.gradients.get(name)!;
      expect(own.shape.slice(0, 2)).toEqual([2, 12]);
      const direction = normals(own.shape);
      const expected = derivativeAlong({ model, input, metric }, name, direction);
      expect(relativeError(expected, innerProduct(own, direction)), name).toBeLessThan(1e-2);
      direction.dispose();
    }
    found.gradients.dispose();
    model.dispose();
  });
});

describe("a model without its prompt", () => {
  it("has the logits of one that never had it, and with it again those from before", () => {
    const config = smallConfig({ soft_prompt: 3 });
    const model = randomModel(config);
    const tokens = randomTokens(2, 9, 96);
    const { soft_prompt: _, ...plain } = config;
    const never = randomModel(plain);
    const [bare, expected] = [withoutSoftPrompt(model), never].map((each) => forward(each, { tokens }));
    expect(maxDifference(bare!.logits!, expected!.logits!)).toBe(0);
    const vectors = parameter(model, "soft_prompt.W_P");
    const [again, first] = [withSoftPrompt(never, vectors), model].map((each) =>
      forward(each, { tokens, softPrompt: true }),
    );
    expect(maxDifference(again!.logits!, first!.logits!)).toBe(0);
    expect(again!.logits!.shape).toEqual([2, 12, 96]);
    for (const each of [bare, expected, again, first]) each!.dispose();
    vectors.dispose();
    never.dispose();
    model.dispose();
  });
});

describe("what counts positions from the first token on refuses a soft prompt", () => {
  it.each([
    ["a plain forward", {}],
    ["a cache", { softPrompt: true, cache: true }],
    ["positions", { softPrompt: true, positions: [[0, 1, 2]] }],
    ["a key mask", { softPrompt: true, keyMask: [[1, 1, 1]] }],
  ])("%s", async (_, { cache, ...input }: { softPrompt?: boolean; cache?: boolean }) => {
    const model = randomModel(smallConfig({ soft_prompt: 3 }));
    const held = cache ? new KvCache(model.config, { rows: 1 }) : undefined;
    const error = await failure(() =>
      forward(model, { tokens: [[1, 2, 3]], ...input, ...(held ? { cache: held } : {}) }),
    );
    expect(error).toEqual(refused("unsupported", { field: "soft_prompt" }));
    held?.dispose();
    model.dispose();
  });

  it("and a model without one has none to run with", async () => {
    const model = randomModel(smallConfig());
    const error = await failure(() => forward(model, { tokens: [[1, 2]], softPrompt: true }));
    expect(error).toEqual(refused("usage", { field: "softPrompt" }));
    model.dispose();
  });
});
