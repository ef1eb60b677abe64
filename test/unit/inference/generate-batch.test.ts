import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { maskFromKvHeads } from "../../../backend/common/heads/mask.ts";
import { headModel } from "../../../backend/common/heads/model.ts";
import { CACHE_KINDS } from "../../../backend/common/words.ts";
import { type GenerateOptions, generate, generateBatch } from "../../../backend/inference/generate.ts";
import type { Generation } from "../../../backend/inference/generation.ts";
import { pageBytes } from "../../../backend/kernels/pages.ts";
import type { Model } from "../../../backend/models/model.ts";
import { tf } from "../../../backend/runtime/tf.ts";
import { failure } from "../../helpers/errors.ts";
import { kernelsHere } from "../../helpers/kernels/here.ts";
import { randomModel, randomTokens, smallConfig } from "../../helpers/models.ts";

const { ready } = await kernelsHere();
let model: Model;
const BEGINNING = randomTokens(1, 40, 96, 9)[0]!;
/** Prompts of several lengths: some begin alike, one is the beginning of another, two are the same. */
const PROMPTS = [
  randomTokens(1, 7, 96, 1)[0]!,
  [...BEGINNING, 5, 6, 7],
  randomTokens(1, 1, 96, 2)[0]!,
  [...BEGINNING, 5, 9],
  BEGINNING,
  randomTokens(1, 61, 96, 3)[0]!,
  [...BEGINNING, 5, 9],
];

beforeAll(async () => {
  model = randomModel(smallConfig());
  await generate(model, { tokens: [1] }); // makes the tables of rotations, which the model keeps
});
afterAll(() => model.dispose());

/** Tensors, and bytes of the kernels' pages. */
const memory = (): number[] => [tf.memory().numTensors, pageBytes()];

/** Everything that does not depend on time. */
function timeless({ prefillMs: _, decodeMsPerToken: __, logits: ___, ...rest }: Generation) {
  return rest;
}

async function alone(options: Omit<GenerateOptions, "tokens">, prompts: readonly number[][] = PROMPTS) {
  const results = [];
  for (const tokens of prompts) results.push(await generate(model, { ...options, tokens }));
  return results.map(timeless);
}

async function together(options: Omit<GenerateOptions, "tokens" | "onStep" | "onToken">, prompts = PROMPTS) {
  return (await generateBatch(model, { ...options, prompts: prompts.map((tokens) => ({ tokens })) })).map(timeless);
}

