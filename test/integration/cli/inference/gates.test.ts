import { existsSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { commandFolder, expectLine, ok } from "../../../helpers/cli.ts";
import { headscope } from "../../../helpers/headscope.ts";

const MODEL = ["--model", "toy-induction"];
const SETTINGS = {
  ...{ num_steps: 20, lr: 0.05, reg_weight: 0.002, sinks: 2, recent: 8, num_passkeys: 2, passkey_length: 6 },
  ...{ context_length_min: 64, context_length_max: 64, context_lengths_num_intervals: 1 },
};
const PARAMS = Object.entries(SETTINGS).flatMap(([name, value]) => ["--param", `${name}=${value}`]);
const { at, file } = commandFolder();

interface Scores {
  readonly cost: { readonly seconds: number; readonly forwards: number };
  readonly metrics: { readonly gate: { readonly values: number[][] } };
}

interface Agreement {
  readonly finders: { readonly name: string; readonly cost?: object }[];
  readonly correlation: (number | null)[][];
}

describe("train-gates", () => {
  test("writes scores of KV heads by which duo-attention chooses, and an export a pattern folder", async () => {
    const gates = at("gates.json");
    const { metrics, cost } = ok(
      await headscope(["train-gates", ...MODEL, ...PARAMS, "--out", gates, "--json"]),
    ).json<Scores>();
    expect(cost.forwards).toBe(3 * 20);
    expect(existsSync(`${gates}.checkpoint`)).toBe(false);
    const row = file("row.json", [Array.from({ length: 40 }, (_, i) => (7 * i) % 100)]);
    const policy = ["--policy", "duo-attention", "--param", `gates=${gates}`, "--param", "ratio=0.5"];
    const sizes = ["--param", "sinks=1", "--param", "recent=4", "--max-tokens", "2", "--json"];
    const { cache } = ok(await headscope(["generate", ...MODEL, "--tokens-file", row, ...policy, ...sizes])).json<{
      cache: { kept: number[][][] };
    }>();
    const whole = cache.kept.flatMap((heads, l) => heads.flatMap((kept, h) => (kept.length > 5 ? [`${l}.${h}`] : [])));
    expect(whole).toHaveLength(4);
    expect(whole).toContain("1.1"); // the induction head
    ok(await headscope(["export", "duo-attention", "--scores", gates, "--out", at("pattern")]));
    const rows = readFileSync(at("pattern/full_attention_heads.tsv"), "utf8").trim().split("\n");
    expect(rows.map((line) => line.split("\t").map(Number))).toEqual(metrics.gate.values);
  });

  test("refuses what it can't go on with, and unknown names, before a model is loaded", async () => {
    const out = ["--out", at("none.json"), "--model", "no-such-model"];
    expectLine(
      await headscope(["train-gates", ...out, "--resume"]),
      1,
      /no training to go on with.*none\.json\.checkpoint.*leave --resume out/,
    );
    expectLine(await headscope(["train-gates", ...out, "--for", "snapkv"]), 2, /unknown gate method/);
    expectLine(await headscope(["train-gates", ...out, "--param", "lr=0"]), 2, /lr/);
    const long = ["train-gates", ...MODEL, "--out", at("none.json"), "--param", "context_length_max=4096"];
    expectLine(await headscope(long), 2, /4096 tokens exceed the context of 512/);
  });
});

describe("heads compare", () => {
  test("puts scores of files and measured ones into one table, with what they cost", async () => {
    const induction = at("induction.json");
    ok(await headscope(["probe", "induction", ...MODEL, "--param", "length=8", "--out", induction]));
    const measure = ["--measure", "long-range,needle-attribution", "--keep", at("kept")];
    const params = ["--param", "long-range.length=160", "--param", "long-range.samples=1"];
    const questions = ["--param", "needle-attribution.length=64"];
    const { finders, correlation } = ok(
      await headscope(["heads", "compare", induction, ...MODEL, ...measure, ...params, ...questions, "--json"]),
    ).json<Agreement>();
    expect(finders.map(({ name }) => name)).toEqual(["induction", "long-range", "needle-attribution"]);
    expect(finders.every(({ cost }) => cost !== undefined)).toBe(true);
    expect(correlation[0]![2]).toBeGreaterThan(0.3);
    const kept = [at("kept/long-range.json"), at("kept/needle-attribution.json")];
    const text = ok(await headscope(["heads", "compare", induction, ...kept])).stdout;
    expect(text).toMatch(/long-range +\d/);
  });

  test("refuses one score alone, measures without a model, and scores of another model", async () => {
    const induction = at("induction.json");
    expectLine(await headscope(["heads", "compare", induction]), 2, /compared/);
    expectLine(await headscope(["heads", "compare", "--measure", "retrieval"]), 2, /--model/);
    const model = { ref: "other", layers: 1, heads: 2, kvHeads: 2 };
    const metrics = { x: { axis: "heads", values: [[1, 2]] } };
    const other = file("other.json", { format: "headscope.head-scores/1", model, probe: "x", metrics });
    expectLine(await headscope(["heads", "compare", induction, other]), 1, /other\.json/);
  });
});
