import type { Tensor } from "@tensorflow/tfjs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { jsonSchema } from "../../../../backend/common/definitions/parameters.ts";
import { maskFromKvHeads } from "../../../../backend/common/heads/mask.ts";
import { headModel } from "../../../../backend/common/heads/model.ts";
import { type GenerateOptions, generate, generateBatch, readPrefix } from "../../../../backend/inference/generate.ts";
import type { Generation } from "../../../../backend/inference/generation.ts";
import { choosePolicies } from "../../../../backend/inference/policies/choice.ts";
import { policies } from "../../../../backend/inference/policies/index.ts";
import { pageBytes } from "../../../../backend/kernels/pages.ts";
import { forward } from "../../../../backend/models/forward/forward.ts";
import type { Model } from "../../../../backend/models/model.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { kernelsHere } from "../../../helpers/kernels/here.ts";
import { randomModel, randomTokens, smallConfig } from "../../../helpers/models.ts";

await kernelsHere();
/** Squares of 64 from 0 on, the last of them begun, in two chunks. */
const TOKENS = randomTokens(1, 610, 96, 5)[0]!;
const PREFIX = 100;
const CONTEXT = 700;
let model: Model;

beforeAll(async () => {
  model = randomModel(smallConfig({ n_ctx: CONTEXT }));
  await generate(model, { tokens: [1] }); // makes the tables of rotations, which the model keeps
});
afterAll(() => model.dispose());

/** Parameters under which a prompt of 610 tokens reads a part, for whichever policy has them. */
const SMALL: Record<string, unknown> = {
  ...{ sinks: 1, local: 2, last: 1, stride: 4, threshold: 0.4, gamma: 0.3, vertical: 64, slash: 64 },
  ...{ block: 16, samples: 16, exact: 100 },
};
/** Parameters under which it reads all. */
const ALL: Record<string, unknown> = {
  ...{ sinks: 700, local: 700, threshold: 1, gamma: 1, vertical: 700, slash: 700, exact: 700 },
};

const names = policies
  .list()
  .filter(({ chooses }) => chooses === "blocks")
  .map(({ name }) => name);

/** A request of a policy with those of some parameters that it has. */
function request(name: string, params: Record<string, unknown>): NonNullable<GenerateOptions["policies"]> {
  const own = jsonSchema(policies.get(name).parameters).properties ?? {};
  const most = Math.ceil(CONTEXT / 64);
  const fitting = Object.entries(params).flatMap(([key, value]) => {
    if (!(key in own)) return [];
    return [[key, own[key]!.unit === "squares" ? Math.min(Number(value), most) : value]];
  });
  return [{ name, params: Object.fromEntries(fitting) }];
}

interface Run extends Generation {
  /** By layer that was not read whole, what was added to its scores [heads or 1, tokens, all]. */
  biases: Map<number, Tensor>;
}

async function run(options: GenerateOptions): Promise<Run> {
  const biases = new Map<number, Tensor>();
  const onPromptRead: GenerateOptions["onPromptRead"] = (layer, read) => void biases.set(layer, tf.keep(read.bias()));
  return { ...(await generate(model, { stop: [], maxTokens: 3, ...options, onPromptRead })), biases };
}

/** Logits behind the prompt in the plain forward, with the scores of its queries changed. @param start position of the first */
function simulated(biases: ReadonlyMap<number, Tensor>, start: number): Float32Array {
  const hooks = [...biases].map(([layer, bias]) => {
    const add = (scores: Tensor, _: string, [first]: readonly number[]): Tensor =>
      tf.tidy(() => {
        const [, , queries, keys] = scores.shape as [number, number, number, number];
        const [heads] = bias.shape as [number];
        const all = tf.pad(bias, [[0, 0], [start, 0], [0, 0]]); // biome-ignore format: one line
        return tf.add(scores, tf.expandDims(tf.slice(all, [0, first!, 0], [heads, queries, keys]), 0));
      });
    return [`blocks.${layer}.attn.hook_attn_scores`, add] as const;
  });
  const result = forward(model, { tokens: [TOKENS], logitsAt: "last" }, { hooks });
  const logits = result.logits!.dataSync().slice() as Float32Array;
  result.dispose();
  return logits;
}

