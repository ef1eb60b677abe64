import { beforeAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { registry } from "../../../backend/common/definitions/definition.ts";
import { parseScores } from "../../../backend/common/heads/scores.ts";
import { Random, randomIds, randomRows, repeatedRows } from "../../../backend/common/random.ts";
import { runWithCache } from "../../../backend/hooks/run.ts";
import type { Model } from "../../../backend/models/model.ts";
import { tokenPool } from "../../../backend/models/tokens.ts";
import { initBackend } from "../../../backend/runtime/backend.ts";
import { tf } from "../../../backend/runtime/tf.ts";
import { evenAttention, type Probe, patternProbe } from "../../../probes/base.ts";
import { idHaystack } from "../../../probes/haystack.ts";
import { evenScores, probe, probeMany, probes } from "../../../probes/index.ts";
import { refused } from "../../helpers/errors.ts";
import { randomModel, randomTokens, smallConfig } from "../../helpers/models.ts";

let model: Model;
beforeAll(async () => {
  await initBackend();
  model = randomModel(smallConfig());
});

/** Whole patterns of every layer, [layers][rows][heads][query][key]. */
function patternsOf(tokens: number[][]): number[][][][][] {
  const { logits, cache } = runWithCache(model, tokens, { names: (name) => name.endsWith("hook_pattern") });
  const patterns = cache.names.map((name) => cache.get(name).arraySync() as number[][][][]);
  logits!.dispose();
  cache.dispose();
  return patterns;
}

/** Rows BOS r r. */
function repeats(length: number, rows: number, seed: number): number[][] {
  const random = new Random(seed);
  return repeatedRows(0, rows, () => randomIds(tokenPool(model), length, random));
}

function mean(values: number[]): number {
  return values.reduce((a, b) => a + b, 0) / values.length;
}

describe("probes on BOS r r", () => {
  it.each([
    ["induction", (n: number, a: number[][]) => mean(Array.from({ length: n }, (_, i) => a[n + 1 + i]![i + 2]!))],
    ["duplicate-token", (n: number, a: number[][]) => mean(Array.from({ length: n }, (_, i) => a[n + 1 + i]![i + 1]!))],
    ["previous-token", (n: number, a: number[][]) => mean(Array.from({ length: 2 * n }, (_, i) => a[i + 1]![i]!))],
  ] as const)("%s is the mean over the whole pattern's entries", async (name, score) => {
    const n = 11;
    const tokens = repeats(n, 2, 4);
    const scores = await probe(model, name, { length: n }, { tokens });
    patternsOf(tokens).forEach((rows, layer) => {
      for (let h = 0; h < 6; h++) {
        expect(scores.metrics[name]!.trials![1]![layer]![h]).toBeCloseTo(score(n, rows[1]![h]!), 5);
        expect(scores.metrics[name]!.values[layer]![h]).toBeCloseTo(mean(rows.map((heads) => score(n, heads[h]!))), 5);
      }
    });
    expect(() => parseScores(scores, "made here")).not.toThrow();
  });

  it("of induction with echo have duplicate-token's metric too, and its chance", async () => {
    const [both, induction, echo] = await probeMany(model, [
      { name: "induction", params: { length: 9, echo: true } },
      { name: "induction", params: { length: 9 } },
      { name: "duplicate-token", params: { length: 9 } },
    ]);
    expect(both!.metrics).toEqual({ ...induction!.metrics, ...echo!.metrics });
    expect(both!.params).toEqual({ ...induction!.params, echo: true });
    expect(both!.summary).toEqual(induction!.summary);
  });

  it("share one pass, and give what each gives alone", async () => {
    const requests = ["induction", "previous-token", "duplicate-token"].map((name) => ({
      name,
      params: { length: 9, samples: 3 },
    }));
    let passes = 0;
    const together = await probeMany(model, requests, {
      seed: 2,
      progress: (done, total) => (passes += done === total ? 1 : 0),
    });
    expect(passes).toBe(1);
    for (const [i, { name, params }] of requests.entries()) {
      const alone = await probe(model, name, params, { seed: 2 });
      expect(alone.tokens).toBe(together[i]!.tokens);
      alone.metrics[name]!.values.flat().forEach((value, at) => {
        expect(together[i]!.metrics[name]!.values.flat()[at]).toBeCloseTo(value, 5);
      });
    }
  });

  it("refuse other rows, and lengths that do not fit", async () => {
    await expect(probe(model, "induction", { length: 5 }, { tokens: randomTokens(2, 11, 96) })).rejects.toThrow(
      refused("input"),
    );
    await expect(probe(model, "induction", {}, { tokens: repeats(9, 1, 0) })).rejects.toMatchObject({
      remedy: expect.stringContaining("length=9"),
    });
    await expect(probe(model, "induction", { length: 700 })).rejects.toThrow(refused("usage"));
    await expect(probe(model, "inductoin")).rejects.toMatchObject({ kind: "usage", subject: "inductoin" });
    await expect(probe(model, "induction", { lenght: 5 })).rejects.toMatchObject({ kind: "usage", field: "lenght" });
    const small = randomModel(smallConfig({ n_ctx: 40 }));
    expect((await probe(small, "induction")).params).toMatchObject({ length: 19 });
    small.dispose();
  });
});

describe("attention-sink", () => {
  it("counts rows in which the first token's importance exceeds epsilon", async () => {
    const tokens = randomTokens(3, 30, 96);
    const scores = await probe(model, "attention-sink", { tokens: "20", epsilon: "0.15" }, { tokens });
    patternsOf(tokens).forEach((rows, layer) => {
      for (let h = 0; h < 6; h++) {
        const importance = rows.map((heads) => mean(heads[h]!.slice(0, 20).map((query) => query[0]!)));
        expect(scores.metrics["importance"]!.values[layer]![h]).toBeCloseTo(mean(importance), 5);
        expect(scores.metrics["attention-sink"]!.values[layer]![h]).toBeCloseTo(
          mean(importance.map((x) => (x > 0.15 ? 1 : 0))),
          5,
        );
      }
    });
    await expect(probe(model, "attention-sink", { tokens: 31 }, { tokens })).rejects.toThrow(
      refused("input", { remedy: expect.stringContaining("tokens=30") }),
    );
  });

  it("never holds a long row's patterns", async () => {
    const tokens = randomTokens(1, 1100, 96);
    const scores = await probe(model, "attention-sink", { tokens: 1100, k: 1 }, { tokens });
    expect(scores.metrics["importance"]!.values).toHaveLength(3);
    const before = tf.memory().numTensors;
    await probe(model, "attention-sink", { tokens: 1100, k: 1 }, { tokens });
    expect(tf.memory().numTensors).toBe(before);
  });
});

describe("retrieval", () => {
  it("scores heads whose most attended key is the needle token just produced", async () => {
    const [ids] = randomTokens(1, 24, 12, 3) as [number[]];
    const needleSpan = [4, 20] as const;
    const scores = await probe(model, "retrieval", {}, { cases: [{ ids, needleSpan, maxNewTokens: 6 }] });
    const [{ generated }] = scores["perCase"] as [{ generated: number[] }];
    expect(generated).toHaveLength(6);
    const whole = [...ids, ...generated];
    patternsOf([whole]).forEach((rows, layer) => {
      for (let h = 0; h < 6; h++) {
        let expected = 0;
        generated.forEach((token, step) => {
          const attention = rows[0]![h]![ids.length - 1 + step]!;
          const key = attention.indexOf(Math.max(...attention));
          if (key >= 4 && key < 20 && whole[key] === token) expected += 1 / 16;
        });
        expect(scores.metrics["retrieval"]!.values[layer]![h], `head ${layer}.${h}`).toBeCloseTo(expected, 6);
      }
    });
  });

  it("averages over the answers that count, and keeps their trials alone", async () => {
    const [ids] = randomTokens(1, 24, 12, 3) as [number[]];
    const needleSpan = [4, 20] as const;
    const first = await probe(model, "retrieval", {}, { cases: [{ ids, needleSpan, maxNewTokens: 3 }] });
    const [{ generated }] = first["perCase"] as [{ generated: number[] }];
    // The first answer holds all that is expected, the second nothing of it.
    const cases = [
      { ids, needleSpan, maxNewTokens: 3, answer: String(generated[0]) },
      { ids: [...ids].reverse(), needleSpan, maxNewTokens: 3, answer: "999" },
    ];
    for (const minRecall of [0.5, 0.9, 1]) {
      const scores = await probe(model, "retrieval", { minRecall }, { cases });
      expect(scores.summary).toMatchObject({ trials: 2, counted: 1, answered: 1 });
      expect(scores.metrics["retrieval"]).toMatchObject({ trials: [first.metrics["retrieval"]!.values] });
      expect(scores.metrics["retrieval"]!.values).toEqual(first.metrics["retrieval"]!.values);
    }
    const all = await probe(model, "retrieval", {}, { cases });
    expect(all.summary).toMatchObject({ counted: 2 });
  });

  it("refuses to score where no answer counts", async () => {
    const [ids] = randomTokens(1, 24, 12, 3) as [number[]];
    const cases = [{ ids, needleSpan: [4, 20] as const, maxNewTokens: 2, answer: "999 998 997" }];
    await expect(probe(model, "retrieval", { minRecall: 0.3 }, { cases })).rejects.toMatchObject({ kind: "input" });
  });

  it("makes its own haystacks of ids for a model without a tokenizer", async () => {
    const made = idHaystack(model, { tokens: 50, depth: 0.4, seed: 3 });
    expect(made.ids).toHaveLength(50);
    expect(made.ids.slice(...made.needleSpan).join(" ")).toBe(made.needle);
    const scores = await probe(model, "retrieval", { lengths: "40,60", depths: "0.5", needles: 1, maxNewTokens: 3 });
    expect(scores.summary).toMatchObject({ trials: 2, counted: 2 });
    await expect(probe(model, "retrieval", {}, { cases: [{ ids: [1, 2, 3], needleSpan: [2, 5] }] })).rejects.toThrow(
      refused("input"),
    );
  });
});

describe("probes of repeated rows", () => {
  it("say the length of rows that repeat, and nothing of the kind to rows that do not", async () => {
    const [r] = randomTokens(1, 6, 90) as [number[]];
    const remedyOf = async (row: number[]) => {
      const error = await probe(model, "induction", { length: 9 }, { tokens: [row] }).catch((e: unknown) => e);
      return (error as { remedy: string }).remedy;
    };
    expect(await remedyOf([1, ...r, ...r])).toContain("length=6");
    expect(await remedyOf([1, ...r, ...[...r].reverse()])).not.toContain("length=");
    expect(await remedyOf([1, ...r])).not.toContain("length=");
  });

  it("come with a note where a window does not reach as far back as they look", async () => {
    const local = randomModel(smallConfig({ window_size: 5, attn_types: ["global", "local", "local"] }));
    const far = await probe(local, "induction", { length: 6, samples: 1 });
    expect(far.notes).toHaveLength(1);
    expect(far.notes![0]).toContain("layers 1, 2");
    expect(far.metrics["induction"]!.values.map((row) => row.every((value) => value === 0))).toEqual([
      false,
      true,
      true,
    ]);
    expect((await probe(local, "induction", { length: 5, samples: 1 })).notes).toBeUndefined();
    expect((await probe(local, "duplicate-token", { length: 5, samples: 1 })).notes).toHaveLength(1);
    expect((await probe(local, "previous-token", { length: 9, samples: 1 })).notes).toBeUndefined();
  });
});

describe("a probe of one's own", () => {
  const self = patternProbe({
    name: "self",
    title: "Self-attending heads",
    description: "Mean attention from each token to itself on random tokens.",
    source: "an example",
    parameters: z.object({ tokens: z.int().min(1).default(32).describe("tokens of a row") }),
    meaning: {
      meaning: "Share of attention that goes from a token to itself, mean over the tokens of a row.",
      range: [0, 1],
      chance: ({ tokens: length }) => evenAttention(0, length - 1),
    },
    rows: (model, { tokens: length }, { tokens, seed = 0 }) =>
      tokens ?? randomRows(tokenPool(model), 4, length, new Random(seed)),
    sums: ({ tokens }) => ({
      self: {
        kind: "sum",
        name: `self of ${tokens}`,
        weight: (query, key) => tf.div(tf.relu(tf.sub(1, tf.abs(tf.sub(query, key)))), tokens),
      },
    }),
  }) as unknown as Probe;

  it("has its parameters, its errors and its schema from the definition", async () => {
    const own = registry<Probe>("probe", [...probes.list(), self]);
    expect(own.schemas()["self"]).toMatchObject({ properties: { tokens: { default: 32 } } });
    expect(() => own.parse("self", { token: "3" })).toThrow(expect.objectContaining({ kind: "usage", field: "token" }));
    const tokens = randomTokens(2, 10, 96);
    const scores = await probe(model, self, { tokens: "10" }, { tokens });
    // What its meanings say stands in the scores: chance of query i, which sees i + 1 keys, is 1 / (i + 1).
    expect(scores.metrics["self"]).toMatchObject({ range: [0, 1] });
    expect(scores.metrics["self"]!.chance).toBeCloseTo(mean(tokens[0]!.map((_, i) => 1 / (i + 1))), 10);
    patternsOf(tokens).forEach((rows, layer) => {
      for (let h = 0; h < 6; h++) {
        expect(scores.metrics["self"]!.values[layer]![h]).toBeCloseTo(
          mean(rows.map((heads) => mean(heads[h]!.map((query, i) => query[i]!)))),
          5,
        );
      }
    });
  });
});

describe("chance", () => {
  it("is what the document says a head with even attention has", async () => {
    const found = await probe(model, "induction", { length: 20 });
    const queries = Array.from({ length: 20 }, (_, i) => 21 + i);
    expect(found.metrics["induction"]).toMatchObject({ range: [0, 1] });
    expect(found.metrics["induction"]!.chance).toBeCloseTo(mean(queries.map((query) => 1 / (query + 1))), 10);
    expect(found.metrics["induction"]!.chance).toBeCloseTo(1 / (1.5 * 20), 2);
    const sink = await probe(model, "attention-sink", { tokens: 8, samples: 2 });
    expect(sink.metrics["importance"]!.chance).toBeCloseTo(mean([1, 2, 3, 4, 5, 6, 7, 8].map((keys) => 1 / keys)), 10);
    expect(Object.keys(sink.metrics)[0]).toBe("importance");
  });

  it("of what training measures along is that of the same probes' documents, with lengths that fit the model", async () => {
    const names = probes.list().flatMap(({ name, sums }) => (sums === undefined ? [] : [name]));
    for (const { probe: name, metrics } of await probeMany(model, names)) {
      const even = Object.entries(metrics).map(([metric, { chance }]) => [metric, chance]);
      expect(evenScores(name, model.config)).toEqual(Object.fromEntries(even));
    }
    // A model that the probe does not fit has no scores, and no chance.
    expect(evenScores("induction", { ...model.config, n_ctx: 2 })).toEqual({});
  });
});
