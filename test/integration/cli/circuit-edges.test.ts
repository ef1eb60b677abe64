import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, test } from "vitest";
import type { PrunedCircuit } from "../../../backend/circuits/evaluation/prune.ts";
import type {
  Circuit,
  CircuitComparison,
  CircuitCurve,
  CircuitEvaluation,
  CircuitRunResult,
} from "../../../backend/common/api/circuits.ts";
import { parseHead } from "../../../backend/common/heads/head.ts";
import { zeroHeads } from "../../../backend/hooks/interventions.ts";
import { runWithHooks } from "../../../backend/hooks/run.ts";
import { loadModel } from "../../../backend/models/load.ts";
import { initBackend } from "../../../backend/runtime/backend.ts";
import { commandFolder } from "../../helpers/cli.ts";
import { headscope } from "../../helpers/headscope.ts";
import { circuitOracle } from "../../helpers/oracles/circuits.ts";

const MODEL = ["--model", "toy-induction"];
// BOS, then 7 followed by 9 among other tokens, then 7 again: 9 is next. Without the first 7 nothing says so.
const PAIR = { clean: [0, 20, 7, 9, 33, 41, 52, 7], corrupt: [0, 20, 61, 9, 33, 41, 52, 7], answer: 9, wrong: 33 };

const { at, file } = commandFolder();
let pair: string;
beforeAll(async () => {
  await initBackend();
  pair = file("pair.json", PAIR);
});

async function json<T>(args: string[]): Promise<T> {
  const run = await headscope([...args, "--json"]);
  expect({ code: run.code, stderr: run.stderr }).toEqual({ code: 0, stderr: "" });
  return run.json<T>();
}

