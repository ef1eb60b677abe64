import { beforeAll, describe, expect, it } from "vitest";
import { runWithCache } from "../../../backend/hooks/run.ts";
import type { Model } from "../../../backend/models/model.ts";
import { initBackend } from "../../../backend/runtime/backend.ts";
import { tf } from "../../../backend/runtime/tf.ts";
import { evenScores, probe, probeMany } from "../../../probes/index.ts";
import { readExpression } from "../../../probes/patterns/expression.ts";
import { randomModel, randomTokens, smallConfig } from "../../helpers/models.ts";

let model: Model;
beforeAll(async () => {
  await initBackend();
  model = randomModel(smallConfig());
});

/** The whole pattern of a row, [layers][heads][query][key]. */
function patternsOf(row: number[]): number[][][][] {
  const { logits, cache } = runWithCache(model, [row], { names: (name) => name.endsWith("hook_pattern") });
  const patterns = cache.names.map((name) => (cache.get(name).arraySync() as number[][][][])[0]!);
  logits!.dispose();
  cache.dispose();
  return patterns;
}

const mean = (values: number[]): number => values.reduce((a, b) => a + b, 0) / values.length;

// A text of one's own: three rows of different lengths, two of them alike.
const rows = [...randomTokens(2, 13, 5), ...randomTokens(1, 7, 5, 3)];

describe("probes on rows of one's own", () => {
  it.each([
    ["current-token", (a: number[][]) => mean(a.map((query, i) => query[i]!))],
    ["first-token", (a: number[][]) => mean(a.map((query) => query[0]!))],
  ] as const)("%s is the mean over the queries of rows of any lengths", async (name, score) => {
    const { metrics } = await probe(model, name, {}, { tokens: rows });
    rows.forEach((row, r) => {
      patternsOf(row).forEach((heads, layer) => {
        heads.forEach((a, h) => {
          expect(metrics[name]!.trials![r]![layer]![h]).toBeCloseTo(score(a), 5);
        });
      });
    });
    // A head that attends evenly gives every key it sees the same, whichever key it is.
    const even = mean(rows.map((row) => mean(row.map((_, i) => 1 / (i + 1)))));
    expect(metrics[name]!.chance).toBeCloseTo(even, 10);
    expect(metrics[name]!.range).toEqual([0, 1]);
  });

  it("share a pass with induction where no rows are given, and say what even attention gives", async () => {
    let passes = 0;
    const progress = (done: number, total: number): void => {
      if (done === total) passes++;
    };
    const names = ["induction", "current-token", "first-token"].map((name) => ({ name, params: { length: 9 } }));
    const [, current, first] = await probeMany(model, names, { progress });
    expect(passes).toBe(1);
    const even = mean(Array.from({ length: 19 }, (_, i) => 1 / (i + 1)));
    expect(current!.metrics["current-token"]!.chance).toBeCloseTo(even, 10);
    expect(first!.params).toEqual({ length: 9, samples: 4 });
    expect(evenScores("first-token", model.config)["first-token"]).toBeGreaterThan(0);
  });
});

