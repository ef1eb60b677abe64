import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { kvTable } from "../../../backend/common/heads/metric.ts";
import { savetxt } from "../../../backend/exports/heads/duo-attention.ts";
import { exportHeads, leftOut, scoresImporter } from "../../../backend/exports/index.ts";
import { fixture } from "../../helpers/fixtures.ts";
import { mask, model, scores } from "../../helpers/formats/heads-documents.ts";

const saved = (name: string) => readFile(fixture(`exports/${name}`), "utf8");

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "headscope-formats-"));
});
afterAll(() => rm(folder, { recursive: true }));

describe("DuoAttention", () => {
  test("numbers are written as numpy.savetxt writes them, ties to the even digit", async () => {
    const values = JSON.parse(await saved("savetxt.json")) as number[][];
    const text = values.map((row) => row.map(savetxt).join("\t")).join("\n");
    expect(`${text}\n`.split("\n")).toEqual((await saved("savetxt.tsv")).split("\n"));
    // 1 + 2^-19 is 1.0000019073486328125: C rounds the tie down to the even 2, toExponential up.
    expect(savetxt(1 + 2 ** -19)).toBe("1.000001907348632812e+00");
  });

  test("a mask gives ones and zeros with its own window, and says nothing of a training that there was not", async () => {
    const { files } = await exportHeads("duo-attention", { mask }, join(folder, "mask"));
    expect(files).toEqual(["config.json", "full_attention_heads.tsv"]);
    const config = JSON.parse(await readFile(join(folder, "mask/config.json"), "utf8"));
    expect(config).toEqual({
      model_name: "tiny",
      sink_size: 4,
      recent_size: 16,
    });
    const [first] = (await readFile(join(folder, "mask/full_attention_heads.tsv"), "utf8")).split("\n");
    expect(first).toBe("1.000000000000000000e+00\t0.000000000000000000e+00");
  });

  test("a folder that NumPy wrote is read as gates, clipped", async () => {
    const read = await scoresImporter("duo-attention").read(fixture("exports/duo"), model);
    expect(read).toMatchObject({
      probe: "duo-attention",
      model,
      params: { sink_size: 128, recent_size: 256, lr: 0.02 },
    });
    expect(read.metrics).toEqual({ gate: { axis: "kvHeads", values: JSON.parse(await saved("duo-clipped.json")) } });
  });

  test("out and in again gives the same scores, clipped", async () => {
    await exportHeads("duo-attention", { scores }, join(folder, "again"));
    const read = await scoresImporter("duo-attention").read(join(folder, "again"), model);
    const clipped = kvTable(scores, scores.metrics["retrieval"]!).map((row) =>
      row.map((value) => Math.min(1, Math.max(0, value))),
    );
    expect(read.metrics["gate"]!.values).toEqual(clipped);
  });

  test("a pattern of another shape names what is expected and what was found", async () => {
    const big = { ...model, ref: "big", layers: 30, heads: 9, kvHeads: 3 };
    await expect(scoresImporter("duo-attention").read(fixture("exports/duo"), big)).rejects.toMatchObject({
      kind: "mismatch",
      message: expect.stringMatching(/has 4 rows of 2 values, expected 30 rows of 3: big has 30 layers of 9 heads/),
    });
  });

  test.each([
    ["nan", "nan\t1\n", "line 2, column 1"],
    ["text", "0.5\tx\n", "line 2, column 2"],
    ["an empty cell", "0.5\t\t1\n", "line 2, column 2"],
  ])("a pattern with %s names file and place", async (name, line, place) => {
    const duo = join(folder, `bad ${name}`);
    await cp(fixture("exports/duo"), duo, { recursive: true });
    await writeFile(join(duo, "full_attention_heads.tsv"), `1\t1\n${line}`);
    await expect(scoresImporter("duo-attention").read(duo, model)).rejects.toMatchObject({
      kind: "input",
      message: expect.stringContaining(`full_attention_heads.tsv, ${place}`),
    });
  });

  test("a folder without the pattern, or with a broken configuration, is named", async () => {
    await expect(scoresImporter("duo-attention").read(folder, model)).rejects.toMatchObject({ kind: "missing" });
    const duo = join(folder, "config");
    await cp(fixture("exports/duo"), duo, { recursive: true });
    await writeFile(join(duo, "config.json"), "{");
    await expect(scoresImporter("duo-attention").read(duo, model)).rejects.toMatchObject({ kind: "input" });
    await writeFile(join(duo, "config.json"), "[]");
    await expect(scoresImporter("duo-attention").read(duo, model)).rejects.toMatchObject({ kind: "input" });
  });
});

