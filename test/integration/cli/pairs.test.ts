import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Pair } from "../../../backend/circuits/pairs.ts";
import { initBackend } from "../../../backend/runtime/backend.ts";
import { pairTasks } from "../../../synthetic-tasks/pairs/index.ts";
import { headscope } from "../../helpers/headscope.ts";

const MODEL = ["--model", "toy-induction"];

interface Answers {
  task: string;
  clean: number;
  corrupt: number;
  right: number;
  first: number;
  turned: number;
  pairs: Pair[];
  perPair: { kind: string; clean: number; corrupt: number; first: boolean }[];
}

let folder: string;
beforeAll(async () => {
  await initBackend();
  folder = await mkdtemp(join(tmpdir(), "headscope-pairs-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

test("pairs list and show name every task, its parameters and its source", async () => {
  const { stdout } = await headscope(["pairs", "list"]);
  for (const name of pairTasks.names()) expect(stdout).toMatch(new RegExp(`^${name} `, "m"));
  expect((await headscope(["pairs", "show", "ioi"])).stdout).toMatch(/order .*BABA/);
});

test("pairs writes a pair file that patch reads, with the answers of the model that learnt the task", async () => {
  const out = join(folder, "pairs.json");
  const run = await headscope(["pairs", "induction", ...MODEL, "--count", "12", "--seed", "3", "--out", out, "--json"]);
  const found = run.json<Answers>();
  const pairs = JSON.parse(await readFile(out, "utf8")) as Pair[];
  expect(found.pairs).toEqual(pairs);
  expect(pairs).toHaveLength(12);
  expect([found.right, found.first, found.turned]).toEqual([1, 1, 1]);
  expect(found.clean).toBeCloseTo(
    found.perPair.reduce((sum, { clean }) => sum + clean / 12, 0),
    5,
  );
  const patched = await headscope(["patch", ...MODEL, "--pair-file", out, "--node", "z", "--by", "head", "--json"]);
  const means = patched.json<{ clean: number; corrupt: number }>();
  expect(means.clean).toBeCloseTo(found.clean, 3);
  expect(means.corrupt).toBeCloseTo(found.corrupt, 3);
});

test("pairs shows how often the model is right, and some pairs, to people", async () => {
  const { stdout } = await headscope(["pairs", "induction", ...MODEL, "--count", "3"]);
  expect(stdout).toMatch(/3 pairs/);
  expect(stdout).toMatch(/prefers the answer in 100\.0 %/);
});

test.each([
  ["an unknown task", ["inductoin", ...MODEL], 2, /induction/],
  ["a parameter that it has not", ["induction", ...MODEL, "--param", "lenght=3"], 2, /length/],
  ["a task of words for a model without a tokenizer", ["ioi", ...MODEL], 1, /tokenizer/],
  ["more tokens than the model has", ["induction", ...MODEL, "--param", "length=500"], 1, /induction/],
  ["no model", ["induction"], 2, /--model/],
] as const)("pairs refuses %s in one line, and writes nothing", async (_, args, code, line) => {
  const out = join(folder, "refused.json");
  const run = await headscope(["pairs", ...args, "--out", out]);
  expect({ code: run.code, stdout: run.stdout }).toEqual({ code, stdout: "" });
  expect(run.stderr.trimEnd().split("\n")).toHaveLength(1);
  expect(run.stderr).toMatch(line);
  expect(await readdir(folder)).not.toContain("refused.json");
});
