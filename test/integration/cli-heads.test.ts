import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { HeadWeights } from "../../backend/circuits/weights/head-weights.ts";
import { readScores } from "../../backend/heads/files.ts";
import { buildCli, type CliRun } from "../helpers/cli.ts";
import { headscope } from "../helpers/headscope.ts";

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