describe("Retrieval_Head", () => {
  test("a file that Python wrote is read as the mean of its trials", async () => {
    const read = await scoresImporter("retrieval-head").read(fixture("exports/retrieval.json"), model);
    const means = JSON.parse(await saved("retrieval-mean.json")) as number[][];
    expect(read.probe).toBe("retrieval");
    expect(read.metrics["retrieval"]!.trials).toHaveLength(3);
    for (const [layer, row] of read.metrics["retrieval"]!.values.entries())
      for (const [head, value] of row.entries()) expect(value).toBeCloseTo(means[layer]![head]!, 14);
  });

  test("and written again is the same text", async () => {
    const read = await scoresImporter("retrieval-head").read(fixture("exports/retrieval.json"), model);
    const path = join(folder, "retrieval.json");
    await exportHeads("retrieval-head", { scores: read }, path);
    expect(JSON.parse(await readFile(path, "utf8"))).toEqual(JSON.parse(await saved("retrieval.json")));
  });

  test("scores without trials become lists of one", async () => {
    const { trials: _, ...metric } = scores.metrics["retrieval"]!;
    const path = join(folder, "single.json");
    await exportHeads("retrieval-head", { scores: { ...scores, metrics: { retrieval: metric } } }, path);
    const lists = JSON.parse(await readFile(path, "utf8"));
    expect(lists["2-0"]).toEqual([1.25]);
    expect(Object.keys(lists)).toHaveLength(16);
  });

  test("heads with other numbers of trials give means alone", async () => {
    const lists = JSON.parse(await saved("retrieval.json"));
    lists["0-0"] = [0.5];
    const path = join(folder, "uneven.json");
    await writeFile(path, JSON.stringify(lists));
    const { retrieval } = (await scoresImporter("retrieval-head").read(path, model)).metrics;
    expect(retrieval!.values[0]![0]).toBe(0.5);
    expect(retrieval!.trials).toBeUndefined();
  });

  const lists = { "0-0": [1], "0-1": [1], "1-0": [1], "1-1": [1] };
  const two = { ...model, layers: 2, heads: 2, kvHeads: 2 };
  test.each([
    ["another shape", { ...lists, "2-0": [1] }, "mismatch", "has 3 layers of 2 heads, expected 2 of 2"],
    [
      "a missing head",
      { "0-0": [1], "0-1": [1], "1-1": [1] },
      "input",
      "it has 3 heads, expected 4; the first missing is 1-0",
    ],
    ["a key that is no head", { ...lists, "1.0": [1] }, "input", '"1.0" is not LAYER-HEAD'],
    ["no trial", { ...lists, "0-0": [] }, "input", "head 0-0 has no list of finite numbers"],
    ["text for a score", { ...lists, "0-0": ["1"] }, "input", "head 0-0 has no list of finite numbers"],
    ["a list", [], "input", "it is not a JSON object"],
  ])("a file with %s is refused", async (name, content, kind, message) => {
    const path = join(folder, `${name}.json`);
    await writeFile(path, JSON.stringify(content));
    await expect(scoresImporter("retrieval-head").read(path, two)).rejects.toMatchObject({
      kind,
      message: expect.stringContaining(message),
    });
  });
});

test("a CSV table has one row a query head and quotes odd names", async () => {
  const path = join(folder, "scores.csv");
  const metrics = { 'a "b", c': scores.metrics["gate"]! };
  await exportHeads("csv", { scores: { ...scores, metrics } }, path);
  const lines = (await readFile(path, "utf8")).trimEnd().split("\n");
  expect(lines[0]).toBe('layer,head,kv_head,"a ""b"", c"');
  expect(lines).toHaveLength(17);
  expect(lines[7]).toBe(`1,2,1,${scores.metrics["gate"]!.values[1]![1]}`);
});

test("of a mask with both tables a format of one half says that the other is left out", () => {
  const { heads, kvHeads, ...rest } = mask;
  for (const [format, alone] of [
    ["duo-attention", { ...rest, kvHeads }],
    ["hf-prune", { ...rest, heads }],
    ["pruned-checkpoint", { ...rest, heads }],
  ] as const) {
    expect(leftOut(format, mask)).toContain(format);
    expect(leftOut(format, alone as typeof mask)).toBeUndefined();
  }
  for (const format of ["csv", "safetensors"]) expect(leftOut(format, mask)).toBeUndefined();
});
