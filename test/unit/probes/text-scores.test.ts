import { beforeAll, describe, expect, it } from "vitest";
import { attribute } from "../../../backend/circuits/attribution/direct.ts";
import { PATTERN_SCORES } from "../../../backend/common/texts/head-scores.ts";
import { runWithCache } from "../../../backend/hooks/run.ts";
import type { Model } from "../../../backend/models/model.ts";
import { initBackend } from "../../../backend/runtime/backend.ts";
import { tf } from "../../../backend/runtime/tf.ts";
import { probe } from "../../../probes/index.ts";
import { type TextScore, textScores } from "../../../probes/text-scores.ts";
import { refused } from "../../helpers/errors.ts";
import { randomModel, smallConfig } from "../../helpers/models.ts";

let model: Model;
beforeAll(async () => {
  await initBackend();
  model = randomModel(smallConfig());
});

// 7 and 9 stand twice, 4 three times; the first token never comes again.
const ids = [0, 7, 9, 4, 12, 7, 9, 33, 4, 4, 51];
const HELD = 6;

function named(scores: readonly TextScore[], name: string): TextScore {
  const found = scores.find((score) => score.name === name);
  if (found === undefined) throw new Error(`no score ${name}`);
  return found;
}

/** The whole pattern of the text, [layers][heads][query][key]. */
function patterns(): number[][][][] {
  const { logits, cache } = runWithCache(model, [ids], { names: (name) => name.endsWith("hook_pattern") });
  const found = cache.names.map((name) => (cache.get(name).arraySync() as number[][][][])[0]!);
  logits!.dispose();
  cache.dispose();
  return found;
}

/** Every largest difference of two tables. */
function apart(a: readonly (readonly number[])[], b: readonly (readonly number[])[]): number {
  expect(a.map((row) => row.length)).toEqual(b.map((row) => row.length));
  return Math.max(...a.flatMap((row, l) => row.map((value, h) => Math.abs(value - b[l]![h]!))));
}

