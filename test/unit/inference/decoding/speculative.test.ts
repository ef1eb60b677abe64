import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { maskFromKvHeads } from "../../../../backend/common/heads/mask.ts";
import { headModel } from "../../../../backend/common/heads/model.ts";
import { Random } from "../../../../backend/common/random.ts";
import { judge, propose, type Sampling, weightsOf } from "../../../../backend/inference/decoding/sampling.ts";
import { type GenerateOptions, generate, generateBatch } from "../../../../backend/inference/generate.ts";
import type { Generation } from "../../../../backend/inference/generation.ts";
import type { Model } from "../../../../backend/models/model.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { failure } from "../../../helpers/errors.ts";
import { kernelsHere } from "../../../helpers/kernels/here.ts";
import { randomModel, randomTokens, smallConfig } from "../../../helpers/models.ts";

const { ready } = await kernelsHere();
let model: Model;
const PROMPTS = [randomTokens(1, 40, 96, 1)[0]!, randomTokens(1, 7, 96, 2)[0]!, randomTokens(1, 70, 96, 3)[0]!];

beforeAll(async () => {
  model = randomModel(smallConfig());
  await generate(model, { tokens: [1] }); // makes the tables of rotations, which the model keeps
});
afterAll(() => model.dispose());

/** A mask with one full KV head, and one with all. */
const someFull = () => maskFromKvHeads(headModel(model), [{ layer: 1, head: 0 }], { sink: 2, recent: 9 });
const allFull = () => {
  const heads = [0, 1, 2].flatMap((layer) => [0, 1].map((head) => ({ layer, head })));
  return maskFromKvHeads(headModel(model), heads, { sink: 2, recent: 9 });
};

/** What a draft must not change. */
function chosen({ ids, stopped, cache, promptTokens }: Generation) {
  return { ids, stopped, cache, promptTokens };
}

async function both(options: Omit<GenerateOptions, "tokens">, tokens = 4) {
  const plain = await generate(model, { ...options, tokens: PROMPTS[0]! });
  const before = tf.memory().numTensors;
  const drafted = await generate(model, {
    ...options,
    tokens: PROMPTS[0]!,
    speculative: { mask: someFull(), tokens },
  });
  expect(tf.memory().numTensors).toBe(before);
  return [plain, drafted] as const;
}

describe("a greedy continuation with drafted tokens", () => {
  it.each([1, 2, 4, 7, 16])("is the one without, the cache too, %d drafted at a time", async (tokens) => {
    const [plain, drafted] = await both({ maxTokens: 40 }, tokens);
    expect(chosen(drafted)).toEqual(chosen(plain));
    const { drafted: all, accepted, rate } = drafted.speculative!;
    expect(all).toBeGreaterThan(0);
    expect(accepted).toBeLessThan(all);
    expect(rate).toBe(accepted / all);
  });

  it.each([1, 2, 3, 6])("has as many tokens as were asked for: %d", async (maxTokens) => {
    const [plain, drafted] = await both({ maxTokens });
    expect(chosen(drafted)).toEqual(chosen(plain));
  });

  it("ends where a drafted token is a stop", async () => {
    const { ids } = await generate(model, { tokens: PROMPTS[0]!, maxTokens: 30 });
    for (const stop of [ids[5]!, ids[6]!, ids[11]!]) {
      const [plain, drafted] = await both({ maxTokens: 30, stop: [stop] });
      expect(chosen(drafted)).toEqual(chosen(plain));
    }
  });

  it("is the same with a penalty, under interventions and behind a short prompt", async () => {
    const interventions = [{ at: "hook_resid_post", layer: 1, positions: [0, 45], do: "scale" as const, with: 0.5 }];
    const [plain, drafted] = await both({ maxTokens: 20, repetitionPenalty: 1.5, interventions });
    expect(chosen(drafted)).toEqual(chosen(plain));
  });

  it.skipIf(!ready)("is the same in codes", async () => {
    const [plain, drafted] = await both({ maxTokens: 20, cache: "q8" });
    expect(chosen(drafted)).toEqual(chosen(plain));
  });

  it("takes every token of a draft with all heads full", async () => {
    const { speculative } = await generate(model, {
      tokens: PROMPTS[0]!,
      maxTokens: 21,
      speculative: { mask: allFull() },
    });
    expect(speculative).toMatchObject({ rate: 1, drafted: 16 });
  });

  it("is that of each prompt alone where several are continued together", async () => {
    const prompts = PROMPTS.map((tokens, i) => ({ tokens, maxTokens: 9 + 4 * i }));
    const plain = await generateBatch(model, { prompts });
    const before = tf.memory().numTensors;
    const drafted = await generateBatch(model, { prompts, speculative: { mask: someFull() } });
    expect(tf.memory().numTensors).toBe(before);
    expect(drafted.map(chosen)).toEqual(plain.map(chosen));
  });
});

