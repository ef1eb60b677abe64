import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, test } from "vitest";
import { initBackend } from "../../../backend/runtime/backend.ts";
import { commandFolder, expectLine } from "../../helpers/cli.ts";
import { headscope } from "../../helpers/headscope.ts";
import { circuitOracle } from "../../helpers/oracles/circuits.ts";

const MODEL = ["--model", "toy-induction"];
// BOS, then 7 followed by 9 among other tokens, then 7 again: 9 is next. Without the first 7 nothing says so.
const PAIR = {
  clean: [0, 20, 7, 9, 33, 41, 52, 7],
  corrupt: [0, 20, 61, 9, 33, 41, 52, 7],
  answer: 9,
  wrong: 33,
};

const { at, file } = commandFolder();
let pair: string;
let tokens: string;
beforeAll(async () => {
  await initBackend();
  pair = file("pair.json", PAIR);
  tokens = file("tokens.json", [PAIR.clean]);
});

async function json<T>(args: string[]): Promise<T> {
  const run = await headscope([...args, "--json"]);
  expect({ code: run.code, stderr: run.stderr }).toEqual({ code: 0, stderr: "" });
  return run.json<T>();
}

describe("attribute", () => {
  interface Attribution {
    logitDiff: number;
    sum: number;
    parts: Record<string, unknown> & { heads: number[][] };
  }

  test("finds the induction head, from a pair and from tokens with answers alike", async () => {
    const result = await json<Attribution>(["attribute", ...MODEL, "--pair-file", pair]);
    expect(Object.keys(result.parts)).toEqual([
      "embed",
      "posEmbed",
      "heads",
      "mlps",
      "attnBias",
      "finalNormBias",
      "unembedBias",
      "softCap",
    ]);
    expect(result.sum).toBeCloseTo(result.logitDiff, 3);
    expect(result.parts.heads[1]![1]! / result.logitDiff).toBeGreaterThan(0.9);
    const answers = ["--tokens-file", tokens, "--answer", "9", "--wrong", "33"];
    expect(await json(["attribute", ...MODEL, ...answers])).toEqual(result);
    const { stdout } = await headscope(["attribute", ...MODEL, "--pair-file", pair]);
    expect(stdout).toMatch(/heads +\+[\d.]+\n/);
    expect(stdout.split("\n").find((line) => /^ {2}\d\.\d /.test(line))).toMatch(/^ {2}1\.1 /);
  });

  test.each([
    ["neither pair nor prompt", [], 2, /no prompt is given/],
    ["both", ["--pair-file", "PAIR", "--tokens-file", "TOKENS"], 2, /cannot go together/],
    ["a prompt without answers", ["--tokens-file", "TOKENS", "--answer", "9"], 2, /--wrong is missing/],
    ["a position that there is not", ["--pair-file", "PAIR", "--position", "8"], 2, /8 tokens, none at position 8/],
    ["a text, of a model without a tokenizer", ["--text", "a", "--answer", "9", "--wrong", "3"], 1, /no tokenizer/],
    ["an answer outside the vocabulary", ["--tokens-file", "TOKENS", "--answer", "999", "--wrong", "3"], 1, /999/],
    ["neurons of a model without MLPs", ["--pair-file", "PAIR", "--neurons", "0"], 2, /no MLP/],
  ])("refuses %s", async (_, args, code, line) => {
    const named = args.map((arg) => ({ PAIR: pair, TOKENS: tokens })[arg] ?? arg);
    expectLine(await headscope(["attribute", ...MODEL, ...named]), code, line);
  });
});

