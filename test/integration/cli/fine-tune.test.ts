import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readRunCheckpoint } from "../../../backend/models/sources/run-checkpoint.ts";
import { checkpointFile } from "../../../backend/paths.ts";
import { buildCli, type CliRun } from "../../helpers/cli.ts";
import { headscope } from "../../helpers/headscope.ts";

const MODEL = ["d_model=16", "n_heads=2", "n_layers=1"];
const SMALL = ["vocabulary=16", "batch=8", "evaluation_rows=8", "points=3", "checkpoints=3"];
const params = (...all: string[]) => all.flatMap((param) => ["--param", param]);

let home: string;
const run = (...args: string[]): Promise<CliRun> => headscope(args, { cwd: home, env: { HEADSCOPE_HOME: home } });
const checkpoint = (id: string, step: number) => readRunCheckpoint(checkpointFile(id, step, home));

beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), "headscope-tune-"));
  await buildCli();
  const made = await run("train", "induction", "--steps", "6", "--probes", "none", ...params(...MODEL, ...SMALL));
  expect(made.stderr).toContain("training induction-1");
});
afterAll(() => rmSync(home, { recursive: true }));

describe("train --from", () => {
  test("begins with another run's weights and its model, on other parameters of the task", async () => {
    const tuned = params(...SMALL, "context=48", "segment_max=16", "learning_rate=0.01");
    const made = await run(
      "train",
      "induction",
      "--from",
      "run:induction-1@2",
      "--steps",
      "4",
      "--probes",
      "none",
      ...tuned,
      "--json",
    );
    expect(made.json()).toMatchObject({ run: "induction-2", status: "done", step: 4 });
    const [source, first] = [await checkpoint("induction-1", 2), await checkpoint("induction-2", 0)];
    expect(first.parameters).toEqual(source.parameters);
    expect(first.vectors.every((vector) => vector.every((x) => x === 0))).toBe(true);
    const shown = (await run("runs", "show", "induction-2", "--json")).json<{ spec: { training: { from: string } } }>();
    expect(shown.spec.training.from).toBe("run:induction-1@2");
  });

  test("takes the last checkpoint where no step is named", async () => {
    const made = await run(
      "train",
      "induction",
      "--from",
      "run:induction-1",
      "--steps",
      "1",
      "--probes",
      "none",
      ...params(...SMALL),
      "--json",
    );
    const { run: id } = made.json<{ run: string }>();
    expect((await checkpoint(id, 0)).parameters).toEqual((await checkpoint("induction-1", 6)).parameters);
  });

  test("goes on to another task of the same tokens", async () => {
    const small = ["batch=8", "evaluation_rows=8", "points=3", "checkpoints=2", "context=32", "pairs=4", "steps=2"];
    const shown = await run("tasks", "show", "associative-recall", "--json");
    expect(shown.code).toBe(0);
    const made = await run(
      "train",
      "associative-recall",
      "--from",
      "run:induction-1",
      ...params("vocabulary=16", ...small),
      "--json",
    );
    expect({ code: made.code, stderr: made.stderr }).toMatchObject({ code: 0 });
  });
});

describe("a soft prompt", () => {
  const common = ["--probes", "none", "--steps", "2", ...params(...SMALL), "--json"];
  const tune = async (from: string, ...given: string[]) => {
    const made = await run("train", "induction", "--from", from, ...params(...given), ...common);
    return { ...made, id: made.code === 0 ? made.json<{ run: string }>().run : "" };
  };

  test("is put before a run's weights, stays with them, and is taken off", async () => {
    const first = await checkpoint("induction-1", 2);
    const prompted = await tune("run:induction-1@2", "soft_prompt=3", "train_only=soft_prompt");
    const [before, after] = [await checkpoint(prompted.id, 0), await checkpoint(prompted.id, 2)];
    const size = first.parameters.length;
    for (const each of [before, after]) expect(each.parameters.slice(0, size)).toEqual(first.parameters);
    expect(after.parameters.slice(size)).not.toEqual(before.parameters.slice(size));
    const weights = await tune(`run:${prompted.id}`, "freeze=soft_prompt");
    const tuned = await checkpoint(weights.id, 2);
    expect(tuned.parameters.slice(size)).toEqual(after.parameters.slice(size));
    const bare = await tune(`run:${weights.id}`, "soft_prompt=0");
    expect((await checkpoint(bare.id, 0)).parameters).toEqual(tuned.parameters.slice(0, size));
  });

  test("of another number of vectors is refused, and so is a mean with a run without one", async () => {
    const prompted = await tune("run:induction-1@2", "soft_prompt=3");
    const other = await tune(`run:${prompted.id}`, "soft_prompt=2");
    expect(other.code).not.toBe(0);
    expect(other.stderr).toContain("soft_prompt [3,16] there, [2,16] here");
    const soup = await run("runs", "soup", "induction-1", prompted.id);
    expect(soup.code).not.toBe(0);
    expect(soup.stderr).toContain("soft_prompt 3 there, none here");
  });
});