describe("a sample of drafted tokens", () => {
  const P = Float32Array.of(0.2, 1.4, -0.5, 0.9, -3);
  const Q = Float32Array.of(1.5, 0.3, -0.5, -2, 0.4);

  it.each<Sampling>([
    { temperature: 1 },
    { temperature: 0.6 },
    { temperature: 1.5, topK: 3 },
    { temperature: 1, topP: 0.8, minP: 0.1 },
  ])("comes as often as the model's probabilities say, whatever the draft's are: %o", (sampling) => {
    const random = new Random(11);
    const draws = 20_000;
    const counts = [0, 0, 0, 0, 0];
    for (let i = 0; i < draws; i++) counts[judge(P, { proposal: propose(Q, sampling, random), sampling }, random)]!++;
    const weights = [...weightsOf(P, sampling)];
    const total = weights.reduce((a, b) => a + b);
    counts.forEach((count, id) => {
      const p = weights[id]! / total;
      expect(Math.abs(count / draws - p)).toBeLessThan(5 * Math.sqrt((p * (1 - p)) / draws) + 1e-9);
    });
  });

  it("is taken as often as the two distributions overlap", () => {
    const random = new Random(5);
    const share = (logits: Float32Array): number[] => {
      const weights = [...weightsOf(logits, { temperature: 1 })];
      const total = weights.reduce((a, b) => a + b);
      return weights.map((weight) => weight / total);
    };
    const q = share(Q);
    const overlap = share(P).reduce((sum, p, i) => sum + Math.min(p, q[i]!), 0);
    let taken = 0;
    for (let i = 0; i < 20_000; i++) {
      const proposal = propose(Q, { temperature: 1 }, random);
      if (judge(P, { proposal, sampling: { temperature: 1 } }, random) === proposal.id) taken++;
    }
    expect(Math.abs(taken / 20_000 - overlap)).toBeLessThan(0.02);
  });

  it("takes all of a draft with all heads full", async () => {
    const speculative = { mask: allFull() };
    const run = { tokens: PROMPTS[0]!, maxTokens: 21, temperature: 1, topK: 20, seed: 3, speculative };
    expect((await generate(model, run)).speculative).toMatchObject({ rate: 1, drafted: 16 });
  });

  it("comes through a model as often as the model says, behind tokens that were drawn before it", async () => {
    const small = randomModel(smallConfig({ d_vocab: 5 }), 3);
    const tokens = randomTokens(1, 20, 5, 4)[0]!;
    const sampling = { temperature: 4, topK: 4 };
    const shares = async (ids: number[]): Promise<number[]> => {
      const weights = [...weightsOf((await generate(small, { tokens: ids, maxTokens: 1 })).logits, sampling)];
      const total = weights.reduce((a, b) => a + b);
      return weights.map((weight) => weight / total);
    };
    const first = await shares(tokens);
    const second = await Promise.all(first.map((_, id) => shares([...tokens, id])));
    const expected = first.map((_, id) => first.reduce((sum, p, before) => sum + p * second[before]![id]!, 0));
    const draws = 600;
    const results = await generateBatch(small, {
      prompts: Array.from({ length: draws }, (_, seed) => ({ tokens, seed })),
      ...{ ...sampling, maxTokens: 3 },
      speculative: { mask: maskFromKvHeads(headModel(small), [{ layer: 1, head: 0 }], { sink: 1, recent: 4 }) },
    });
    small.dispose();
    expect(results[0]!.speculative!.drafted).toBe(1);
    const rate = results.reduce((sum, { speculative }) => sum + speculative!.accepted, 0) / draws;
    expect(rate).toBeGreaterThan(0.1);
    expect(rate).toBeLessThan(0.99);
    expected.forEach((p, id) => {
      const share = results.filter(({ ids }) => ids[1] === id).length / draws;
      expect(Math.abs(share - p)).toBeLessThan(5 * Math.sqrt((p * (1 - p)) / draws) + 1e-9);
    });
  });
});

describe("a draft is refused", () => {
  it.each([
    ["under a mask", () => ({ mask: someFull() })],
    ["under a policy", () => ({ policies: [{ name: "knorm", params: { ratio: "0.5" } }] })],
    ["without a cache", () => ({ useCache: false })],
    ["where each step is looked at", () => ({ onStep: () => {} })],
    ["of no tokens", () => ({ speculative: { mask: someFull(), tokens: 0 } })],
    ["of too many tokens", () => ({ speculative: { mask: someFull(), tokens: 17 } })],
    ["with a mask that is none", () => ({ speculative: { mask: null as never } })],
    ["without its mask", () => ({ speculative: {} as never })],
  ])("%s", async (_, options) => {
    const before = tf.memory().numTensors;
    const run = { tokens: [1, 2, 3], speculative: { mask: someFull() }, ...options() };
    expect((await failure(() => generate(model, run))).kind).toBe("usage");
    expect(tf.memory().numTensors).toBe(before);
  });
});