describe("a pattern of one's own", () => {
  const own = async (params: Record<string, unknown>, tokens: number[][] = rows) =>
    probe(model, "pattern", params, { tokens });

  it("is the probe that it spells out: the token before, the token itself", async () => {
    const before = tf.memory().numTensors;
    const spelt = await own({ expression: "key == query - 1" });
    expect(tf.memory().numTensors).toBe(before);
    rows.forEach((row, r) => {
      patternsOf(row).forEach((heads, layer) => {
        heads.forEach((a, h) => {
          const score = mean(a.slice(1).map((query, i) => query[i]!));
          expect(spelt.metrics["pattern"]!.trials![r]![layer]![h]).toBeCloseTo(score, 5);
        });
      });
    });
    const current = await probe(model, "current-token", {}, { tokens: rows });
    const same = await own({ expression: "query == key" });
    same.metrics["pattern"]!.values.flat().forEach((value, i) => {
      expect(value).toBeCloseTo(current.metrics["current-token"]!.values.flat()[i]!, 5);
    });
    expect(same.metrics["pattern"]!.chance).toBeCloseTo(current.metrics["current-token"]!.chance!, 6);
  });

  it("follows tokens: induction on a text is attention to what came after the same token", async () => {
    const expression = "token[key - 1] == token[query] and key < query";
    const scores = await own({ expression });
    const expected = rows.map((row) => {
      const keysOf = (q: number): number[] => row.flatMap((_, k) => (k > 0 && k < q && row[k - 1] === row[q] ? [k] : [])); // biome-ignore format: one line
      const queries = row.flatMap((_, q) => (keysOf(q).length > 0 ? [q] : []));
      return patternsOf(row).map((heads) =>
        heads.map((a) => mean(queries.map((q) => keysOf(q).reduce((sum, k) => sum + a[q]![k]!, 0)))),
      );
    });
    expected.forEach((table, r) => {
      table.forEach((heads, layer) => {
        heads.forEach((score, h) => {
          expect(scores.metrics["pattern"]!.trials![r]![layer]![h]).toBeCloseTo(score, 5);
        });
      });
    });
  });

  it("can be pairs of positions, those named twice once", async () => {
    const pairs = [[3, 1], [3, 3], [6, 0], [3, 1]]; // biome-ignore format: one line
    const listed = await own({ pairs });
    const spelt = await own({ expression: "query == 3 and (key == 1 or key == 3) or query == 6 and key == 0" });
    expect(listed.metrics).toEqual(spelt.metrics);
    expect(listed.summary["queries"]).toBe(2);
    expect(listed.metrics["pattern"]!.chance).toBeCloseTo((2 / 4 + 1 / 7) / 2, 6);
  });

  it("leaves out rows without such a query, and says so", async () => {
    const { notes, summary } = await own({ expression: "query == 12 and key == 0" });
    expect(summary["rows"]).toBe(2);
    expect(notes).toHaveLength(1);
  });

  it.each([
    ["no pattern", {}, "usage"],
    ["both", { expression: "key == 0", pairs: [[1, 0]] }, "usage"],
    ["a key after its query", { pairs: [[1, 2]] }, "usage"],
    ["a query beyond a row", { pairs: [[8, 2]] }, "input"],
    ["keys that nobody may attend to", { expression: "key > query" }, "input"],
    ["a pair of three", { pairs: [[1, 2, 3]] }, "usage"],
  ])("%s is refused", async (_, params, kind) => {
    await expect(own(params)).rejects.toMatchObject({ kind });
  });
});

describe("expressions of a pattern", () => {
  const place = { query: 7, key: 5, row: [4, 8, 8, 1, 9, 4, 2, 9] };

  it.each([
    ["key == query - 2", true],
    ["key = 5".replace("=", "=="), true],
    ["0 <= key < 4", false],
    ["0 <= key <= 5 < query", true],
    ["not key == 5", false],
    ["not (key == 4) and query > 6", true],
    ["key == 1 or key == 5 and query == 1", false],
    ["!(key == 1) || query == 9 && key == 9", true],
    ["query % 2 == 1 && (0 - key) % 4 == 3", true],
    ["-key + 2 * query - 1 == 8", true],
    ["token[key] == token[0]", true],
    ["token[query] == 9 and token[key - 1] == token[query]", true],
    ["token[query + 1] == token[query + 2]", false],
    ["token[query + 1] != 3", false],
    ["query == length - 1", true],
  ])("%s is %s at query 7, key 5", (text, expected) => {
    expect(readExpression(text)(place)).toBe(expected);
  });

  it.each([
    "",
    "key",
    "key == ",
    "key == query - 1)",
    "(key == 1",
    "key == 1 2",
    "key and query",
    "(key == 1) + 1 == 2",
    "keys == 1",
    "token == 1",
    "token[key == 1] == 2",
    "key = 1",
    "process.exit(1)",
    "key == 1; 2",
    "constructor == 1",
    "__proto__ == 1",
    `key == ${"1 + ".repeat(400)}1`,
  ])("%s is refused", (text) => {
    expect(() => readExpression(text)).toThrow(expect.objectContaining({ kind: "usage" }));
  });
});
