import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ablate, ablateSweep } from "../../backend/circuits/ablation/ablate.ts";
import type { TokenPair } from "../../backend/circuits/pairs.ts";
import { patch } from "../../backend/circuits/patching/patch.ts";
import type { PatchNode, PatchPlace } from "../../backend/common/patching.ts";
import { pairing } from "../../backend/hooks/reference.ts";
import { generate } from "../../backend/inference/generate.ts";
import { hasKernels } from "../../backend/kernels/kernels.ts";
import { forward } from "../../backend/models/forward/forward.ts";
import type { Model } from "../../backend/models/model.ts";
import type { RetrievalCase } from "../../probes/base.ts";
import { haystack, probe, probeMany } from "../../probes/index.ts";
import { maxDifference } from "../helpers/models.ts";
import { havePulled, loadSmollm2, onSmolLm2, oracle, worst } from "../helpers/smollm2.ts";

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

type Metrics = Record<string, { values: number[][]; trials?: number[][][] }>;
interface Probes {
  repeated: { rows: number[][]; length: number; metrics: Metrics };
  sink: { rows: number[][]; tokens: number; epsilon: number; metrics: Metrics };
}
interface Retrieval {
  cases: RetrievalCase[];
  perCase: { generated: number[]; scores: number[][] }[];
  mean: number[][];
}

type Losses = { loss: number; nll: number[][] };
interface Ablations {
  rows: number[][];
  heads: [number, number][];
  permutation: number[];
  clean: Losses;
  ablated: Record<"zero" | "mean" | "meanByPosition" | "resample", Losses>;
  single: Losses & { heads: [number, number][] };
}

interface Table {
  node: PatchNode;
  by: PatchPlace;
  layers: number[];
  patched: number[][];
}
interface Patchings {
  pairs: { cleanText: string; corruptText: string; pair: TokenPair; clean: number; corrupt: number; tables: Table[] }[];
}

