import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { generate } from "../../backend/inference/generate.ts";
import { forward } from "../../backend/models/forward/forward.ts";
import type { Model } from "../../backend/models/model.ts";
import { maxDifference } from "../helpers/models.ts";
import { loadSmollm2, oracle, smollm2Missing } from "../helpers/smollm2.ts";

interface Prompt {
  name: string;
  text?: string;
  ids: number[];
  positions: number[];
  vocabulary: number[];
  logits: number[][];
  argmax: number[];
  logsumexp: number[];
  patterns: { layer: number; heads: number[]; queries: number[]; values: number[][][] }[];
  activations: { name: string; position: number; first16: number[]; norm: number }[];
}

interface Continuation {
  generated: number[];
  firstLogits: number[];
}

describe.skipIf(smollm2Missing)("SmolLM2 against PyTorch transformers on the same weights", () => {
  const { prompts, tokenizer } = oracle<{ prompts: Prompt[]; tokenizer: { text: string; ids: number[] }[] }>("logits");
  let model: Model;
  beforeAll(async () => {
    model = await loadSmollm2();
  });
  afterAll(() => model.dispose());

  it("tokenises as transformers does", () => {
    for (const { text, ids } of tokenizer) expect(model.tokenizer!.encode(text)).toEqual(ids);
    for (const { text, ids } of prompts) if (text) expect(model.tokenizer!.encode(text)).toEqual(ids);
  });

  it.each(prompts.map((p) => [p.name, p] as const))("has its logits, patterns and activations: %s", (_, prompt) => {
    const names = [
      ...prompt.activations.map((a) => a.name),
      ...prompt.patterns.map((p) => `blocks.${p.layer}.attn.hook_pattern`),
    ];
    const result = forward(model, { tokens: [prompt.ids], logitsAt: prompt.positions }, { names });
    const logits = (result.logits!.arraySync() as number[][][])[0]!;
    prompt.positions.forEach((position, p) => {
      const worst = Math.max(...prompt.vocabulary.map((id, v) => Math.abs(logits[p]![id]! - prompt.logits[p]![v]!)));
      expect(worst, `logits at ${position}`).toBeLessThan(1e-3);
      const logsumexp = Math.log(logits[p]!.reduce((sum, l) => sum + Math.exp(l), 0));
      expect(Math.abs(logsumexp - prompt.logsumexp[p]!)).toBeLessThan(1e-3);
      expect(logits[p]!.indexOf(Math.max(...logits[p]!))).toBe(prompt.argmax[p]);
    });
    for (const { layer, heads, queries, values } of prompt.patterns) {
      const pattern = (result.activations.get(`blocks.${layer}.attn.hook_pattern`)!.arraySync() as number[][][][])[0]!;
      heads.forEach((head, h) => {
        queries.forEach((query, q) => {
          values[h]![q]!.forEach((value, key) => {
            expect(
              Math.abs(pattern[head]![query]![key]! - value),
              `layer ${layer} head ${head} query ${query} key ${key}`,
            ).toBeLessThan(1e-4);
          });
        });
      });
    }
    for (const { name, position, first16, norm } of prompt.activations) {
      const t = result.activations.get(name)!;
      const row = [...t.slice([0, position, ...t.shape.slice(2).map(() => 0)], [1, 1, ...t.shape.slice(2)]).dataSync()];
      expect(Math.abs(Math.hypot(...row) / norm - 1), `norm of ${name}`).toBeLessThan(1e-4);
      first16.forEach((value, i) => {
        expect(Math.abs(row[i]! - value), `${name}[${i}]`).toBeLessThan(
          1e-3 * Math.max(1, norm / Math.sqrt(row.length)),
        );
      });
    }
    result.dispose();
  });

  const masked = oracle<{
    ids: number[];
    sink: number;
    recent: number;
    maxNewTokens: number;
    kvHeads: ("retrieval" | "streaming")[][];
    full: Continuation;
    masked: Continuation;
    densePrefill: Continuation;
  }>("masked");
  const mask = {
    format: "headscope.head-mask/1" as const,
    model: { ref: "smollm2-135m", layers: 30, heads: 9, kvHeads: 3 },
    kvHeads: masked.kvHeads,
    sink: masked.sink,
    recent: masked.recent,
    source: "user" as const,
  };

  it.each([
    ["with all heads full", masked.full, {}],
    ["with a mask in prefill and decode", masked.masked, { mask }],
    ["with a mask after a dense prefill", masked.densePrefill, { mask, prefill: "dense" as const }],
  ])("generates the same tokens %s", async (_, wanted, options) => {
    const made = await generate(model, { tokens: masked.ids, maxTokens: masked.maxNewTokens, ...options });
    expect(made.ids).toEqual(wanted.generated);
    const worst = Math.max(...wanted.firstLogits.map((l, i) => Math.abs(l - made.logits[i]!)));
    expect(worst).toBeLessThan(1e-3);
  });
});

describe.skipIf(smollm2Missing)("SmolLM2 with its weights kept in 8 bits", () => {
  it("has the same logits, in prefill and in decode, in a quarter of the memory", async () => {
    const [wide, narrow] = [await loadSmollm2(), await loadSmollm2({ weights: "q8" })];
    expect(narrow.bytes).toBeLessThan(0.4 * wide.bytes);
    const ids = wide.tokenizer!.encode("The capital of France is");
    const [a, b] = [wide, narrow].map((m) => forward(m, { tokens: [ids] }).logits!);
    expect(maxDifference(a!, b!)).toBeLessThan(1e-3);
    const [c, d] = await Promise.all([wide, narrow].map((m) => generate(m, { tokens: ids, maxTokens: 8 })));
    expect(d!.ids).toEqual(c!.ids);
    expect(c!.text).toMatch(/^ Paris/);
    wide.dispose();
    narrow.dispose();
  });
});