describe("prompts continued together", () => {
  const mask = () => maskFromKvHeads(headModel(model), [{ layer: 1, head: 0 }], { sink: 2, recent: 9 });

  const ways: readonly (readonly [string, () => Omit<GenerateOptions, "tokens" | "onStep" | "onToken">])[] = [
    ["greedily", () => ({})],
    ["sampled, each from the same seed", () => ({ temperature: 1.3, seed: 4 })],
    ["sampled among some, those that came already less likely", () => ({ temperature: 2, topK: 30, topP: 0.9, minP: 0.01, repetitionPenalty: 1.4 })],
    ["with a mask in the prompt too", () => ({ mask: mask() })],
    ["with a mask from the first new token on", () => ({ mask: mask(), prefill: "dense" as const })],
    ...CACHE_KINDS.filter((kind) => ready || kind === "f32").map((cache): [string, () => object] => [`in ${cache}`, () => ({ cache })]),
    ["in q4 with a mask", () => (ready ? { cache: "q4" as const, mask: mask() } : {})],
    ["without a cache", () => ({ useCache: false })],
    ["under interventions at places of the sequence", () => ({
      interventions: [
        { at: "attn.hook_z", layer: 0, heads: [1], do: "zero" as const },
        { at: "hook_resid_post", layer: 1, positions: [0, 5], do: "scale" as const, with: 0.5 },
      ],
    })],
  ]; // biome-ignore format: a table

  it.each(ways)("have the tokens that each has alone: %s", async (_, options) => {
    const before = memory();
    expect(await together({ maxTokens: 9, ...options() })).toEqual(await alone({ maxTokens: 9, ...options() }));
    expect(memory()).toEqual(before);
  }); // biome-ignore format: a table

  it("have them also when they are more than the kernels take at a time", async () => {
    const prompts = [...PROMPTS, ...randomTokens(30, 5, 96, 11)];
    expect(await together({ maxTokens: 3 }, prompts)).toEqual(await alone({ maxTokens: 3 }, prompts));
  });

  it("end each by itself, by stops, seeds and numbers of tokens of their own, and leave the batch then", async () => {
    const [first] = await alone({ maxTokens: 8 });
    const stop = [first!.ids[3]!];
    const own = [{ stop }, { maxTokens: 2 }, { temperature: 2, seed: 7 }, {}, { stop: [] }];
    const rows: number[][] = [];
    const results = await generateBatch(model, {
      prompts: own.map((options, r) => ({ ...options, tokens: PROMPTS[r]! })),
      maxTokens: 8,
      onStep: (_, step, prompts) => {
        if (step > 0) rows[step - 1] = [...prompts];
      },
    });
    for (const [r, options] of own.entries()) {
      const tokens = PROMPTS[r]!;
      expect(timeless(results[r]!)).toEqual(timeless(await generate(model, { maxTokens: 8, ...options, tokens })));
    }
    expect(results[0]!.stopped).toEqual({ by: "token", id: stop[0] });
    expect(rows).toEqual(
      rows.map((_, step) =>
        results.flatMap(({ ids, stopped }, r) => (step < ids.length - Number(stopped.by !== "token") ? [r] : [])),
      ),
    );
    expect(rows.at(-1)!.length).toBeLessThan(rows[0]!.length);
  });

  it("tell of their tokens by row", async () => {
    const told: number[][] = PROMPTS.map(() => []);
    const texts = PROMPTS.map(() => "");
    const probabilities = new Set<number>();
    const results = await generateBatch(model, {
      prompts: PROMPTS.map((tokens, r) => ({ tokens, maxTokens: r + 1 })),
      onToken: (row, id, text, probability) => {
        told[row]!.push(id);
        texts[row] += text;
        probabilities.add(probability());
      },
    });
    expect(told).toEqual(results.map(({ ids }) => ids));
    expect(texts).toEqual(results.map(({ ids }) => ids.join(" ")));
    for (const p of probabilities) expect(p > 0 && p <= 1).toBe(true);
  });

  it("show their activations, a row for each that goes on", async () => {
    const name = "blocks.1.attn.hook_z";
    const shapes: string[] = [];
    await generateBatch(model, {
      prompts: [{ tokens: PROMPTS[0]!, maxTokens: 3 }, { tokens: PROMPTS[1]!, maxTokens: 2 }],
      forward: { names: [name] },
      onStep: ({ activations }, step, prompts) => {
        shapes.push(`${step} of ${prompts}: ${activations.get(name)!.shape.slice(0, 2)}`);
      },
    });
    expect(shapes).toEqual(["0 of 0: 1,7", "0 of 1: 1,43", "1 of 0,1: 2,1", "2 of 0: 1,1"]);
  }); // biome-ignore format: short lists

  it("stop when they are cancelled, and leave nothing behind", async () => {
    const before = memory();
    const stop = new AbortController();
    let tokens = 0;
    const running = generateBatch(model, {
      prompts: PROMPTS.map((tokens) => ({ tokens })),
      signal: stop.signal,
      onToken: () => {
        if (++tokens === 20) stop.abort(new Error("enough"));
      },
    });
    await expect(running).rejects.toThrow("enough");
    expect(tokens).toBeLessThan(30);
    expect(memory()).toEqual(before);
  });

  it.each([
    ["rows", { at: "attn.hook_z", layer: 0, rows: [1], do: "zero" as const }],
    ["a run's own tokens", { at: "attn.hook_z", layer: 0, do: "mean" as const }],
    ["runs of other lengths", { at: "attn.hook_z", layer: 0, do: "resample" as const, with: { tokens: [[1, 2], [3, 4]] } }],
  ])("are refused with interventions that depend on %s", async (_, intervention) => {
    const before = memory();
    const prompts = PROMPTS.map((tokens) => ({ tokens }));
    const error = await failure(() => generateBatch(model, { prompts, interventions: [intervention] }));
    expect([error.kind, error.subject]).toEqual(["usage", "attn.hook_z"]);
    expect(memory()).toEqual(before);
  }); // biome-ignore format: a table

  it.skipIf(ready)("are refused in fewer bits without the kernels", async () => {
    const error = await failure(() => generateBatch(model, { prompts: [{ tokens: [1] }], cache: "f16" }));
    expect(error.kind).toBe("unsupported");
  });

  it("are refused with 8-bit activations where no weights are in codes", async () => {
    const before = memory();
    const options = { prompts: [{ tokens: [1] }], activations: "8bit" as const };
    expect((await failure(() => generateBatch(model, options))).kind).toBe("unsupported");
    expect(memory()).toEqual(before);
  });

  it.each([
    ["no prompt", { prompts: [] }, "usage"],
    ["a prompt of nothing", { prompts: [{ tokens: [] }] }, "input"],
    ["both tokens and text", { prompts: [{ tokens: [1], text: "a" }] }, "usage"],
    ["an option that there is not", { prompts: [{ tokens: [1], mask: {} }] }, "usage"],
    ["a limit of a sample without one", { prompts: [{ tokens: [1] }], topK: 4 }, "usage"],
    [
      "a limit of a prompt's sample without one",
      { temperature: 1, prompts: [{ tokens: [1], temperature: 0, minP: 0.1 }] },
      "usage",
    ],
    ["a topK of nothing", { prompts: [{ tokens: [1] }], temperature: 1, topK: 0 }, "usage"],
    ["a topP above 1", { prompts: [{ tokens: [1] }], temperature: 1, topP: 1.1 }, "usage"],
    ["a minP below 0", { prompts: [{ tokens: [1] }], temperature: 1, minP: -0.1 }, "usage"],
    ["a penalty of 0", { prompts: [{ tokens: [1] }], repetitionPenalty: 0 }, "usage"],
    ["a prompt beyond the context", { prompts: [{ tokens: [1] }, { tokens: [1], maxTokens: 5000 }] }, "input"],
  ])("are refused: %s", async (_, options, kind) => {
    expect((await failure(() => generateBatch(model, options as never))).kind).toBe(kind);
  });
});