describe("lens", () => {
  test("sees the answer behind the induction head alone", async () => {
    const { rows } = await json<{ rows: { at: string; answer: number; rank: number; top: { id: number }[] }[] }>([
      "lens",
      ...MODEL,
      "--pair-file",
      pair,
      "--top",
      "2",
    ]);
    expect(rows.map(({ at }) => at)).toEqual([
      "blocks.0.hook_resid_pre", "blocks.1.hook_resid_pre", "blocks.1.hook_resid_post",
    ]); // biome-ignore format: a table
    expect(rows[2]).toMatchObject({ rank: 0, top: [{ id: 9 }, {}] });
    expect(rows[1]!.answer).toBeLessThan(rows[2]!.answer / 10);
    const { stdout } = await headscope(["lens", ...MODEL, "--pair-file", pair]);
    expect(stdout).toMatch(/1 resid_post .* 0 +9 /);
  });

  test("patches an MLP's neurons in groups, and names the first of each", async () => {
    const model = ["--model", fileURLToPath(new URL("../../fixtures/families/llama-gqa", import.meta.url))];
    const neurons = ["--node", "mlp_post", "--by", "neurons", "--group", "20"];
    const some = file("family.json", circuitOracle("llama-gqa").pairs[0]!);
    const patched = ["patch", ...model, "--pair-file", some, ...neurons];
    const { patched: table, group } = await json<{ patched: number[][]; group: number }>(patched);
    const { exact } = circuitOracle("llama-gqa").patch.find(({ direction }) => direction === "denoise")!.mlp_post!;
    expect([group, table.map(({ length }) => length)]).toEqual([20, exact.map(({ length }) => length)]);
    expect(table[1]![0]).toBeCloseTo(exact[1]![0]!, 3);
    const { stdout } = await headscope(patched);
    expect(stdout).toMatch(/layer \d, neurons from (20|40|0) /);
    expectLine(await headscope([...patched.slice(0, -1), "5000"]), 2, /group of 5000 neurons/);
  });

  test("reads what interventions of a file have left", async () => {
    const interventions = file("changes.json", [{ at: "attn.hook_z", layer: 1, heads: [1], do: "zero" }]);
    const changed = [...MODEL, "--pair-file", pair, "--interventions", interventions];
    const { rows } = await json<{ rows: { answer: number; wrong: number }[] }>(["lens", ...changed]);
    expect(rows[2]!.answer - rows[2]!.wrong).toBeLessThan(1);
    const { parts } = await json<{ parts: { heads: number[][] } }>(["attribute", ...changed]);
    expect(parts.heads[1]![1]).toBeCloseTo(0, 4);
    const table = await json<{ clean: number }>(["patch", ...changed, "--node", "z", "--by", "layer"]);
    expect(table.clean).toBeLessThan(1);
    // Paths into the very head that writes nothing any more end there.
    const into = await json<{ clean: number; patched: (number | null)[][] }>([
      ...["patch", ...changed, "--into", "1.1", "--through", "k", "--direction", "noise"],
    ]);
    for (const value of into.patched[0]!) expect(value).toBeCloseTo(into.clean, 5);
    const each = await json<{ ablated: number[][]; clean: number }>(["ablate", ...changed, "--each", "head"]);
    expect(each.ablated[1]![1]).toBeCloseTo(each.clean, 5);
    const circuit = await json<{ notes: string[]; edges: { from: string; score: number }[] }>([
      ...["circuit", "find", ...changed, "--method", "exact"],
    ]);
    expect(circuit.notes[0]).toMatch(/under interventions at blocks\.1\.attn\.hook_z/);
    for (const { from, score } of circuit.edges) if (from === "a1.h1") expect(score).toBeCloseTo(0, 5);
    const stream = file("stream.json", [{ at: "blocks.0.hook_resid_mid", do: "scale", with: 2 }]);
    const circuits = ["circuit", "find", ...MODEL, "--pair-file", pair, "--method", "eap"];
    expectLine(
      await headscope([...circuits, "--interventions", stream]),
      1,
      /hook_resid_mid can't be changed in circuits/,
    );
    const own = file("own.json", [{ at: "attn.hook_z", layer: 1, do: "mean" }]);
    expectLine(await headscope(["probe", "induction", ...MODEL, "--interventions", own]), 2, /hold for every run/);
  });

  test("refuses a text to tune on that is not there, or that nobody can tokenise", async () => {
    const tuned = ["lens", ...MODEL, "--pair-file", pair, "--tuned-on"];
    expectLine(await headscope([...tuned, at("none.txt")]), 1, /there is no text to read at .*none\.txt/);
    expectLine(await headscope([...tuned, pair]), 1, /no tokenizer/);
  });

  test("warns with the number where the model does not prefer the answer", async () => {
    const swapped = file("swapped.json", { ...PAIR, answer: PAIR.wrong, wrong: PAIR.answer });
    const { stdout } = await headscope(["lens", ...MODEL, "--pair-file", swapped]);
    expect(stdout).toMatch(/does not prefer its answer \(logit difference -\d+\.\d+\)/);
  });
});

