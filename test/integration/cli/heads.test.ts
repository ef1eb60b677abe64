import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { HeadWeights } from "../../../backend/circuits/weights/head-weights.ts";
import { promptProbesSchema } from "../../../backend/common/api/linear-probes.ts";
import { readScores } from "../../../backend/heads/files.ts";
import { encodeSafetensors, readSafetensors } from "../../../backend/models/formats/safetensors/safetensors.ts";
import { buildCli, type CliRun } from "../../helpers/cli.ts";
import { saveDictionary } from "../../helpers/formats/dictionary.ts";
import { headscope } from "../../helpers/headscope.ts";

let folder = "";
beforeAll(async () => {
  await buildCli();
  folder = await mkdtemp(join(tmpdir(), "headscope-cli-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Insists on a failure of one line, without a stack, and nothing on standard output. */
function expectLine({ code, stdout, stderr }: CliRun, expected: number, line: RegExp): void {
  expect(stderr.trimEnd()).toMatch(line);
  expect(stderr.trimEnd().split("\n")).toHaveLength(1);
  expect({ code, stdout }).toEqual({ code: expected, stdout: "" });
}

const GQA = "test/fixtures/families/llama-gqa";

describe("head", () => {
  test("prints heads, compositions and token pairs of a model of grouped queries", async () => {
    const { code, stdout } = await headscope(["head", "--model", GQA, "--heads", "1.3,0.1,0.0", "--token-pairs", "4", "--json"]); // biome-ignore format: one line
    expect(code).toBe(0);
    const { heads, composition, tokenPairs } = JSON.parse(stdout) as HeadWeights;
    expect(heads.map(({ head }) => head)).toEqual(["1.3", "0.1", "0.0"]);
    expect(composition.map(({ from, to }) => [from, to])).toEqual([["0.0", "1.3"], ["0.1", "1.3"]]); // biome-ignore format: one line
    for (const { pairs, diagonal } of tokenPairs!) {
      expect(pairs).toHaveLength(4);
      expect(diagonal.top10).toBeGreaterThanOrEqual(diagonal.top1);
    }
  });

  test("prints the same for people, and takes folded weights", async () => {
    const { code, stdout } = await headscope(["head", "--model", GQA, "--heads", "1.3", "--process", "fold_ln", "--composition", "all", "--distances", "9"]); // biome-ignore format: one line
    expect(code).toBe(0);
    expect(stdout).toContain("after fold_ln");
    expect(stdout).toContain("Kernel of positions of 1.3, rotated");
  });

  test("refuses heads that there are not, and none", async () => {
    expectLine(await headscope(["head", "--model", GQA, "--heads", "9.1"]), 2, /no head 9\.1/);
    expectLine(await headscope(["head", "--model", GQA]), 2, /--heads/);
    expectLine(await headscope(["head", "--model", GQA, "--heads", "1.3", "--token-pairs", "x"]), 2, /--token-pairs/);
    expectLine(await headscope(["head", "--model", GQA, "--heads", "1.3", "--composition", "some"]), 2, /heads, all/);
  });
});

describe("probe function-vector", () => {
  const cases = [{ clean: [5, 6, 7, 8, 9], shuffled: [5, 8, 7, 6, 9], zero: [9], answer: 10 }];

  test("writes scores with the vector, for whoever reads head scores", async () => {
    const [path, out] = [join(folder, "cases.json"), join(folder, "vector.json")];
    await writeFile(path, JSON.stringify(cases));
    const probed = ["probe", "function-vector", "--model", GQA, "--cases-file", path, "--param", "top=3", "--param", "layers=0,1"]; // biome-ignore format: one line
    const { code, stdout } = await headscope([...probed, "--out", out]);
    expect(stdout).toContain("zero-shot with the vector at 1");
    expect(code).toBe(0);
    const scores = await readScores(out);
    expect(scores["vector"]).toHaveLength(32);
    expect(scores["top"]).toHaveLength(3);
  });

  test("refuses what is no case, and cases for a probe that takes none", async () => {
    const path = join(folder, "bad.json");
    const probed = ["probe", "function-vector", "--model", GQA, "--cases-file", path];
    await writeFile(path, JSON.stringify([...cases, { ...cases[0], answer: [1, 2] }]));
    expectLine(await headscope(probed), 1, /bad\.json: case 1: answer/);
    await writeFile(path, "[]");
    expectLine(await headscope(probed), 1, /bad\.json holds no case/);
    expectLine(await headscope(["probe", "induction", "--model", GQA, "--cases-file", path]), 2, /no cases file/);
    expectLine(await headscope(["probe", "function-vector", "--model", GQA]), 2, /needs cases/);
  });
});

describe("steer", () => {
  const vector = Array.from({ length: 32 }, (_, i) => Math.sin(i));
  const prompt = async (): Promise<string> => {
    const path = join(folder, "prompt.json");
    await writeFile(path, JSON.stringify([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])); // biome-ignore format: one line
    return path;
  };

  test("adds a vector from a JSON array, a safetensors file or a function vector's document alike", async () => {
    const steered = ["steer", "--model", GQA, "--tokens-file", await prompt(), "--layer", "0", "--scale", "-2", "--json"]; // biome-ignore format: one line
    const paths = ["vector.json", "document.json", "vector.safetensors"].map((name) => join(folder, name));
    await writeFile(paths[0]!, JSON.stringify(vector));
    await writeFile(paths[1]!, JSON.stringify({ format: "headscope.head-scores/1", vector }));
    const other = { dtype: "F32", shape: [1], data: new Float32Array(1) } as const;
    const tensors = { other, direction: { dtype: "F32", shape: [1, 32], data: Float32Array.from(vector) } as const };
    await writeFile(paths[2]!, encodeSafetensors(tensors));
    const out = join(folder, "steered.safetensors");
    const runs = [];
    for (const path of [paths[0]!, paths[1]!, `${paths[2]}#direction`])
      runs.push(await headscope([...steered, "--vector", path, "--positions", "0,3", "--out", out]));
    const [first, ...others] = runs.map(({ stdout }) => JSON.parse(stdout));
    expect(first).toMatchObject({
      layer: 0,
      positions: [0, 3],
      scale: -2,
      norm: expect.closeTo(Math.hypot(...vector), 4),
    });
    expect(first.steered.top).toHaveLength(5);
    expect(first.steered).not.toEqual(first.base);
    for (const run of others) expect(run.steered.top[0].logit).toBeCloseTo(first.steered.top[0].logit, 4);
    const logits = (await readSafetensors(out)).tensors.get("logits")!;
    expect(logits.shape).toEqual([2, 5, 97]);
    const last = Array.from(logits.data.slice(4 * 97, 5 * 97) as Float32Array);
    expect(Math.max(...last)).toBeCloseTo(first.steered.top[0].logit, 5);
    const text = await headscope([...steered.slice(0, -1), "--vector", paths[0]!]);
    expect(text.stdout).toContain("behind layer 0 at all positions");
    const unnamed = ["--vector", paths[2]!];
    expectLine(await headscope([...steered, ...unnamed]), 1, /holds 2 tensors/);
    expectLine(await headscope([...steered, "--vector", `${paths[2]}#directoin`]), 2, /did you mean direction/);
  });

  test("refuses vectors, layers and positions that do not fit", async () => {
    const path = join(folder, "short.json");
    await writeFile(path, "[1, 2, 3]");
    const steered = ["steer", "--model", GQA, "--tokens-file", await prompt()];
    expectLine(
      await headscope([...steered, "--layer", "0", "--vector", path]),
      1,
      /short\.json: the vector has 3 numbers/,
    );
    await writeFile(path, JSON.stringify([...vector.slice(1), "x"]));
    expectLine(await headscope([...steered, "--layer", "0", "--vector", path]), 1, /short\.json holds "x"/);
    const model = { ref: "another", layers: 2, heads: 4, kvHeads: 4 };
    await writeFile(path, JSON.stringify({ format: "headscope.head-scores/1", model, vector }));
    expectLine(await headscope([...steered, "--layer", "0", "--vector", path]), 1, /short\.json is for another/);
    await writeFile(path, "[]");
    expectLine(await headscope([...steered, "--layer", "0", "--vector", path]), 1, /holds no number/);
    await writeFile(path, JSON.stringify(vector));
    expectLine(await headscope([...steered, "--layer", "2", "--vector", path]), 2, /no layer 2/);
    expectLine(await headscope([...steered, "--layer", "0", "--vector", path, "--positions", "5"]), 2, /no position 5/);
    expectLine(await headscope([...steered, "--layer", "0", "--vector", path, "--positions", "end"]), 2, /all, last/);
    expectLine(await headscope([...steered, "--layer", "0", "--vector", join(folder, "none.json")]), 1, /none\.json/);
  });
});

describe("probe pattern", () => {
  test("takes an expression or a file of pairs, on rows of any lengths", async () => {
    const [path, pairs] = [join(folder, "rows.json"), join(folder, "pairs.json")];
    await writeFile(path, "[[3, 1, 4, 1, 5, 9], [2, 7, 1]]");
    await writeFile(pairs, "[[1, 0], [2, 1]]");
    const probed = ["probe", "pattern", "--model", GQA, "--tokens-file", path];
    const spelt = await headscope([...probed, "--param", "expression=key == query - 1 and query < 3", "--json"]);
    const listed = await headscope([...probed, "--pattern-file", pairs, "--json"]);
    expect(JSON.parse(listed.stdout).metrics).toEqual(JSON.parse(spelt.stdout).metrics);
    expectLine(await headscope([...probed, "--param", "expression=key == process"]), 2, /"process" is unexpected/);
    expectLine(await headscope([...probed, "--pattern-file", path]), 2, /parameter pairs/);
    expectLine(await headscope(probed), 2, /no pattern is given/);
    expectLine(await headscope(["probe", "induction", "--model", GQA, "--pattern-file", pairs]), 2, /unknown parameter "pairs"/); // biome-ignore format: one line
  });
});

describe("contexts", () => {
  test("are printed with their tokens, of a text or of rows", async () => {
    const [text, rows] = [join(folder, "corpus.txt"), join(folder, "corpus.json")];
    await writeFile(text, "the cat sat on the mat and the dog sat on the log ".repeat(6));
    await writeFile(rows, JSON.stringify([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])); // biome-ignore format: one line
    const looked = ["contexts", "--heads", "0.1,1.0", "--model"];
    const ofText = await headscope([...looked, "test/fixtures/formats/llama-tiny", "--corpus-file", text, "--length", "8", "--rows", "3", "--json"]); // biome-ignore format: one line
    const document = JSON.parse(ofText.stdout);
    expect(document).toMatchObject({ rows: 3, length: 8 });
    expect(document.heads[0].contexts[0].keyToken).toHaveProperty("text");
    const ofRows = await headscope([...looked, GQA, "--tokens-file", rows, "--top", "1"]);
    expect(ofRows.stdout).toContain("2 rows of 5 tokens");
    expectLine(await headscope([...looked, GQA, "--corpus-file", text]), 1, /takes no text/);
    expectLine(await headscope([...looked, GQA]), 2, /no corpus/);
    await writeFile(text, "");
    expectLine(await headscope([...looked, "test/fixtures/formats/llama-tiny", "--corpus-file", text]), 1, /corpus\.txt has/); // biome-ignore format: one line
  });
});

describe("linear-probe", () => {
  test("prints accuracies by layer with their control", async () => {
    const path = join(folder, "examples.json");
    const examples = Array.from({ length: 20 }, (_, e) => ({
      tokens: [e + 3, (7 * e) % 90, 1 + (e % 2)],
      label: e % 2,
    }));
    await writeFile(path, JSON.stringify(examples));
    const probed = ["linear-probe", "--model", GQA, "--examples-file", path];
    const { stdout } = await headscope([...probed, "--method", "logistic", "--at", "hook_resid_pre", "--json"]);
    const found = JSON.parse(stdout);
    expect(promptProbesSchema.parse(found)).toMatchObject({
      classes: ["0", "1"],
      train: 14,
      test: 6,
      method: "logistic",
    });
    expect(found.layers).toHaveLength(2);
    expect(found.layers[0]).toMatchObject({ layer: 0, score: 1 });
    expect((await headscope([...probed, "--layers", "1"])).stdout).toContain("ridge probe");
    expectLine(await headscope([...probed, "--layers", "2"]), 2, /no layer 2/);
    expectLine(await headscope([...probed, "--position", "3"]), 2, /none at position 3/);
    expectLine(await headscope([...probed, "--test", "1"]), 2, /test cannot be 1/);
    expectLine(await headscope([...probed, "--steps", "2"]), 2, /--steps goes with --target/);
    expectLine(await headscope([...probed, "--position", "scored"]), 2, /goes with --target/);
    expectLine(await headscope([...probed, "--target", "moment"]), 2, /cannot go together/);
    expectLine(await headscope(probed.slice(0, 3)), 2, /nothing to read/);
    expectLine(await headscope([...probed.slice(0, 3), "--target", "moment"]), 2, /--target is for runs/);
    await writeFile(path, JSON.stringify([...examples, { tokens: [1] }]));
    expectLine(await headscope(probed), 1, /examples\.json: case 20: label is missing/);
  });
});

describe("features", () => {
  const identity = Array.from({ length: 32 }, (_, f) => Array.from({ length: 32 }, (_, d) => (d === f ? 1 : 0)));

  test("are printed by position, and taken out", async () => {
    const [dictionary, rows] = [await mkdtemp(join(folder, "sae-")), join(folder, "rows.json")];
    await saveDictionary(dictionary, { hook: "blocks.0.hook_resid_post", W_enc: identity, W_dec: identity });
    await writeFile(rows, "[[3, 1, 4, 1, 5], [2, 7, 1]]");
    const read = ["features", "--model", GQA, "--dictionary", dictionary, "--tokens-file", rows];
    const plain = JSON.parse((await headscope([...read, "--json", "--top", "3"])).stdout);
    expect(plain).toMatchObject({ hook: "blocks.0.hook_resid_post", dictionary: { architecture: "standard", features: 32, trainedOn: "random" } }); // biome-ignore format: one line
    expect(plain.rows.map((row: unknown[]) => row.length)).toEqual([5, 3]);
    expect(plain.largest).toHaveLength(3);
    expect(plain.ablated).toBeUndefined();
    const { feature } = plain.largest[0];
    const { stdout } = await headscope([...read, "--json", "--ablate", `${feature},0`, "--scale", "-1"]);
    const { ablated } = JSON.parse(stdout);
    expect(ablated).toMatchObject({ features: [feature, 0], scale: -1 });
    expect(ablated.changed.loss).not.toBeCloseTo(ablated.clean.loss, 4);
    expect((await headscope([...read, "--ablate", "3"])).stdout).toContain("without 3");
    expectLine(await headscope([...read, "--ablate", "32"]), 2, /no feature 32/);
    expectLine(await headscope([...read, "--scale", "2"]), 2, /--ablate/);
    expectLine(await headscope([...read, "--at", "blocks.1.hook_resid_post"]), 1, /is a dictionary of blocks\.0/);
    await saveDictionary(dictionary, { W_enc: [[1]], W_dec: [[1]], hook: "blocks.0.hook_resid_post" });
    expectLine(await headscope(read), 1, /reads 1 numbers/);
    expectLine(await headscope(read.with(4, folder)), 1, /cfg\.json/);
  });
});

describe("icv", () => {
  test("writes interventions that other commands take", async () => {
    const [examples, rows, out] = ["demonstrations.json", "rows.json", "vectors.json"].map((name) => join(folder, name)); // biome-ignore format: one line
    await writeFile(examples!, JSON.stringify([{ source: [3, 1, 4], target: [9, 2, 6, 5] }, { source: [8, 8], target: [8, 9] }])); // biome-ignore format: one line
    await writeFile(rows!, "[[3, 1, 4, 1, 5], [2, 7, 1]]");
    const made = ["icv", "--model", GQA, "--examples-file", examples!, "--strength", "0.5"];
    const run = await headscope([...made, "--tokens-file", rows!, "--out", out!, "--json"]);
    const document = JSON.parse(run.stdout);
    expect(document).toMatchObject({ examples: 2, strength: 0.5 });
    expect(document.layers.map(({ vector }: { vector: unknown[] }) => vector.length)).toEqual([32, 32]);
    const again = await headscope([
      "ablate",
      "--model",
      GQA,
      "--tokens-file",
      rows!,
      "--interventions",
      out!,
      "--json",
    ]);
    expect(JSON.parse(again.stdout).changed.loss).toBeCloseTo(document.effect.changed.loss, 6);
    expect((await headscope([...made, "--layers", "1"])).stdout).toContain("from 2 examples");
    expectLine(await headscope([...made, "--layers", "2"]), 2, /no layer 2/);
    await writeFile(examples!, JSON.stringify([{ source: [3], target: [3] }]));
    expectLine(await headscope(made), 1, /demonstrations\.json: case 0: source and target/);
  });
});
