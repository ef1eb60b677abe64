import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { describe, expect, test } from "vitest";
import type { HeadComparison } from "../../../backend/common/api/documents.ts";
import { commandFolder, expectLine, ROOT, spawnHeadscope } from "../../helpers/cli.ts";
import { headscope } from "../../helpers/headscope.ts";

const { at, file } = commandFolder();

/** Scores of a made-up model of 2 layers, 4 heads and 2 KV heads. */
const SCORES = {
  format: "headscope.head-scores/1",
  model: { ref: "made-up", layers: 2, heads: 4, kvHeads: 2 },
  probe: "induction",
  metrics: {
    induction: {
      axis: "heads",
      values: [
        [0.1, 0.2, 0.3, 0.4],
        [0.9, 0.5, 0.6, 0.7],
      ],
    },
  },
};

describe("help", () => {
  test("names every command, and --help of each ends with 0", async () => {
    const { code, stdout } = await headscope(["--help"]);
    expect(code).toBe(0);
    const commands = [...stdout.matchAll(/^ {2}([a-z]+) /gm)].map((match) => match[1]!);
    expect(commands).toEqual(
      expect.arrayContaining(
        "start doctor models tasks train runs jobs sweep experiment probes probe compare mask ablate patch circuit attribute lens policies generate needle forward export import definitions".split(
          " ",
        ),
      ),
    );
    for (const command of commands.filter((name) => name !== "help")) {
      const help = await headscope([command, "--help"]);
      expect({ command, code: help.code, stderr: help.stderr }).toEqual({ command, code: 0, stderr: "" });
    }
  });

  test("loads no package but the two that parse the command line", async () => {
    const packages = new Set<string>();
    const seen = new Set<string>();
    const follow = async (path: string): Promise<void> => {
      if (seen.has(path)) return;
      seen.add(path);
      const source = await readFile(path, "utf8");
      for (const [, from] of source.matchAll(/^(?:import|export)\s(?:[^"';]*?\sfrom\s)?"([^"]+)";$/gm)) {
        if (from!.startsWith(".")) await follow(join(dirname(path), from!));
        else if (!from!.startsWith("node:")) packages.add(from!);
      }
    };
    await follow(join(ROOT, "dist/cli/main.js"));
    expect([...packages].sort()).toEqual(["commander", "fastest-levenshtein"]);
  });

  test("without a command it is help on standard error, and 2", async () => {
    const { code, stdout, stderr } = await headscope([]);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toMatch(/^Usage: headscope/);
  });
});

describe("a wrong call is one line and exit code 2", () => {
  test.each([
    ["an unknown command", ["prob"], /unknown command "prob"; did you mean probe\?/],
    ["an unknown command like no other", ["xyzzy"], /unknown command "xyzzy"; did you mean /],
    ["an unknown subcommand", ["models", "pul"], /unknown command "pul"; did you mean pull\?/],
    ["an unknown option", ["doctor", "--jsno"], /unknown option "--jsno"; did you mean --json\?/],
    ["a misspelt option that is needed", ["mask", "--scor", "x"], /unknown option "--scor"; did you mean --scores/],
    [
      "an option that is missing",
      ["mask"],
      /required option "--scores <file>" not specified; see headscope mask --help/,
    ],
    [
      "a number that is none",
      ["mask", "--scores", "x", "--top", "many"],
      /--top cannot be "many"; give a whole number/,
    ],
    [
      "an unknown choice",
      ["patch", "--model", "x", "--pair-file", "x", "--node", "zz", "--by", "head"],
      /--node cannot be "zz"; give one of z, q/,
    ],
    ["an unknown model", ["models", "pull", "smolm2"], /unknown model "smolm2"; did you mean smollm2-135m/],
    ["an unknown format", ["export", "duo", "--out", "x"], /unknown export "duo"; did you mean .*duo-attention/],
    [
      "an unknown parameter",
      ["export", "duo-attention", "--out", "x", "--param", "snk=1"],
      /unknown parameter "snk" of export duo-attention; did you mean sink/,
    ],
    [
      "a parameter without a value",
      ["export", "csv", "--out", "x", "--param", "k"],
      /"k" is not a parameter; write it as name=value/,
    ],
    ["an unknown kind", ["definitions", "prob"], /unknown kind of definition "prob"; did you mean probes/],
  ])("%s", async (_, args, line) => {
    expectLine(await headscope(args), 2, line);
  });

  test("--verbose shows where it comes from", async () => {
    const { code, stderr } = await headscope(["models", "pull", "smolm2", "--verbose"]);
    expect(code).toBe(2);
    expect(stderr).toMatch(/\n {4}at /);
  });
});

describe("--json", () => {
  test.each([
    [["models", "list"]],
    [["doctor"]],
    [["definitions"]],
    [["probes", "list"]],
    [["probes", "show", "induction"]],
  ])("%s prints one document and nothing else", async (args) => {
    const run = await headscope([...args, "--json"]);
    expect(run.code).toBe(0);
    expect(run.json()).toBeTypeOf("object");
  });

  test("doctor prints its report with settings that no command works with, and exits as these do", async () => {
    const run = await spawnHeadscope(["doctor", "--json"], { env: { HEADSCOPE_THREADS: "many" } });
    expect(run.code).toBe(2);
    const { problems } = run.json<{ problems: { what: string; exitCode?: number }[] }>();
    expect(problems.find(({ what }) => what.includes("HEADSCOPE_THREADS"))).toMatchObject({ exitCode: 2 });
  });

  test("may stand before the command", async () => {
    const run = await headscope(["--json", "models", "list"]);
    expect(run.json<{ name: string }[]>().map(({ name }) => name)).toContain("toy-induction");
  });
});

describe("compare", () => {
  test("sets two models' heads beside each other by relative depth", async () => {
    const other = {
      ...SCORES,
      model: { ...SCORES.model, ref: "deeper", layers: 3 },
      metrics: { induction: { axis: "heads", values: [...SCORES.metrics.induction.values, [0, 0, 0, 1]] } },
    };
    const files = [file("first.json", SCORES), file("second.json", other)];
    const run = await headscope(["compare", ...files, "--top", "2"]);
    expect(run).toMatchObject({ code: 0, stderr: "" });
    expect(run.stdout).toContain(
      "The 2 best heads by induction lie at depth 1.00 in made-up (0.70 to 0.90) and 0.50 to 1.00 in deeper (0.90 to 1.00); the best of all, 1.0 and 2.3, at 1.00 and 1.00.",
    );
    const json = (await headscope(["compare", ...files, "--top", "2", "--json"])).json<HeadComparison>();
    expect(json.models.map(({ top }) => top.map(({ head, depth }) => [head, depth]))).toEqual([
      [
        ["1.0", 1],
        ["1.3", 1],
      ],
      [
        ["2.3", 1],
        ["1.0", 0.5],
      ],
    ]);
  });

  test("is refused in one line for scores of two probes, and for an unknown metric", async () => {
    const first = file("first.json", SCORES);
    const other = file("previous.json", { ...SCORES, probe: "previous-token" });
    expectLine(await headscope(["compare", first, other]), 1, /induction.*previous-token.*cannot be compared/);
    expectLine(
      await headscope(["compare", first, first, "--metric", "inducton"]),
      2,
      /metric of the induction scores "inducton"; did you mean induction\?/,
    );
  });
});

describe("mask and export", () => {
  test("take scores to a DuoAttention folder", async () => {
    const scores = file("scores.json", SCORES);
    const mask = await headscope([
      "mask",
      "--scores",
      scores,
      "--top",
      "1",
      "--sink",
      "4",
      "--out",
      at("mask.json"),
      "--json",
    ]);
    expect(mask.json()).toMatchObject({
      kvHeads: [
        ["streaming", "streaming"],
        ["retrieval", "streaming"],
      ],
      sink: 4,
      recent: 256,
    });
    expect(JSON.parse(await readFile(at("mask.json"), "utf8"))).toEqual(mask.json());
    const run = await headscope(["export", "duo-attention", "--mask", at("mask.json"), "--out", at("duo")]);
    expect(run).toMatchObject({ code: 0, stdout: `Written to ${at("duo")}: config.json, full_attention_heads.tsv.\n` });
    const rows = (await readFile(at("duo/full_attention_heads.tsv"), "utf8")).trim().split("\n");
    expect(rows.map((row) => row.split("\t").map(Number))).toEqual([
      [0, 0],
      [1, 0],
    ]);
  });

  test.each([
    ["no rule", [], 2, /no rule to choose heads by/],
    ["two rules", ["--top", "1", "--threshold", "0.5"], 2, /top and threshold cannot go together/],
    [
      "an unknown metric",
      ["--top", "1", "--metric", "inductoin"],
      2,
      /unknown metric of the induction scores "inductoin"; did you mean induction/,
    ],
    ["more heads than there are", ["--top", "5"], 2, /top cannot be 5; give a whole number from 0 to 4/],
  ])("%s writes nothing", async (_, rule, code, line) => {
    const scores = file("scores.json", SCORES);
    expectLine(await headscope(["mask", "--scores", scores, "--out", at("none.json"), ...rule]), code, line);
    expect(existsSync(at("none.json"))).toBe(false);
  });

  test("a scores file that is not one is refused with its path", async () => {
    const wrong = file("wrong.json", { format: "other" });
    expectLine(
      await headscope(["mask", "--scores", wrong, "--top", "1"]),
      1,
      /wrong\.json is not a headscope\.head-scores\/1 file/,
    );
    const torn = file("torn.json", '{"format": "headscope');
    expectLine(await headscope(["mask", "--scores", torn, "--top", "1"]), 1, /torn\.json is not JSON at line 1/);
  });

  test("export refuses scores of another model than --model, and names a folder in the way of a file", async () => {
    const scores = file("made-up.json", SCORES);
    const csv = ["export", "csv", "--scores", scores, "--model", "toy-induction", "--out", at("other.csv")];
    expectLine(await headscope(csv), 1, /made-up\.json is for made-up .* but the model is toy-induction/);
    expect(existsSync(at("other.csv"))).toBe(false);
    const run = await headscope(["mask", "--scores", scores, "--top", "1", "--out", at(".")]);
    expectLine(run, 1, new RegExp(`headscope: ${at(".")}: it is a folder`));
  });
});

describe("standard output", () => {
  test("may be closed by its reader", () => {
    const line = `${process.execPath} ${join(ROOT, "dist/cli/main.js")} definitions --json | head -c 1`;
    const { stdout, stderr, status } = spawnSync("bash", ["-o", "pipefail", "-c", line], { encoding: "utf8" });
    expect({ stdout, stderr, status }).toEqual({ stdout: "{", stderr: "", status: 0 });
  });
});