describe("patch", () => {
  interface Patched<T> {
    clean: number;
    corrupt: number;
    patched: T;
  }
  const patch = ["patch", ...MODEL];

  test("estimates from a gradient what it can run place by place", async () => {
    const table = [...patch, "--pair-file", pair, "--node", "z", "--by", "head"];
    const exact = await json<Patched<number[][]>>(table);
    const estimated = await json<Patched<number[][]>>([...table, "--method", "attribution"]);
    expect(estimated).toMatchObject({ clean: exact.clean, corrupt: exact.corrupt });
    expect(estimated.patched.map((row) => row.length)).toEqual([4, 4]);
    // What the last layer's heads write goes straight to the logits.
    expect(estimated.patched[1]![1]).toBeCloseTo(exact.patched[1]![1]!, 1);
  });

  test("patches places together, in either direction, by any metric", async () => {
    const places = [...patch, "--pair-file", pair, "--places", "1.1@-1,resid_pre:0"];
    const { clean, patched } = await json<Patched<number>>(places);
    expect(patched).toBeCloseTo(clean, 3);
    const noise = await json<Patched<number>>([...places, "--direction", "noise", "--metric", "probability"]);
    expect(noise.patched).toBeCloseTo(noise.corrupt, 4);
    expect((await headscope(places)).stdout).toMatch(/z:1\.1@-1, resid_pre:0 .* 100 %/);
  });

  test("patches edges from chosen senders into several receivers", async () => {
    const paths = [...patch, "--pair-file", pair, "--into", "1.1", "--through", "k", "--from", "0.0,embed"];
    const result = await json<Patched<(number | null)[][]> & { patchedEmbed: number }>(paths);
    expect(result.patched[0]!.slice(1)).toEqual([null, null, null]);
    expect(result.patched[0]![0]).toBeCloseTo(result.clean, 1);
    expect(result).toMatchObject({ mlps: "frozen", through: "k", direction: "denoise", receivers: ["1.1"] });
    expect((await headscope(paths)).stdout).toMatch(/into 1\.1 through k \(direct edge\)[\s\S]*0\.0 [\s\S]*embedding/);
    const logits = await json<Patched<number[][]>>([
      ...patch,
      "--pair-file",
      pair,
      "--into",
      "logits",
      "--direction",
      "noise",
    ]);
    expect(logits.patched.map((row) => row.length)).toEqual([4, 4]);
    expect(logits.patched[1]![1]).toBeCloseTo(logits.corrupt, 0);
  });

  test.each([
    ["the option of old", ["--into", "1.1", "--through", "k", "--form", "mlps"], 2, /unknown option "--form"/],
    ["heads without an input", ["--into", "1.1"], 2, /path patching into heads needs --through/],
    ["a path without receivers", ["--through", "k"], 2, /needs --into/],
    [
      "a sender behind its receiver",
      ["--into", "1.1", "--through", "k", "--from", "1.0"],
      2,
      /1\.0 does not come before/,
    ],
    ["a place that there is not", ["--places", "2.0"], 2, /no layer 2/],
    ["a place and a table", ["--places", "1.0", "--by", "head"], 2, /leave --by and --method out/],
    ["estimated paths", ["--into", "1.1", "--through", "k", "--method", "attribution"], 2, /leave --node, --by/],
    ["heads of a stream by position", ["--node", "mlp_out", "--by", "head-position"], 2, /mlp_out has no heads/],
  ])("refuses %s", async (_, args, code, line) => {
    expectLine(await headscope([...patch, "--pair-file", pair, ...args]), code, line);
  });
});

describe("ablate --over", () => {
  const text = ["ablate", ...MODEL, "--heads", "1.1", "--tokens-file"];

  test("says the same part in numbers, in the control and in words", async () => {
    const rows = file("over.json", [[0, 20, 7, 9, 33, 20, 7, 9]]);
    const over = [...text, rows, "--over", "answer", "--position", "6", "--wrong", "9"];
    const { part, difference } = await json<{ part: object; difference: { clean: number; ablated: number } }>(over);
    expect(part).toMatchObject({ over: "answer", metric: "logit-diff", clean: difference.clean });
    expect(difference.ablated / difference.clean).toBeLessThan(0.1);
    expect((await headscope(over)).stdout).toContain("logit difference of the answer");
    const next = [...text, file("next.json", [[0, 20, 7, 9, 33, 20]]), "--over", "answer", "--position", "6"];
    const behind = await json<{ part: { clean: number } }>([...next, "--answer", "7", "--wrong", "9"]);
    expect(behind.part.clean).toBeCloseTo(difference.clean, 4);
    const repeated = [...text, rows, "--over", "repeated"];
    expect((await json<{ part: { tokens: number } }>(repeated)).part.tokens).toBe(2);
    expect((await headscope(repeated)).stdout).toContain("over repeated (2 tokens)");
  });

  test.each([
    ["a position without a part", ["--position", "3"], 2],
    ["a wrong token without a part", ["--wrong", "3"], 2],
    ["a wrong token over a loss", ["--over", "token", "--position", "2", "--wrong", "3"], 2],
    ["an answer over a loss", ["--over", "token", "--position", "2", "--answer", "3"], 2],
    ["an answer without a wrong one", ["--over", "answer", "--position", "2"], 2],
    ["pairs", ["--over", "all", "--each", "head"], 2],
    ["a position beyond the text", ["--over", "token", "--position", "9"], 1],
  ])("refuses %s", async (_, more, code) => {
    expectLine(await headscope([...text, file("over-refused.json", [[0, 20, 7]]), ...more]), code, /./);
  });
});