describe("circuit find and circuit run", () => {
  test("find the three edges that matter, write them, and run them", async () => {
    const out = at("circuit.json");
    const find = ["circuit", "find", ...MODEL, "--pair-file", pair, "--method", "exact", "--out", out];
    const found = await json<Circuit>(find);
    expect(JSON.parse(await readFile(out, "utf8"))).toEqual(found);
    expect(found).toMatchObject({ format: "headscope.circuit/1", method: "exact", params: {}, total: 81 });
    expect(Object.keys(found.totals)).toEqual([
      "into q",
      "into k",
      "into v",
      "into mlp",
      "into logits",
      "from embed",
      "from head",
      "from mlp",
    ]);
    const run = ["circuit", "run", ...MODEL, "--pair-file", pair, "--circuit", out];
    const three = await json<CircuitRunResult>([...run, "--edges", "3"]);
    expect(three).toMatchObject({ edges: 3, total: 81 });
    expect(three.faithfulness).toBeCloseTo(1, 3);
    const curve = await json<CircuitCurve>([...run, "--sizes", "2,3,81"]);
    expect(Object.keys(curve)).toEqual(["clean", "corrupt", "total", "curve", "cpr", "cmd"]);
    expect(curve.curve.map(({ edges }) => edges)).toEqual([2, 3, 81]);
    expect(curve.curve[0]!.faithfulness).toBeCloseTo(0, 3);
    const { stdout } = await headscope([...run, "--sizes", "2,3"]);
    expect(stdout).toMatch(/CPR [\d.]+ .*CMD [\d.]+/);
  });

  test("count the tokens of a list as one answer", async () => {
    const metricOf = async (name: string, answers: object) => {
      const some = file(name, { ...PAIR, ...answers });
      const { clean } = await json<Circuit>(["circuit", "find", ...MODEL, "--pair-file", some, "--method", "eap"]);
      return clean;
    };
    const [both, first, second] = [
      await metricOf("both.json", { answer: [9, 41] }),
      await metricOf("first.json", { answer: 9 }),
      await metricOf("second.json", { answer: 41 }),
    ];
    expect(both).toBeCloseTo((first + second) / 2, 5);
    const { code, stderr } = await headscope([
      ...["circuit", "find", ...MODEL, "--method", "eap", "--pair-file"],
      file("shared.json", { ...PAIR, answer: [9, 33] }),
    ]);
    expect(code).toBe(1);
    expect(stderr).toMatch(/token 33 is among both answers/);
  });

  test("takes steps of eap-ig, and keeps as many edges as asked", async () => {
    const find = ["circuit", "find", ...MODEL, "--pair-file", pair, "--method", "eap-ig", "--param", "steps=3"];
    const found = await json<Circuit>([...find, "--edges", "4"]);
    expect(found.params).toEqual({ steps: 3 });
    expect(found.edges).toHaveLength(4);
  });

  test("measure by another metric, which the file names and a run of it goes by", async () => {
    const out = at("loss.json");
    const find = ["circuit", "find", ...MODEL, "--pair-file", pair, "--method", "exact", "--metric", "loss"];
    const found = await json<Circuit>([...find, "--edges", "3", "--out", out]);
    expect(found.metric).toBe("loss");
    expect(found.clean).toBeLessThan(found.corrupt);
    const run = ["circuit", "run", ...MODEL, "--pair-file", pair, "--circuit", out];
    const own = await json<CircuitRunResult>(run);
    expect(own).toMatchObject({ clean: found.clean, corrupt: found.corrupt });
    expect(await json<CircuitRunResult>([...run, "--metric", "logit-diff"])).not.toMatchObject({ clean: found.clean });
    const { stdout } = await headscope(run);
    expect(stdout).toMatch(/loss \d/);
  });

  test("remove edges by acdc, and score whole nodes", async () => {
    const find = ["circuit", "find", ...MODEL, "--pair-file", pair];
    const removed = await json<Circuit>([...find, "--method", "acdc", "--param", "threshold=0.5"]);
    expect(removed.params).toEqual({ threshold: 0.5 });
    expect(removed.edges.map(({ from, to }) => `${from} -> ${to}`).toSorted()).toEqual([
      "a0.h0 -> a1.h1<k>",
      "a1.h1 -> logits",
      "embed -> a0.h0<v>",
    ]);
    const nodes = [...find, "--method", "exact", "--level", "node", "--nodes", "2"];
    const found = await json<Circuit>(nodes);
    expect(found.nodes?.map(({ node }) => node).toSorted()).toEqual(["a0.h0", "a1.h1"]);
    const { stdout } = await headscope(nodes);
    expect(stdout).toMatch(/2 nodes by exact/);
    const refused = await headscope([...nodes, "--edges", "3"]);
    expect(refused.code).toBe(2);
  });

  test("warns of a clean prompt that does not prefer its answer, with the numbers", async () => {
    const swapped = file("swapped.json", { ...PAIR, answer: 33, wrong: 9 });
    const { notes } = await json<CircuitRunResult>([
      ...["circuit", "run", ...MODEL, "--pair-file", swapped],
      ...["--circuit", file("all.json", { without: [] })],
    ]);
    expect(notes?.[0]).toMatch(/does not prefer its answer.*-\d/);
  });

  test.each([
    ["an edge that there is not", { edges: [{ from: "a1.h0", to: "a0.h0<q>" }] }, 1, /a1\.h0 -> a0\.h0<q>/],
    ["an MLP of a model without", { edges: [{ from: "m0", to: "logits" }] }, 1, /m0 -> logits/],
    ["no circuit", { heads: [] }, 1, /"edges" or "without"/],
    ["a circuit of another model", { edges: [], total: 110 }, 1, /110 edges/],
  ])("refuse %s in one line", async (_, circuit, code, line) => {
    const path = file("bad.json", circuit);
    const run = await headscope(["circuit", "run", ...MODEL, "--pair-file", pair, "--circuit", path]);
    expect({ code: run.code, stdout: run.stdout }).toEqual({ code, stdout: "" });
    expect(run.stderr.trimEnd().split("\n")).toHaveLength(1);
    expect(run.stderr).toMatch(line);
  });

  test.each([
    ["an unknown method", ["--method", "sp"], /--method cannot be "sp"/],
    [
      "a parameter of another method",
      ["--method", "eap", "--param", "steps=5"],
      /unknown parameter "steps" of method eap/,
    ],
    ["no steps", ["--method", "eap-ig", "--param", "steps=0"], /steps.*cannot be "0"/],
    ["no threshold", ["--method", "acdc", "--param", "threshold=0"], /threshold.*cannot be "0"/],
    ["no edges", ["--method", "eap", "--edges", "0"], /--edges cannot be "0"/],
    ["an unknown metric", ["--method", "eap", "--metric", "f1"], /--metric cannot be "f1"/],
    ["kl from one gradient", ["--method", "eap", "--metric", "kl"], /gradient of kl is 0/],
  ])("refuse %s with exit code 2, and leave nothing behind", async (_, args, line) => {
    const out = at("nothing.json");
    const run = await headscope(["circuit", "find", ...MODEL, "--pair-file", pair, ...args, "--out", out]);
    expect({ code: run.code, stdout: run.stdout }).toEqual({ code: 2, stdout: "" });
    expect(run.stderr).toMatch(line);
    expect(await readdir(at("."))).not.toContain("nothing.json");
  });
});

