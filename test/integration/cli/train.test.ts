import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { runProbesSchema } from "../../../backend/common/api/linear-probes.ts";
import { buildCli, type CliRun } from "../../helpers/cli.ts";
import { headscope } from "../../helpers/headscope.ts";

const SMALL = ["d_model=16", "n_heads=2", "vocabulary=16", "batch=8", "evaluation_rows=8", "points=3", "checkpoints=3"];
const params = (...all: string[]) => all.flatMap((param) => ["--param", param]);

interface Trained {
  run: string;
  status: string;
  seed: number;
  step: number;
  metrics: Record<string, number>;
  checkpoints: number[];
}

let home: string;
const run = (...args: string[]): Promise<CliRun> => headscope(args, { cwd: home, env: { HEADSCOPE_HOME: home } });
beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), "headscope-train-"));
  await buildCli();
});
afterAll(() => rmSync(home, { recursive: true }));

describe("train", () => {
  let trained: Trained;
  beforeAll(async () => {
    const made = await run("train", "induction", "--steps", "6", ...params(...SMALL), "--json");
    expect(made.stderr).toContain("training induction-1");
    trained = made.json<Trained>();
  });

  test("prints the run, its last measurements and its checkpoints, which runs list and show know", async () => {
    expect(trained).toMatchObject({ run: "induction-1", status: "done", seed: 0, step: 6, checkpoints: [0, 1, 2, 6] });
    expect(Object.keys(trained.metrics)).toEqual(
      expect.arrayContaining([
        "loss",
        "in-context.accuracy",
        "induction.induction[1.1]",
        "previous-token.previous-token[0.0]",
      ]),
    );
    const [list, show] = [await run("runs", "list", "--json"), await run("runs", "show", "induction-1", "--json")];
    expect(list.json<unknown[]>()).toMatchObject([{ id: "induction-1", task: "induction", status: "done", step: 6 }]);
    expect(show.json<{ metrics: object }>().metrics).toEqual(trained.metrics);
  });

  test("trains seeds together, each a run of its own, and the first of them is the run that was trained alone", async () => {
    const made = await run("train", "induction", "--steps", "6", "--seeds", "0,7", ...params(...SMALL), "--json");
    const { group, runs } = made.json<{ group: string; runs: Trained[] }>();
    expect(runs.map(({ run: id, seed }) => [id, seed])).toEqual([
      [group, 0],
      ["induction-3", 7],
    ]);
    for (const [name, value] of Object.entries(runs[0]!.metrics)) expect(value).toBeCloseTo(trained.metrics[name]!, 4);
    const diff = (await run("runs", "diff", "induction-2", "induction-3", "--json")).json<{ parameters: object }>();
    expect(diff.parameters).toEqual({ seed: [0, 7] });
  });

  test("gives models that every command takes by run:ID@step", async () => {
    const model = ["--model", "run:induction-1@2"];
    const tokens = join(home, "rows.json");
    writeFileSync(tokens, JSON.stringify([[0, 3, 4, 5, 3, 4, 5]]));
    for (const name of ["induction", "duplicate-token", "previous-token", "attention-sink", "retrieval"]) {
      const { model: of } = (await run("probe", name, ...model, "--json")).json<{ model: { ref: string } }>();
      expect({ name, ref: of.ref }).toEqual({ name, ref: "run:induction-1@2" });
    }
    const ablated = await run(
      "ablate",
      ...model,
      "--tokens-file",
      tokens,
      "--heads",
      "1.0",
      "--controls",
      "0",
      "--json",
    );
    expect(ablated.json<{ clean: { nll: number[][] } }>().clean.nll[0]).toHaveLength(6);
    const pair = join(home, "pair.json");
    writeFileSync(pair, JSON.stringify({ clean: [0, 3, 4, 3], corrupt: [0, 5, 4, 3], answer: 4, wrong: 6 }));
    const patched = await run("patch", ...model, "--pair-file", pair, "--into", "1.0,1.1", "--through", "k", "--json");
    expect(patched.json<{ patched: number[][] }>().patched.map((row) => row.length)).toEqual([2]);
    const out = join(home, "activations.safetensors");
    expect((await run("forward", ...model, "--tokens-file", tokens, "--names", "logits", "--out", out)).code).toBe(0);
    expect(existsSync(out)).toBe(true);
    const info = (await run("models", "info", "run:induction-1", "--json")).json<{ ref: string }>();
    expect(info.ref).toBe("run:induction-1@6");
  });

  test("of a task of vectors runs without probes, and says why a probe can't be taken", async () => {
    const small = params(
      "d_model=16",
      "n_heads=2",
      "n_layers=1",
      "batch=8",
      "evaluation_rows=8",
      "examples=4",
      "steps=3",
    );
    const made = (await run("train", "linear-regression", ...small, "--json")).json<Trained>();
    expect(made.metrics["loss"]).toBeGreaterThan(0);
    const probed = await run("probe", "induction", "--model", "run:linear-regression-1");
    expect(probed.code).toBe(2);
    expect(probed.stderr).toMatch(/this model reads vectors of \d+ numbers, not token ids/);
    const read = ["linear-probe", "--model", "run:linear-regression-1", "--target", "moment", "--rows", "60"];
    const last = runProbesSchema.parse((await run(...read, "--json")).json());
    expect(last).toMatchObject({ task: "linear-regression", metric: "r2", train: 42, test: 18, position: "scored" });
    expect(last.steps.map(({ step, layers }) => [step, layers.length])).toEqual([[3, 1]]);
    const all = runProbesSchema.parse((await run(...read, "--all-steps", "--json")).json());
    expect(all.steps.map(({ step }) => step)).toEqual(made.checkpoints);
    expect(all.steps.at(-1)).toEqual(last.steps[0]);
    expect((await run(...read, "--steps", "0,3")).stdout).toContain("R² and, in brackets");
    const refused = async (pattern: RegExp, ...more: string[]) => {
      const { code, stderr } = await run(...read, ...more);
      expect([code, stderr]).toEqual([2, expect.stringMatching(pattern)]);
    };
    await refused(/unknown saved step of run linear-regression-1 "9"/, "--steps", "9");
    await refused(/cannot go together/, "--steps", "0", "--all-steps");
    await refused(/target of task linear-regression/, "--target", "momentum");
    await refused(/logistic probes tell classes apart/, "--method", "logistic");
  });
});