describe("scores of every head on a text", () => {
  // Written out by hand, query by query, from the words of the definitions.
  const KEYS: Record<string, (query: number) => number[]> = {
    "first-token": () => [0],
    "previous-token": (query) => (query === 0 ? [] : [query - 1]),
    "current-token": (query) => [query],
    induction: (query) => ({ 5: [2], 6: [3], 8: [4], 9: [4, 9] })[query] ?? [],
    "duplicate-token": (query) => ({ 5: [1], 6: [2], 8: [3], 9: [3, 8] })[query] ?? [],
    "held-token": (query) => (query > HELD ? [HELD] : []),
    "last-to-held": (query) => (query === 10 ? [HELD] : []),
    pattern: (query) => (query === 4 ? [1, 2] : []),
  };

  it("are the mean share of attention along each pattern, over the queries that have keys of it", async () => {
    const scores = await textScores(model, ids, { held: HELD, pattern: { pairs: [[4, 1], [4, 2]] } }); // biome-ignore format: pairs
    const attention = patterns();
    expect(PATTERN_SCORES.map(({ name }) => name)).toEqual(Object.keys(KEYS));
    for (const [name, keysOf] of Object.entries(KEYS)) {
      const queries = ids.map((_, query) => query).filter((query) => keysOf(query).length > 0);
      const expected = attention.map((heads) =>
        heads.map((a) =>
          queries.reduce((sum, q) => sum + keysOf(q).reduce((s, k) => s + a[q]![k]!, 0) / queries.length, 0),
        ),
      );
      const found = named(scores, name);
      expect([name, found.queries]).toEqual([name, queries.length]);
      expect(apart(found.values!, expected), name).toBeLessThan(1e-5);
      const even = queries.reduce((sum, q) => sum + keysOf(q).length / (q + 1), 0) / queries.length;
      expect(found.chance, name).toBeCloseTo(even, 10);
    }
  });

  it("equal those of the commands that are copied for them", async () => {
    const expression = "token[query] == 4 and key < 3";
    const scores = await textScores(model, ids, { held: HELD, pattern: { expression } });
    for (const score of PATTERN_SCORES) {
      const params = { expression: score.needs === "pattern" ? expression : score.expression(HELD) };
      const name = score.probe ?? "pattern";
      const { metrics } = await probe(model, name, score.probe ? {} : params, { tokens: [ids] });
      const found = named(scores, score.name);
      expect(apart(found.values!, metrics[name]!.values), score.name).toBeLessThan(1e-5);
      expect(metrics[name]!.chance, score.name).toBeCloseTo(found.chance!, 10);
    }
  });

  it("are on BOS r r those of the probes of the same names", async () => {
    const row = [0, 3, 8, 5, 21, 13, 3, 8, 5, 21, 13];
    const scores = await textScores(model, row);
    for (const name of ["previous-token", "duplicate-token", "induction"]) {
      const { metrics } = await probe(model, name, { length: 5 }, { tokens: [row] });
      expect(apart(named(scores, name).values!, metrics[name]!.values), name).toBeLessThan(1e-5);
    }
  });

  it("take the streams of a run that is at hand, and leave them and no tensor of their own", async () => {
    const names = Array.from({ length: model.config.n_layers }, (_, layer) => `blocks.${layer}.hook_resid_pre`);
    const { logits, cache } = runWithCache(model, [ids], { names });
    const streams = names.map((name) => cache.get(name));
    const alone = await textScores(model, ids, { held: HELD });
    const before = tf.memory().numTensors;
    const stored = await textScores(model, ids, { held: HELD, streams });
    expect(tf.memory().numTensors).toBe(before);
    for (const [i, { values }] of alone.entries())
      if (values) expect(apart(stored[i]!.values!, values)).toBeLessThan(1e-5);
    logits!.dispose();
    cache.dispose();
  });

  it("have the direct effect of each head on a question, as attribute does, on the tokens before the answer alone", async () => {
    for (const question of [
      { position: 8, wrong: 5 },
      { position: ids.length, answer: 7, wrong: 5 },
    ]) {
      const direct = named(await textScores(model, ids, { question }), "direct-effect");
      const answer = question.answer ?? ids[question.position]!;
      const clean = ids.slice(0, question.position);
      const { parts, logitDiff } = await attribute(model, { prompts: [{ clean, answer, wrong: 5 }] });
      expect(apart(direct.values!, parts.heads)).toBe(0);
      expect(direct.logitDiff).toBe(logitDiff);
    }
  });

  it("say why a text has none: nothing repeated, nothing held, nothing behind the held token, no question", async () => {
    const bare = await textScores(model, [0, 1, 2], {});
    const absent = bare.filter((score) => score.absent !== undefined).map(({ name }) => name);
    expect(absent).toEqual(["induction", "duplicate-token", "held-token", "last-to-held", "pattern", "direct-effect"]);
    for (const { values, absent: why } of bare)
      expect([values === undefined, why !== undefined]).toEqual([why !== undefined, values === undefined]);
    const last = await textScores(model, ids, { held: ids.length - 1 });
    expect(named(last, "held-token").absent).toContain("behind");
    expect(named(last, "last-to-held").queries).toBe(1);
  });

  it.each([
    ["a held token outside the text", { held: ids.length }, "input"],
    ["a question about the first token", { question: { position: 0, wrong: 1 } }, "input"],
    ["a question behind the end without its answer", { question: { position: ids.length, wrong: 1 } }, "input"],
    ["an answer that is the wrong one", { question: { position: 2, wrong: 9 } }, "input"],
    ["an expression that is none", { pattern: { expression: "key ==" } }, "usage"],
    ["a pair that looks ahead", { pattern: { pairs: [[1, 2]] } }, "usage"],
    ["pairs beyond the text", { pattern: { pairs: [[11, 2]] } }, "input"],
    ["an option that there is not", { hold: 3 }, "usage"],
  ] as const)("refuse %s", async (_, options, kind) => {
    await expect(textScores(model, ids, options as object)).rejects.toThrow(refused(kind));
  });

  it("refuse texts that are too long, with the number", async () => {
    const small = randomModel({ ...smallConfig(), n_ctx: 4096 });
    const error = textScores(small, new Array<number>(2049).fill(1));
    await expect(error).rejects.toThrow(refused("input"));
    await expect(error).rejects.toThrow("2048");
  });
});