const furthest = (a: Float32Array, b: Float32Array): number =>
  a.reduce((most, x, i) => Math.max(most, Math.abs(x - b[i]!)), 0);

describe("every policy for blocks", () => {
  it.each(names)("%s reads what changed scores leave in the plain forward", async (name) => {
    const { biases, logits, prefill } = await run({ tokens: TOKENS, policies: request(name, SMALL) });
    expect(furthest(logits, simulated(biases, 0))).toBeLessThan(5e-4);
    expect(furthest(logits, simulated(new Map(), 0))).toBeGreaterThan(5e-4);
    expect(prefill!.read).toBeLessThan(0.95);
    tf.dispose([...biases.values()]);
  });

  it.each(names)("%s reads so behind a prefix too, whose length is no multiple of 64", async (name) => {
    const prefix = await readPrefix(model, { tokens: TOKENS.slice(0, PREFIX) });
    const { biases, logits } = await run({ prefix, tokens: TOKENS.slice(PREFIX), policies: request(name, SMALL) });
    expect(furthest(logits, simulated(biases, PREFIX))).toBeLessThan(5e-4);
    expect(furthest(logits, simulated(new Map(), PREFIX))).toBeGreaterThan(5e-4);
    tf.dispose([...biases.values()]);
    prefix.dispose();
  });

  it.each(names)(
    "%s is full attention to the bit where everything is read, and in a prompt of one square",
    async (name) => {
      for (const [tokens, params] of [
        [TOKENS, ALL],
        [TOKENS.slice(0, 64), SMALL],
        [TOKENS.slice(0, 8), SMALL],
      ] as const) {
        const plain = await generate(model, { tokens, maxTokens: 3, stop: [] });
        const under = await generate(model, { tokens, policies: request(name, params), maxTokens: 3, stop: [] });
        expect(under.prefill).toEqual({ read: 1 });
        expect(under.logits).toEqual(plain.logits);
        expect([under.ids, under.cache]).toEqual([plain.ids, plain.cache]);
      }
    },
  );

  it.each(names)("%s leaves no tensor and no page", async (name) => {
    const before = tf.memory().numTensors;
    const pages = pageBytes();
    const { cache } = await generate(model, { tokens: TOKENS, policies: request(name, SMALL), maxTokens: 2, stop: [] });
    if (name === "longgen") expect(cache.bytes).toBeLessThan(cache.bytesFull);
    else expect(cache.bytes).toBe(cache.bytesFull);
    expect(tf.memory().numTensors).toBe(before);
    expect(pageBytes()).toBe(pages);
  });
});

describe("longgen", () => {
  const params = { sinks: 1, local: 2, stride: 4 };
  /** Keys that a token reads in the layers that are not the middle one, by the definition. */
  const reads = (token: number, key: number): boolean => {
    const [own, column] = [token, key].map((position) => Math.floor(position / 64)) as [number, number];
    return column < 1 || own - column < 2 || column % 4 === 0;
  };

  it("holds what its last token reads, and reads from memory what masked keys leave in the plain forward", async () => {
    // The last of them begin another square, at 640.
    const NEW = 34;
    const steps: Float32Array[] = [];
    const onStep: GenerateOptions["onStep"] = ({ logits }) =>
      void steps.push(logits!.dataSync().slice() as Float32Array);
    const { ids, cache } = await generate(model, { tokens: TOKENS, policies: [{ name: "longgen", params }], maxTokens: NEW, stop: [], onStep }); // biome-ignore format: one call
    const all = [...TOKENS, ...ids.slice(0, -1)];
    const last = all.length - 1;
    const held = [...all.keys()].filter((key) => reads(last, key));
    expect(cache.kept!.map((heads) => heads[0]!.length)).toEqual([held.length, all.length, held.length]);
    for (const positions of [...cache.kept![0]!, ...cache.kept![2]!]) expect(positions).toEqual(held);
    const hooks = [0, 2].map((layer) => {
      const hide = (scores: Tensor, _: string, [first]: readonly number[]): Tensor =>
        tf.tidy(() => {
          const [, , queries, keys] = scores.shape as [number, number, number, number];
          const hidden = tf.buffer([1, 1, queries, keys], "float32");
          for (let i = 0; i < queries; i++)
            for (let key = 0; key < first! + i; key++) if (!reads(first! + i, key)) hidden.set(-1e30, 0, 0, i, key);
          return tf.add(scores, hidden.toTensor());
        });
      return [`blocks.${layer}.attn.hook_attn_scores`, hide] as const;
    });
    const logitsAt = Array.from({ length: NEW }, (_, i) => TOKENS.length - 1 + i);
    const plain = forward(model, { tokens: [all], logitsAt }, { hooks });
    const numbers = plain.logits!.dataSync() as Float32Array;
    plain.dispose();
    const width = numbers.length / NEW;
    steps.forEach((logits, i) => {
      expect(furthest(logits, numbers.slice(i * width, (i + 1) * width))).toBeLessThan(5e-4);
    });
  });

  it("with free=false frees nothing, and alone then goes with what reckons with the keys held", async () => {
    const own = { name: "longgen", params: { ...params, free: false } };
    const { cache } = await generate(model, { tokens: TOKENS, policies: [own], maxTokens: 2, stop: [] });
    expect(cache.bytes).toBe(cache.bytesFull);
    for (const name of ["snapkv", "quest", "kivi"]) {
      await choosePolicies([own, { name }]);
      await expect(choosePolicies([{ name: "longgen" }, { name }])).rejects.toMatchObject({ kind: "usage", field: "policies" }); // biome-ignore format: one line
    }
    await choosePolicies([{ name: "longgen" }, { name: "think" }]);
  });
});

