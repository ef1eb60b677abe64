import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { generate } from "../../backend/inference/generate.ts";
import { forward } from "../../backend/models/forward/forward.ts";
import { loadModel } from "../../backend/models/load.ts";
import type { Model } from "../../backend/models/model.ts";
import { pullModel } from "../../backend/models/sources/pull.ts";

/** Logits of one text at some positions, for some ids of the vocabulary (test/oracles/gemma3.py). */
interface Logits {
  readonly ids: number[];
  readonly positions: number[];
  readonly vocabulary: number[];
  /** [positions][vocabulary] */
  readonly logits: number[][];
  readonly argmax: number[];
  readonly logsumexp: number[];
}

interface Oracle {
  readonly texts: (Logits & { readonly text: string })[];
  readonly tokenizer: { readonly text: string; readonly ids: number[] }[];
  readonly greedy: { readonly ids: number[]; readonly continuation: number[] };
  /** Longer than the window of the local layers. */
  readonly long: Logits & { readonly continuation: number[] };
}

const NAME = "gemma3-270m";
const oracle = JSON.parse(readFileSync(new URL("../oracles/gemma3.json", import.meta.url), "utf8")) as Oracle;
/** Logits have a scale of 25; float32 over 18 layers leaves some 1e-4. */
const TOLERANCE = 1e-3;

// Fetches the model once; its terms are accepted by the person who runs the suite.
beforeAll(async () => {
  await pullModel(NAME, { acceptLicence: process.env["HEADSCOPE_ACCEPT_LICENCE"] === NAME });
});

describe.each(["f32", "q8"] as const)("Gemma 3 270M with %s weights agrees with transformers", (weights) => {
  let model: Model;
  beforeAll(async () => {
    model = await loadModel(NAME, { weights });
  });
  afterAll(() => model.dispose());

  const agree = ({ ids, positions, vocabulary, logits, argmax, logsumexp }: Logits): void => {
    const result = forward(model, { tokens: [ids], logitsAt: positions });
    const found = result.logits!.dataSync() as Float32Array;
    result.dispose();
    const { d_vocab } = model.config;
    positions.forEach((position, p) => {
      const row = found.subarray(p * d_vocab, (p + 1) * d_vocab);
      const worst = Math.max(...vocabulary.map((id, v) => Math.abs(row[id]! - logits[p]![v]!)));
      expect(worst, `logits at ${position}`).toBeLessThan(TOLERANCE);
      const largest = row.reduce((a, b) => Math.max(a, b));
      expect(row.indexOf(largest), `likeliest token at ${position}`).toBe(argmax[p]);
      const total = largest + Math.log(row.reduce((sum, logit) => sum + Math.exp(logit - largest), 0));
      expect(Math.abs(total - logsumexp[p]!), `logsumexp at ${position}`).toBeLessThan(TOLERANCE);
    });
  };

  it("in the ids of texts", () => {
    for (const { text, ids } of [...oracle.texts, ...oracle.tokenizer])
      expect(model.tokenizer!.encode(text), JSON.stringify(text)).toEqual(ids);
  });

  it.each(oracle.texts)("in logits: $text", (text) => agree(text));

  it("in 20 greedy tokens, with the cache", async () => {
    const { ids, continuation } = oracle.greedy;
    const made = await generate(model, { tokens: ids, maxTokens: continuation.length, stop: [] });
    expect(made.ids).toEqual(continuation);
  });

  it("in logits past the window of 512 tokens", () => {
    expect(oracle.long.ids.length).toBeGreaterThan(model.config.window_size!);
    agree(oracle.long);
  });

  it("in greedy tokens past the window", async () => {
    const { ids, continuation } = oracle.long;
    const made = await generate(model, { tokens: ids, maxTokens: continuation.length, stop: [] });
    expect(made.ids).toEqual(continuation);
  });
});