describe("runs soup", () => {
  beforeAll(async () => {
    for (const rate of ["0.003", "0.01"])
      await run(
        "train",
        "induction",
        "--from",
        "run:induction-1@2",
        "--steps",
        "5",
        "--probes",
        "none",
        ...params(...SMALL, `learning_rate=${rate}`),
      );
  });
  const ids = async () =>
    (await run("runs", "list", "--json"))
      .json<{ id: string; step: number }[]>()
      .filter(({ step }) => step === 5)
      .map(({ id }) => id);

  test("makes a run of the mean of weights, which other commands take", async () => {
    const members = (await ids()).slice(0, 2) as [string, string];
    const soup = (await run("runs", "soup", ...members, "--json")).json<{
      run: string;
      metrics: object;
      members: object[];
    }>();
    const [a, b, mean] = [
      await checkpoint(members[0], 5),
      await checkpoint(members[1], 5),
      await checkpoint(soup.run, 5),
    ];
    mean.parameters.forEach((x, i) => {
      expect(x).toBe(Math.fround((a.parameters[i]! + b.parameters[i]!) / 2));
    });
    const shown = (await run("runs", "show", soup.run, "--json")).json();
    expect(shown).toMatchObject({
      status: "done",
      step: 5,
      metrics: soup.metrics,
      spec: { soup: members.map((id) => `run:${id}@5`) },
    });
    expect((await run("probe", "induction", "--model", `run:${soup.run}`, "--json")).code).toBe(0);
    expect((await run("train", "--resume", soup.run)).code).toBe(0);
    expect((await run("runs", "show", soup.run)).stdout).toContain(`soup=run:${members[0]}@5,run:${members[1]}@5`);
  });

  test("of runs that learned other classes is refused", async () => {
    const small = params(...MODEL, "batch=8", "evaluation_rows=8", "checkpoints=2", "points=2", "steps=1");
    await run("train", "gaussian-classification", "--seeds", "0,1", ...small);
    const made = await run("runs", "soup", "gaussian-classification-1", "gaussian-classification-2");
    expect(made).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/learned another world .*\(seed 1\) than .*\(seed 0\)/),
    });
  });

  test("greedy is no worse on the rows that it is chosen by", async () => {
    const members = (await ids()).slice(0, 2);
    const made = await run("runs", "soup", ...members, "--method", "greedy", "--metric", "in-context.loss", "--json");
    const soup = made.json<{ members: { value: number; chosen: boolean }[] }>();
    const best = Math.min(...soup.members.map(({ value }) => value));
    expect(soup.members.find(({ value }) => value === best)!.chosen).toBe(true);
  });
});

describe("weights that make no sense together", () => {
  test.each([
    [
      "another vocabulary",
      ["train", "induction", "--from", "run:induction-1", ...params("vocabulary=32")],
      /do not fit: .*d_vocab 16 there, 32 here/,
    ],
    [
      "another width",
      ["train", "induction", "--from", "run:induction-1", ...params("vocabulary=16", "d_model=32")],
      /d_model 16 there, 32 here/,
    ],
    ["another task's shape", ["train", "linear-regression", "--from", "run:induction-1"], /d_input none there, 8 here/],
    ["no run", ["train", "induction", "--from", "induction-1"], /from "induction-1" names no run; write run:ID/],
    ["an unknown run", ["train", "induction", "--from", "run:induction-77"], /unknown run "induction-77"/],
    [
      "a step without checkpoint",
      ["train", "induction", "--from", "run:induction-1@3"],
      /no checkpoint at step 3; choose one of 0, 1, 2, 6/,
    ],
    [
      "from given twice",
      ["train", "induction", "--from", "run:induction-1", "--param", "from=run:induction-1"],
      /from is given twice/,
    ],
    [
      "from beside --resume",
      ["train", "--resume", "induction-1", "--from", "run:induction-1"],
      /takes no task or parameters/,
    ],
    ["a soup of one run", ["runs", "soup", "induction-1"], /a soup needs two runs or more/],
    [
      "a soup of one run twice",
      ["runs", "soup", "induction-1", "run:induction-1@6"],
      /run:induction-1@6 is given twice/,
    ],
    [
      "a soup by a measure that is none",
      ["runs", "soup", "run:induction-1@2", "run:induction-1@6", "--metric", "in-context.acuracy"],
      /has no measure "in-context.acuracy"; did you mean in-context.accuracy/,
    ],
  ])("are refused: %s", async (_, args, message) => {
    const before = (await run("runs", "list", "--json")).stdout;
    const made = await run(...args);
    expect({ code: made.code, stdout: made.stdout }).toEqual({ code: 2, stdout: "" });
    expect(made.stderr).toMatch(message);
    expect((await run("runs", "list", "--json")).stdout).toBe(before);
  });
});