describe("a policy for blocks", () => {
  const blocks = request("a-shape", SMALL);

  it("reads each of several prompts as alone", async () => {
    const prompts = [TOKENS, [...TOKENS.slice(0, 300), 3, 4], TOKENS.slice(0, 20)];
    const together = await generateBatch(model, { prompts: prompts.map((tokens) => ({ tokens })), policies: blocks });
    for (const [i, tokens] of prompts.entries()) {
      const { ids, logits, prefill } = await generate(model, { tokens, policies: blocks });
      expect(together[i]).toMatchObject({ ids, prefill });
      expect(together[i]!.logits).toEqual(logits);
    }
  });

  it("goes before a policy for tokens, which sees the queries of what was read", async () => {
    const kept = async (...policies: NonNullable<GenerateOptions["policies"]>) =>
      (await generate(model, { tokens: TOKENS, policies, maxTokens: 1 })).cache.kept!.flat();
    const tokens = { name: "snapkv", params: { ratio: 0.5, window: 16 } };
    const [dense, sparse] = [await kept(tokens), await kept(...blocks, tokens)];
    expect(sparse.every((positions) => positions.length === TOKENS.length / 2)).toBe(true);
    expect(sparse[0]).toEqual(dense[0]); // of the first layer nothing lies before
    expect(sparse.at(-1)).not.toEqual(dense.at(-1));
  });

  it("lets a question read everything, whatever it chooses for the rest", async () => {
    for (const name of ["minference", "xattention", "flexprefill"]) {
      const { biases } = await run({
        tokens: TOKENS,
        policies: request(name, { ...SMALL, question: 40 }),
        maxTokens: 1,
      });
      for (const bias of biases.values()) {
        const rows = tf.max(
          tf.abs(tf.slice(bias, [0, TOKENS.length - 40, 0], [bias.shape[0]!, 40, TOKENS.length - 40])),
        );
        expect(rows.dataSync()[0]).toBe(0);
        expect(tf.min(bias).dataSync()[0]).toBeLessThan(-1e29);
        rows.dispose();
      }
      tf.dispose([...biases.values()]);
    }
  });

  it("goes with a mask and with forms of keys and values", async () => {
    const mask = maskFromKvHeads(headModel(model), [{ layer: 1, head: 0 }], { sink: 2, recent: 90 });
    const { cache } = await generate(model, { tokens: TOKENS, policies: blocks, mask, cache: "f16", maxTokens: 1 });
    expect(cache.kept![1]!.map((positions) => positions.length)).toEqual([TOKENS.length, 92]);
  });

  it("is refused where nothing is cached", async () => {
    await expect(generate(model, { tokens: TOKENS, policies: blocks, useCache: false })).rejects.toMatchObject({
      kind: "usage",
    });
  });
});