describe("a wrong call is one line, and no run is made", () => {
  test.each([
    ["no task", ["train"], 2, /no task is given; give one of induction, /],
    ["an unknown task", ["train", "inducton"], 2, /unknown task "inducton"; did you mean induction/],
    [
      "an unknown parameter",
      ["train", "induction", "--param", "learning_rte=1"],
      2,
      /unknown parameter "learning_rte" of task induction; did you mean learning_rate/,
    ],
    ["steps given twice", ["train", "induction", "--steps", "3", "--param", "steps=4"], 2, /steps are given twice/],
    ["a seed given twice", ["train", "induction", "--seeds", "1,1"], 2, /--seeds cannot be "1,1"/],
    ["an unknown probe", ["train", "induction", "--probes", "inducton"], 2, /unknown probe "inducton"/],
    [
      "a probe on vectors",
      ["train", "linear-regression", "--probes", "induction"],
      2,
      /reads tokens, and the sequences of linear-regression are vectors/,
    ],
    ["K that is no multiple of L", ["train", "gaussian-classification", "--param", "K=33"], 2, /K 33 .*L 32/],
    ["N that B does not divide", ["train", "gaussian-classification", "--param", "B=3"], 2, /N 8 .*B 3/],
    ["a sequence that is too long", ["train", "induction", "--param", "segment_max=40"], 2, /more than context 64/],
    [
      "more memory than there is",
      ["train", "induction", "--param", "batch=99999999"],
      2,
      /needs about .* GiB, and this machine has/,
    ],
    ["an unknown run", ["train", "--resume", "induction-99"], 2, /unknown run "induction-99"/],
    ["parameters beside --resume", ["train", "induction", "--resume", "induction-1"], 2, /takes no task or parameters/],
    [
      "half of a path",
      ["patch", "--model", "toy-induction", "--pair-file", "x", "--into", "1.0"],
      2,
      /needs --through/,
    ],
  ])("%s", async (_, args, code, message) => {
    const before = existsSync(join(home, "runs")) ? readdirSync(join(home, "runs")) : [];
    const made = await run(...args);
    expect({ code: made.code, stdout: made.stdout }).toEqual({ code, stdout: "" });
    expect(made.stderr).toMatch(message);
    expect(made.stderr.trim().split("\n")).toHaveLength(1);
    expect(existsSync(join(home, "runs")) ? readdirSync(join(home, "runs")) : []).toEqual(before);
  });

  test("a run that diverges ends with 1, names the step, and keeps its last good checkpoint", async () => {
    const wild = params(...SMALL, "normalization_type=none", "optimiser=sgd", "learning_rate=1e30");
    const made = await run("train", "induction", "--steps", "50", "--probes", "none", ...wild);
    expect(made.code).toBe(1);
    expect(made.stderr).toMatch(
      /training diverged: the loss of seed 0 is no number at step \d+; .*checkpoint of step \d+ is kept/,
    );
    const all = (await run("runs", "list", "--json")).json<{ id: string; status: string }[]>();
    const failed = all.find(({ status }) => status === "failed")!;
    const [last] = readdirSync(join(home, "runs", failed.id))
      .sort()
      .reverse();
    expect(last).toMatch(/^step-\d+\.safetensors$/);
    expect(readFileSync(join(home, "runs", failed.id, last!)).length).toBeGreaterThan(1000);
    expect((await run("models", "info", `run:${failed.id}`)).code).toBe(0);
  });
});
