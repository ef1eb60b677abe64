import type { Tensor } from "@tensorflow/tfjs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ablateEach } from "../../../backend/circuits/ablation/each.ts";
import { findCircuit } from "../../../backend/circuits/edges/find-circuit.ts";
import { runCircuit } from "../../../backend/circuits/edges/run-circuit.ts";
import { gradient } from "../../../backend/circuits/gradients/gradient.ts";
import { type PatchOptions, patch } from "../../../backend/circuits/patching/patch.ts";
import { patchPaths } from "../../../backend/circuits/patching/path.ts";
import type { CircuitMethod } from "../../../backend/common/words.ts";
import { intervenedModel } from "../../../backend/hooks/intervened-model.ts";
import type { Intervention } from "../../../backend/hooks/intervention-schema.ts";
import { runWithHooks } from "../../../backend/hooks/run.ts";
import { generate } from "../../../backend/inference/generate.ts";
import { forward } from "../../../backend/models/forward/forward.ts";
import type { Model } from "../../../backend/models/model.ts";
import { Matrix } from "../../../backend/models/weights/matrix.ts";
import { initBackend } from "../../../backend/runtime/backend.ts";
import { tf } from "../../../backend/runtime/tf.ts";
import { probe } from "../../../probes/index.ts";
import { circuitOracle, loadFamily } from "../../helpers/oracles/circuits.ts";

const FAMILY = "llama-gqa";
const oracle = circuitOracle(FAMILY);
const pairs = oracle.pairs.slice(0, 1);
const prompt = pairs[0]!.clean;
/** Head 1 of layer 0 writes nothing, and the MLP of layer 1 twice as much. */
const CHANGES: Intervention[] = [
  { at: "blocks.0.attn.hook_z", heads: [1], do: "zero" },
  { at: "blocks.1.hook_mlp_out", do: "scale", with: 2 },
];

let model: Model;
/** A model whose weights do what the interventions do. */
let rewritten: Model;
let made: Tensor[];

beforeAll(async () => {
  await initBackend();
  model = await loadFamily(FAMILY);
  const { n_heads: H, d_head: D, n_layers } = model.config;
  expect(n_layers).toBe(2);
  made = tf.tidy(() => {
    const [first, second] = model.weights.blocks;
    const kept = tf.tensor1d(Array.from({ length: H * D }, (_, i) => (Math.floor(i / D) === 1 ? 0 : 1)));
    return [tf.mul(first!.o.widen(), kept), tf.mul(second!.mlpOut!.widen(), 2)];
  });
  const [first, second, ...rest] = model.weights.blocks;
  const blocks = [{ ...first!, o: Matrix.dense(made[0]!) }, { ...second!, mlpOut: Matrix.dense(made[1]!) }, ...rest];
  rewritten = model.with({ config: model.config, weights: { ...model.weights, blocks } });
});
afterAll(() => {
  tf.dispose(made);
  model.dispose();
});

/** Numbers of a document; edges in the order of their names. */
function numbers(value: unknown): number[] {
  if (typeof value === "number") return [value];
  if (Array.isArray(value)) return value.flatMap(numbers);
  return value && typeof value === "object" ? Object.values(value).flatMap(numbers) : [];
}
function close(actual: unknown, expected: unknown, tolerance = 1e-4): void {
  const [own, other] = [numbers(actual), numbers(expected)];
  expect([own.length, own.length > 0]).toEqual([other.length, true]);
  for (const [i, value] of own.entries()) expect(Math.abs(value - other[i]!)).toBeLessThan(tolerance);
}

async function edges(studied: Model, method: CircuitMethod) {
  const { clean, corrupt, edges: found } = await findCircuit(studied, { pairs, method, edges: "all" });
  const scores = found.toSorted((a, b) => (`${a.from} ${a.to}` < `${b.from} ${b.to}` ? -1 : 1));
  return [clean, corrupt, scores.map(({ score }) => score)];
}
const tables = (options: Omit<PatchOptions, "pairs">) => async (studied: Model) =>
  (await patch(studied, { pairs, ...options })).patched;
const circuit = { edges: oracle.circuit.curve.order.slice(0, 60).map((e) => named(oracle.graph!.edges[Number(e)]!)) };
function named(edge: string) {
  const [from, to] = edge.split("->") as [string, string];
  return { from, to };
}

describe("a model under interventions is the one whose weights do the same", () => {
  it.each<[string, (studied: Model) => Promise<unknown>]>([
    ["its patches", tables({ node: "z", by: "head" })],
    ["their estimates", tables({ node: "mlp_out", by: "layer", method: "attribution" })],
    ["its paths", async (m) => (await patchPaths(m, { pairs, into: ["1.0"], through: "k" })).patched[0]],
    [
      "its paths with MLPs computed again",
      async (m) => (await patchPaths(m, { pairs, into: ["1.2"], through: "v", mlps: "recomputed" })).patched[0],
    ],
    ["its ablations", async (m) => (await ablateEach(m, { pairs, each: "head", method: "resample" })).ablated],
    ["its edges by eap", (m) => edges(m, "eap")],
    ["its edges by eap-ig", (m) => edges(m, "eap-ig")],
    ["its edges by eap-gp", (m) => edges(m, "eap-gp")],
    ["its edges by eap-ig-activations", (m) => edges(m, "eap-ig-activations")],
    ["its edges by exact", (m) => edges(m, "exact")],
    ["its circuits", (m) => runCircuit(m, { pairs, circuit })],
    ["its heads by a probe", async (m) => (await probe(m, "induction", {}, { seed: 1 })).metrics],
    ["its texts", async (m) => (await generate(m, { tokens: prompt, maxTokens: 6, stop: [] })).ids],
  ])("%s", async (_, measure) => {
    const plain = numbers(await measure(model));
    const expected = await measure(rewritten);
    const before = tf.memory().numTensors;
    const { model: studied, dispose } = intervenedModel(model, CHANGES);
    const own = await measure(studied);
    dispose();
    expect(tf.memory().numTensors).toBe(before);
    close(own, expected);
    expect(numbers(own).some((value, i) => Math.abs(value - plain[i]!) > 1e-3)).toBe(true);
  });
});