describe("circuit prune, compare, evaluate and export", () => {
  let circuit: string;
  beforeAll(async () => {
    circuit = at("all.circuit.json");
    await json(["circuit", "find", ...MODEL, "--pair-file", pair, "--method", "exact", "--out", circuit]);
  });

  test("go from all edges to the three that matter", async () => {
    const out = at("pruned.json");
    const prune = ["circuit", "prune", ...MODEL, "--pair-file", pair, "--circuit", circuit];
    const pruned = await json<PrunedCircuit>([...prune, "--faithfulness", "0.95", "--out", out]);
    expect(pruned.edges).toHaveLength(3);
    expect(pruned.pruned.faithfulness).toBeCloseTo(1, 3);
    const compared = await json<CircuitComparison>(["circuit", "compare", circuit, out]);
    expect(compared.edges).toMatchObject({ first: 81, second: 3, both: 3 });
    const same = await json<CircuitComparison>(["circuit", "compare", circuit, out, "--edges", "3"]);
    expect(same.edges.jaccard).toBe(1);
    const run = await json<CircuitRunResult>(["circuit", "run", ...MODEL, "--pair-file", pair, "--circuit", out]);
    expect(run.edges).toBe(3);
  });

  test("put a circuit to the test, on other pairs too, with a report in a folder", async () => {
    const out = at("report");
    const other = file("other.json", { ...PAIR, corrupt: [0, 20, 62, 9, 33, 41, 52, 7] });
    const evaluate = ["circuit", "evaluate", ...MODEL, "--pair-file", pair, "--circuit", circuit, "--edges", "3"];
    const evaluation = await json<CircuitEvaluation>([...evaluate, "--others", other, "--draws", "2", "--out", out]);
    expect(evaluation).toMatchObject({ format: "headscope.circuit-evaluation/1", edges: 3, pairs: 1 });
    expect(evaluation.others["other"]!.value).toBeCloseTo(1, 3);
    expect(evaluation.random.faithfulness).toHaveLength(2);
    expect(JSON.parse(await readFile(join(out, "evaluation.json"), "utf8"))).toEqual(evaluation);
    expect(await readdir(out)).toEqual(expect.arrayContaining(["report.html", "report.json", "evaluation.json"]));
    const html = await readFile(join(out, "report.html"), "utf8");
    expect(html).toContain("Alone the circuit keeps the answer");
  });

  test.each(["dot", "graphml", "mask", "neuronpedia"])("write the format %s", async (format) => {
    const out = at(`circuit.${format}`);
    const prompt = format === "neuronpedia" ? [...MODEL, "--pair-file", pair] : [];
    const args = ["circuit", "export", format, "--circuit", circuit, "--edges", "3", ...prompt, "--out", out];
    expect(await json(args)).toEqual({ path: out, format, edges: 3 });
    expect(await readFile(out, "utf8")).toMatch(format === "mask" ? /"ablate"/ : /a1\.h1/);
  });

  test("write a checkpoint without the heads that a circuit does not touch", async () => {
    const family = fileURLToPath(new URL("../../fixtures/families/llama-gqa", import.meta.url));
    const [own] = circuitOracle("llama-gqa").pairs;
    const pairs = file("family.json", own!);
    const [found, out] = [at("family.circuit.json"), at("pruned")];
    await json(["circuit", "find", "--model", family, "--pair-file", pairs, "--method", "eap-ig", "--out", found]);
    const args = ["circuit", "export", "pruned-checkpoint", "--circuit", found, "--edges", "4", "--out", out];
    const written = await json<{ ablated: string[]; edges: number; files: string[] }>(args);
    expect(written.edges).toBe(4);
    expect(written.ablated.length).toBeGreaterThan(0);
    expect(await readdir(out)).toEqual(expect.arrayContaining(["config.json", "model.safetensors"]));
    // The folder is the model under zero ablation of those heads.
    const [whole, pruned] = [await loadModel(family), await loadModel(out)];
    const heads = written.ablated.map((name) => parseHead(name, { layers: 2, heads: whole.config.n_heads }));
    const [ablated, other] = [
      runWithHooks(whole, [own!.clean], { interventions: zeroHeads(heads) })!,
      runWithHooks(pruned, [own!.clean])!,
    ];
    const values = other.dataSync();
    for (const [i, logit] of ablated.dataSync().entries()) expect(Math.abs(logit - values[i]!)).toBeLessThan(1e-4);
    for (const each of [ablated, other, whole, pruned]) (each as { dispose(): void }).dispose();
    const again = await headscope(args);
    expect(again.code).not.toBe(0);
    expect((await headscope([...args, "--force"])).code).toBe(0);
    expect(
      (await headscope(["circuit", "export", "dot", "--circuit", found, "--out", at("x.dot"), "--force"])).code,
    ).toBe(2);
  });

  test.each([
    ["a budget beyond the circuit", ["prune", ...MODEL, "--circuit", "FEW", "--faithfulness", "0.9"], 2, /all 1 edges/],
    ["a list without scores", ["evaluate", ...MODEL, "--circuit", "LIST"], 1, /not a headscope\.circuit\/1 file/],
    [
      "a graph without its prompt",
      ["export", "neuronpedia", "--circuit", "FEW", "--out", "OUT"],
      2,
      /--model and --pair-file/,
    ],
    ["an unknown format", ["export", "svg", "--circuit", "FEW", "--out", "OUT"], 2, /the format cannot be "svg"/],
    [
      "an option of another format",
      ["export", "dot", "--circuit", "FEW", "--out", "OUT", "--sink", "1"],
      2,
      /--sink and dot/,
    ],
    [
      "a window of ablated heads",
      ["export", "mask", "--circuit", "FEW", "--out", "OUT", "--sink", "1"],
      2,
      /sink cannot go/,
    ],
    ["circuits of two models", ["compare", "FEW", "ELSE"], 1, /different models/],
  ])("refuse %s in one line", async (_, args, code, line) => {
    const whole = JSON.parse(await readFile(circuit, "utf8")) as Circuit;
    const files: Record<string, string> = {
      FEW: file("few.json", { ...whole, edges: whole.edges.slice(-1) }),
      LIST: file("list.json", { edges: whole.edges }),
      ELSE: file("else.json", { edges: [], total: 110 }),
      OUT: at("out.txt"),
    };
    const pairs = ["prune", "evaluate"].includes(args[0]!) ? ["--pair-file", pair] : [];
    const run = await headscope(["circuit", ...args.map((arg) => files[arg] ?? arg), ...pairs]);
    expect({ code: run.code, stdout: run.stdout }).toEqual({ code, stdout: "" });
    expect(run.stderr.trimEnd().split("\n")).toHaveLength(1);
    expect(run.stderr).toMatch(line);
    expect(await readdir(at("."))).not.toContain("out.txt");
  });
});