describe.skipIf(!havePulled)(onSmolLm2("SmolLM2 beside PyTorch transformers on the same weights:"), () => {
  let model: Model;
  beforeAll(async () => {
    model = await loadSmollm2();
  });
  afterAll(() => model.dispose());

  describe("a forward pass and a generation", () => {
    const { prompts, tokenizer } = oracle<{ prompts: Prompt[]; tokenizer: { text: string; ids: number[] }[] }>(
      "logits",
    );
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
        const error = Math.max(...prompt.vocabulary.map((id, v) => Math.abs(logits[p]![id]! - prompt.logits[p]![v]!)));
        expect(error, `logits at ${position}`).toBeLessThan(1e-3);
        const logsumexp = Math.log(logits[p]!.reduce((sum, l) => sum + Math.exp(l), 0));
        expect(Math.abs(logsumexp - prompt.logsumexp[p]!)).toBeLessThan(1e-3);
        expect(logits[p]!.indexOf(Math.max(...logits[p]!))).toBe(prompt.argmax[p]);
      });
      for (const { layer, heads, queries, values } of prompt.patterns) {
        const pattern = (
          result.activations.get(`blocks.${layer}.attn.hook_pattern`)!.arraySync() as number[][][][]
        )[0]!;
        heads.forEach((head, h) => {
          queries.forEach((query, q) => {
            const found = pattern[head]![query]!.slice(0, values[h]![q]!.length);
            expect(worst(found, values[h]![q]), `layer ${layer} head ${head} query ${query}`).toBeLessThan(1e-4);
          });
        });
      }
      for (const { name, position, first16, norm } of prompt.activations) {
        const t = result.activations.get(name)!;
        const row = [
          ...t.slice([0, position, ...t.shape.slice(2).map(() => 0)], [1, 1, ...t.shape.slice(2)]).dataSync(),
        ];
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
      const error = Math.max(...wanted.firstLogits.map((l, i) => Math.abs(l - made.logits[i]!)));
      expect(error).toBeLessThan(1e-3);
    });
  });

  describe("probes", () => {
    it("give the scores of transformers on repeated tokens", async () => {
      const { rows, length, metrics } = oracle<Probes>("probes").repeated;
      const documents = await probeMany(
        model,
        Object.keys(metrics).map((name) => ({ name, params: { length } })),
        { tokens: rows },
      );
      for (const { probe: name, metrics: found } of documents) {
        expect(worst(found[name]!.values, metrics[name]!.values), name).toBeLessThan(1e-4);
        expect(worst(found[name]!.trials, metrics[name]!.trials), name).toBeLessThan(1e-4);
      }
    });

    it("give the sinks of transformers", async () => {
      const { rows, tokens, epsilon, metrics } = oracle<Probes>("probes").sink;
      const { metrics: found } = await probe(model, "attention-sink", { tokens, epsilon }, { tokens: rows });
      expect(worst(found["importance"]!.trials, metrics["importance"]!.trials)).toBeLessThan(1e-4);
      expect(worst(found["attention-sink"]!.values, metrics["attention-sink"]!.values)).toBeLessThan(1e-4);
    });

    it("give the retrieval heads and the answers of transformers", async () => {
      const { cases, perCase, mean } = oracle<Retrieval>("retrieval");
      const found = await probe(model, "retrieval", {}, { cases });
      const answers = found["perCase"] as Retrieval["perCase"];
      expect(answers.map(({ generated }) => generated)).toEqual(perCase.map(({ generated }) => generated));
      for (const [i, { scores }] of perCase.entries())
        expect(worst(answers[i]!.scores, scores), `case ${i}`).toBeLessThan(1e-4);
      expect(worst(found.metrics["retrieval"]!.values, mean)).toBeLessThan(1e-4);
    });

    it("find the answer in a haystack of their own", async () => {
      const made = haystack(model.tokenizer!, { tokens: 200, depth: 0.3, seed: 1 });
      expect(made.ids).toHaveLength(200);
      expect(model.tokenizer!.decode(made.ids.slice(...made.needleSpan)).trim()).toBe(made.needle);
      const { summary } = await probe(model, "retrieval", { lengths: [200], depths: [0.3], needles: 2 });
      expect(summary["answered"]).toBe(2);
      expect(summary["max"]).toBeGreaterThan(0.1);
    });
  });
  describe("ablation", () => {
    const { rows: tokens, heads: chosen, permutation, clean, ablated, single } = oracle<Ablations>("ablation");
    const refs = (heads: [number, number][]) => heads.map(([layer, head]) => ({ layer, head }));
    it.each(["zero", "mean", "meanByPosition", "resample"] as const)(
      "by %s gives the losses of transformers",
      async (name) => {
        const byPosition = name === "meanByPosition";
        const method = byPosition ? "mean" : name;
        // The seed that pairs the rows as the oracle does.
        const seed = Array.from({ length: 100 }, (_, s) => s).find((s) => pairing(3, s).join() === permutation.join())!;
        const result = await ablate(model, {
          tokens,
          heads: refs(chosen),
          method,
          byPosition,
          seed,
          controls: name === "zero" ? 5 : 0,
        });
        expect(worst(result.clean.nll, clean.nll)).toBeLessThan(1e-3);
        expect(worst(result.ablated.nll, ablated[name].nll)).toBeLessThan(1e-3);
        expect(Math.abs(result.ablated.loss - ablated[name].loss)).toBeLessThan(1e-3);
        if (name === "zero") expect(result.control!.range[1]).toBeLessThan(result.ablated.loss);
      },
    );

    it("takes out one head, in a sweep", async () => {
      const [plain, one] = await ablateSweep(model, { tokens, method: "zero", sets: [[], refs(single.heads)] });
      expect(worst(plain!.nll, clean.nll)).toBeLessThan(1e-3);
      expect(worst(one!.nll, single.nll)).toBeLessThan(1e-3);
    });
  });
  describe("patching", () => {
    const [first, second] = oracle<Patchings>("patching").pairs as [Patchings["pairs"][0], Patchings["pairs"][0]];
    it.each(first.tables.map(({ node, by }, i) => [node, by, i] as const))(
      "of %s by %s gives the logit differences of transformers",
      async (node, by, i) => {
        const { layers: all, patched: whole } = first.tables[i]!;
        // Of the tables that hold every layer, the same six as of the others.
        const chosen = all
          .map((layer, at) => ({ layer, at }))
          .filter(({ layer }) => [0, 8, 14, 17, 22, 29].includes(layer));
        const layers = chosen.map(({ layer }) => layer);
        const patched = chosen.map(({ at }) => whole[at]!);
        const result = await patch(model, { pairs: [first.pair], node, by, layers });
        expect(Math.abs(result.clean - first.clean)).toBeLessThan(1e-3);
        expect(Math.abs(result.corrupt - first.corrupt)).toBeLessThan(1e-3);
        expect(worst(result.patched, patched)).toBeLessThan(1e-3);
      },
    );

    it("takes texts, and averages over pairs of different lengths", async () => {
      const texts = [first, second].map(({ cleanText, corruptText, pair }) => ({
        clean: cleanText,
        corrupt: corruptText,
        answer: model.tokenizer!.decode([Number(pair.answer)]),
        wrong: model.tokenizer!.decode([Number(pair.wrong)]),
      }));
      const result = await patch(model, { pairs: texts, node: "z", by: "head", layers: [17, 22, 29] });
      const table = (p: Patchings["pairs"][0]) =>
        p.tables.find(({ node, by }) => node === "z" && by === "head")!.patched;
      const mean = table(first).map((row, l) => row.map((x, h) => (x + table(second)[l]![h]!) / 2));
      expect(
        worst(
          result.patched,
          [17, 22, 29].map((l) => mean[l]),
        ),
      ).toBeLessThan(1e-3);
      expect(Math.abs(result.clean - (first.clean + second.clean) / 2)).toBeLessThan(1e-3);
    });
  });
  describe("weights kept as the file has them", () => {
    let narrow: Model;
    beforeAll(async () => {
      narrow = await loadSmollm2({ weights: "q8" });
    });
    afterAll(() => narrow.dispose());

    it("give the same logits, in prefill and in decode, in the memory of the file", async () => {
      expect(narrow.bytes).toBeLessThan((hasKernels() ? 0.19 : 0.4) * model.bytes);
      const ids = model.tokenizer!.encode("The capital of France is");
      const [a, b] = [model, narrow].map((m) => forward(m, { tokens: [ids] }).logits!);
      expect(maxDifference(a!, b!)).toBeLessThan(1e-3);
      const [c, d] = await Promise.all([model, narrow].map((m) => generate(m, { tokens: ids, maxTokens: 8 })));
      expect(d!.ids).toEqual(c!.ids);
      expect(c!.text).toMatch(/^ Paris/);
    });

    it.each(oracle<{ prompts: Prompt[] }>("logits").prompts.map((p) => [p.name, p] as const))(
      "give the logits of transformers: %s",
      (_, { ids, positions, vocabulary, logits: expected }) => {
        const result = forward(narrow, { tokens: [ids], logitsAt: positions });
        const logits = (result.logits!.arraySync() as number[][][])[0]!;
        const chosen = logits.map((row) => vocabulary.map((id) => row[id]!));
        expect(worst(chosen, expected)).toBeLessThan(1e-3);
        result.dispose();
      },
    );
  });
});