describe("interventions at absolute positions", () => {
  it.each<[string, Intervention]>([
    ["the first one alone", { at: "blocks.0.attn.hook_z", positions: [0], do: "zero" }],
    ["some in the middle", { at: "blocks.1.hook_mlp_out", positions: [2, 5], do: "add", with: 0.5 }],
    [
      "a pattern's queries and keys",
      { at: "blocks.1.attn.hook_attn_scores", positions: [4, 9], keys: [1, 2], do: "knock-out" },
    ],
    [
      "means of other rows",
      { at: "blocks.0.attn.hook_z", do: "mean", byPosition: true, with: { tokens: [pairs[0]!.corrupt] } },
    ],
  ])("hold for %s, as they do in a run of their own", (_, change) => {
    const { model: studied, dispose } = intervenedModel(model, [change]);
    const own = forward(studied, { tokens: [prompt] });
    const run = runWithHooks(model, [prompt], { interventions: [change] })!;
    const plain = forward(model, { tokens: [prompt] });
    const [a, b, c] = [own.logits!, run, plain.logits!].map((logits) => [...logits.dataSync()]);
    close(a, b, 1e-5);
    expect(a!.some((value, i) => Math.abs(value - c![i]!) > 1e-4)).toBe(true);
    for (const each of [own, run, plain]) (each as { dispose(): void }).dispose();
    dispose();
  });

  it("change nothing in a prompt that is too short for them", () => {
    const { model: studied, dispose } = intervenedModel(model, [
      { at: "blocks.0.attn.hook_z", positions: [prompt.length], do: "zero" },
    ]);
    const [own, plain] = [studied, model].map((each) => forward(each, { tokens: [prompt] }));
    expect([...own!.logits!.dataSync()]).toEqual([...plain!.logits!.dataSync()]);
    for (const each of [own!, plain!]) each.dispose();
    dispose();
  });

  it("come before a run's own, in gradients too", async () => {
    const [first, second]: Intervention[] = [
      { at: "blocks.0.hook_mlp_out", do: "scale", with: 3 },
      { at: "blocks.0.hook_mlp_out", do: "add", with: 1 },
    ];
    const metric = { name: "logit-diff", answers: [5], wrong: [11] } as const;
    const names = ["blocks.0.attn.hook_z"];
    const { model: studied, dispose } = intervenedModel(model, [first!]);
    const own = gradient(studied, { tokens: [prompt], interventions: [second!] }, metric, names);
    const other = gradient(model, { tokens: [prompt], interventions: [first!, second!] }, metric, names);
    close(own.values, other.values, 1e-5);
    close([...own.gradients.get(names[0]!).dataSync()], [...other.gradients.get(names[0]!).dataSync()], 1e-5);
    own.gradients.dispose();
    other.gradients.dispose();
    dispose();
  });
});

describe("interventions that cannot hold for every run are refused", () => {
  it.each<[string, Intervention, string]>([
    ["the run's own mean", { at: "blocks.0.attn.hook_z", do: "mean" }, "usage"],
    ["another row of the run", { at: "blocks.0.attn.hook_z", do: "resample" }, "usage"],
    ["the run's own pattern", { at: "blocks.0.attn.hook_pattern", do: "freeze-pattern" }, "usage"],
    ["rows", { at: "blocks.0.attn.hook_z", rows: [1], do: "zero" }, "usage"],
    ["a kept activation", { at: "blocks.0.attn.hook_z", do: "patch", with: { cache: "clean" } }, "usage"],
    ["the stream that runs start from", { at: "blocks.1.hook_resid_pre", do: "zero" }, "unsupported"],
    ["the final norm's inside", { at: "ln_final.hook_normalized", do: "zero" }, "unsupported"],
    ["an unknown hook point", { at: "blocks.9.attn.hook_z", do: "zero" }, "usage"],
  ])("%s", (_, change, kind) => {
    const before = tf.memory().numTensors;
    expect(() => intervenedModel(model, [change])).toThrow(expect.objectContaining({ kind }));
    expect(tf.memory().numTensors).toBe(before);
  });

  it("where circuits and paths have no place for them", async () => {
    const change = (at: string): Intervention => ({ at, do: "scale", with: 2 });
    const asked = async (at: string, work: (studied: Model) => Promise<unknown>) => {
      const { model: studied, dispose } = intervenedModel(model, [change(at)]);
      await expect(work(studied)).rejects.toMatchObject({ kind: "unsupported", subject: at });
      dispose();
    };
    await asked("blocks.0.hook_resid_mid", (m) => findCircuit(m, { pairs, method: "eap" }));
    await asked("blocks.0.attn.hook_k", (m) => runCircuit(m, { pairs, circuit }));
    await asked("blocks.0.hook_attn_out", (m) => patchPaths(m, { pairs, into: ["1.0"], through: "q" }));
    await asked("blocks.1.attn.hook_v", (m) => patchPaths(m, { pairs, into: ["1.0"], through: "v" }));
  });
});