describe("ablate --each", () => {
  const each = ["ablate", ...MODEL, "--each"];

  test("names the head without which the answer is lost, beside the others of its layer", async () => {
    const result = await json<{ clean: number; ablated: number[][]; control: number[][] }>([
      ...each, "head", "--pair-file", pair,
    ]); // biome-ignore format: one call
    expect(result.ablated[1]![1]! / result.clean).toBeLessThan(0.1);
    expect(result.control[1]![1]! / result.clean).toBeGreaterThan(0.9);
    expect((await headscope([...each, "head", "--pair-file", pair])).stdout).toMatch(
      /without[\s\S]*\n {2}(0\.0|1\.1) /,
    );
    const map = await json<{ ablated: number[][] }>([...each, "source", "--pair-file", pair]);
    // The induction head reads the token behind the earlier 7.
    expect(map.ablated[1]!.indexOf(Math.min(...map.ablated[1]!))).toBe(3);
  });

  test.each([
    ["pairs without a part", ["ablate", ...MODEL, "--pair-file", "PAIR"], /--each is missing/],
    ["a part without pairs", [...each, "head"], /--pair-file is missing/],
    [
      "heads beside it",
      [...each, "head", "--pair-file", "PAIR", "--heads", "1.1"],
      /--heads and --each cannot go together/,
    ],
    ["MLPs that there are not", [...each, "mlp", "--pair-file", "PAIR"], /no MLP/],
    ["an even window", [...each, "source", "--pair-file", "PAIR", "--window", "2"], /window cannot be 2/],
  ])("refuses %s", async (_, args, line) => {
    expectLine(await headscope(args.map((arg) => (arg === "PAIR" ? pair : arg))), 2, line);
  });
});

describe("circuit roles", () => {
  interface Roles {
    heads: { head: string; roles: { role: string; evidence: { measure: string; value: number }[] }[] }[];
    applies: Record<string, number>;
  }

  test("names the induction head and the one before it, of all heads or of a circuit's, also one with names and groups", async () => {
    const all = await json<Roles>(["circuit", "roles", ...MODEL, "--pair-file", pair]);
    const having = ({ heads }: Roles, role: string) =>
      heads.filter(({ roles }) => roles.some((each) => each.role === role)).map(({ head }) => head);
    expect(having(all, "induction")).toEqual(["1.1"]);
    expect(having(all, "previous token")).toEqual(["0.0"]);
    const found = await json<{ edges: { from: string; to: string }[] }>([
      ...["circuit", "find", ...MODEL, "--pair-file", pair, "--method", "eap"],
    ]);
    const edges = found.edges.filter(({ from, to }) => from === "a1.h1" || to.startsWith("a1.h1"));
    const groups = [{ name: "copiers", nodes: ["a1.h1"] }];
    const some = file("some.json", { ...found, edges: edges.slice(0, 1), names: { "a1.h1": "copies" }, groups });
    const own = await json<Roles>(["circuit", "roles", ...MODEL, "--pair-file", pair, "--circuit", some]);
    expect(own.heads.every(({ head }) => all.heads.some((each) => each.head === head))).toBe(true);
    expect(having(own, "induction")).toEqual(["1.1"]);
    await json(["circuit", "run", ...MODEL, "--pair-file", pair, "--circuit", some]);
    const { stdout } = await headscope(["circuit", "roles", ...MODEL, "--pair-file", pair]);
    expect(stdout).toMatch(/1\.1 +induction +[\d.]+/);
    expect(stdout).toMatch(/no S-inhibition/);
  });

  test("a number of edges without a circuit is refused", async () => {
    const run = await headscope(["circuit", "roles", ...MODEL, "--pair-file", pair, "--edges", "3"]);
    expectLine(run, 2, /--edges/);
  });
});
