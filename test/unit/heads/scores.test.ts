import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { mainMetric, ranking } from "../../../backend/common/heads/metric.ts";
import { parseScores } from "../../../backend/common/heads/scores.ts";
import { toKvHeads } from "../../../backend/common/heads/table.ts";
import { createScores, readScores, tokensDigest, writeScores } from "../../../backend/heads/files.ts";
import { model, scores } from "../../helpers/formats/heads-documents.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "headscope-scores-"));
});
afterAll(() => rm(folder, { recursive: true }));

const small = { ...model, layers: 2, heads: 2, kvHeads: 1 };
const document = (change: object = {}) => ({
  format: "headscope.head-scores/1",
  model: small,
  probe: "induction",
  metrics: {
    induction: {
      axis: "heads",
      values: [
        [0.5, 0.25],
        [1, 0.5],
      ],
    },
  },
  ...change,
});
const withValues = (values: unknown) => document({ metrics: { induction: { axis: "heads", values } } });

describe("a score file", () => {
  test("is read back as it was written, extra keys included", async () => {
    const path = join(folder, "scores.json");
    const made = createScores({
      model,
      probe: "retrieval",
      params: { trials: 3 },
      tokens: [[1, 2], [3]],
      seed: 7,
      metrics: scores.metrics,
      summary: { mean: 0.5 },
      perCase: [{ ids: [1, 2], score: [[1]] }],
    });
    await writeScores(path, made);
    expect(await readScores(path)).toEqual(made);
    expect(made).toMatchObject({ format: "headscope.head-scores/1", tokens: tokensDigest([[1, 2], [3]]), seed: 7 });
    expect(Date.parse(made.created!)).toBeGreaterThan(0);
    expect(made.headscope).toMatch(/^\d+\.\d+\.\d+/);
    expect(await readdir(folder)).toEqual(["scores.json"]);
  });

  test("needs no more than format, model, probe and metrics", () => {
    expect(parseScores(document(), "s")).toMatchObject({ params: {}, summary: {} });
  });

  test.each([
    ["no format tag", { metrics: {} }, "s.json is not a headscope.head-scores/1 file: it has no format tag"],
    ["a mask", document({ format: "headscope.head-mask/1" }), 'its format is "headscope.head-mask/1"'],
    ["null", null, "it has no format tag"],
    ["a missing row", withValues([[1, 2]]), "s.json: metrics.induction.values has 1 rows, expected 2 (one a layer)"],
    [
      "a missing column",
      withValues([[1, 2], [3]]),
      "s.json: metrics.induction.values[1] has 1 columns, expected 2 (one a query head)",
    ],
    [
      "NaN",
      withValues([
        [1, Number.NaN],
        [3, 4],
      ]),
      "s.json: metrics.induction.values[0][1]:",
    ],
    [
      "null for a number",
      withValues([
        [1, null],
        [3, 4],
      ]),
      "s.json: metrics.induction.values[0][1]:",
    ],
    ["another axis", document({ metrics: { a: { axis: "queries", values: [] } } }), "s.json: metrics.a.axis:"],
    ["no metric", document({ metrics: {} }), "s.json holds no metric"],
    [
      "heads that cannot share",
      document({ model: { ...small, heads: 3, kvHeads: 2 } }),
      "3 heads cannot share 2 KV heads",
    ],
    ["a digest that is none", document({ model: { ...small, digest: "md5:1" } }), "s.json: model.digest:"],
    [
      "a trial of another shape",
      document({ metrics: { a: { axis: "kvHeads", values: [[1], [2]], trials: [[[1], [2]], [[1]]] } } }),
      "metrics.a.trials[1] has 1 rows",
    ],
  ])("with %s is refused by name", (_, value, message) => {
    expect(() => parseScores(value, "s.json")).toThrow(
      expect.objectContaining({ kind: "input", message: expect.stringContaining(message) }),
    );
  });

  test("that is not JSON is refused with file and position", async () => {
    const path = join(folder, "bad.json");
    await writeFile(path, '{"format": "headscope.head-scores/1",\n "metrics": NaN}');
    await expect(readScores(path)).rejects.toMatchObject({
      kind: "input",
      message: expect.stringContaining(`${path} is not JSON at line 2, column 13`),
    });
    await rm(path);
  });

  test("that would be wrong is not written, and what was there stays", async () => {
    const path = join(folder, "kept.json");
    await writeFile(path, "before");
    const wrong = { ...scores, metrics: { a: { axis: "heads" as const, values: [[Number.NaN]] } } };
    await expect(writeScores(path, wrong)).rejects.toMatchObject({ kind: "input" });
    expect(await readFile(path, "utf8")).toBe("before");
    expect((await readdir(folder)).filter((name) => name.includes(".part"))).toEqual([]);
  });
});

describe("the main metric", () => {
  test("is the probe's own, or the only one", () => {
    expect(mainMetric(scores).name).toBe("retrieval");
    const { gate } = scores.metrics;
    expect(mainMetric({ ...scores, probe: "duo-attention", metrics: { gate: gate! } }).name).toBe("gate");
  });
  test("must be chosen when neither holds", () => {
    expect(() => mainMetric({ ...scores, probe: "sinks" })).toThrow(
      expect.objectContaining({ kind: "usage", message: 'unknown metric of the sinks scores "sinks"' }),
    );
  });
  test("that does not exist is answered with the nearest", () => {
    expect(() => mainMetric(scores, "retreival")).toThrow(
      expect.objectContaining({ remedy: "did you mean retrieval, gate?" }),
    );
    expect(() => mainMetric(scores, "constructor")).toThrow(
      expect.objectContaining({ kind: "usage", subject: "constructor" }),
    );
  });
});

test("heads rank from highest, ties by layer and head", () => {
  expect(ranking(parseScores(document(), "s"))).toEqual([
    { layer: 1, head: 0, value: 1, rank: 1 },
    { layer: 0, head: 0, value: 0.5, rank: 2 },
    { layer: 1, head: 1, value: 0.5, rank: 3 },
    { layer: 0, head: 1, value: 0.25, rank: 4 },
  ]);
});

test("a KV head scores what the best of its group scores", () => {
  const values = [
    [0, 1, 2, 5, 4, 3],
    [-1, -2, -3, -4, -5, -6],
  ];
  expect(toKvHeads(values, { heads: 6, kvHeads: 2 })).toEqual([
    [2, 5],
    [-1, -4],
  ]);
  expect(toKvHeads(values, { heads: 6, kvHeads: 6 })).toEqual(values);
  expect(toKvHeads(values, { heads: 6, kvHeads: 1 })).toEqual([[5], [-1]]);
});
