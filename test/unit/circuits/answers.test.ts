import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ablateEach } from "../../../backend/circuits/ablation/each.ts";
import { attribute } from "../../../backend/circuits/attribution/direct.ts";
import { lens } from "../../../backend/circuits/attribution/lens.ts";
import { findCircuit } from "../../../backend/circuits/edges/find-circuit.ts";
import { runCircuit } from "../../../backend/circuits/edges/run-circuit.ts";
import { answerPairs } from "../../../backend/circuits/pair-answers.ts";
import { type Pair, tokenPairs } from "../../../backend/circuits/pairs.ts";
import { patch } from "../../../backend/circuits/patching/patch.ts";
import { patchPaths } from "../../../backend/circuits/patching/path.ts";
import type { Model } from "../../../backend/models/model.ts";
import { initBackend } from "../../../backend/runtime/backend.ts";
import { circuitOracle, loadFamily } from "../../helpers/oracles/circuits.ts";

// Norms behind attention, and logits under a soft cap.
const FAMILY = "gemma2";
const { clean, corrupt } = circuitOracle(FAMILY).pairs[0]!;
const [ANSWERS, WRONG] = [
  [5, 17, 40],
  [11, 23],
];
const sets: Pair = { clean, corrupt, answer: ANSWERS, wrong: WRONG };
/** Every answer with every wrong one: the mean of their logit differences is that of the means. */
const singles: Pair[] = ANSWERS.flatMap((answer) => WRONG.map((wrong) => ({ clean, corrupt, answer, wrong })));

let model: Model;
beforeAll(async () => {
  await initBackend();
  model = await loadFamily(FAMILY);
});
afterAll(() => model.dispose());

/** All numbers of a document in its order; edges in the order of their names. */
function numbers(value: unknown): number[] {
  if (typeof value === "number") return [value];
  if (Array.isArray(value)) return value.flatMap(numbers);
  return value && typeof value === "object" ? Object.values(value).flatMap(numbers) : [];
}

function close(actual: unknown, expected: readonly unknown[], combine: (values: number[]) => number): void {
  const [own, others] = [numbers(actual), expected.map(numbers)];
  expect(own.length).toBeGreaterThan(0);
  for (const [i, value] of own.entries()) {
    expect(Math.abs(value - combine(others.map((each) => each[i]!)))).toBeLessThan(2e-5);
  }
}
const mean = (values: number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
const sum = (values: number[]): number => values.reduce((total, value) => total + value, 0);

describe("several tokens as one answer count by the mean of their logits", () => {
  const scored = async (method: "eap" | "eap-ig" | "exact", pairs: Pair[]) => {
    const { edges, clean: whole, corrupt: other } = await findCircuit(model, { pairs, method, edges: "all" });
    const byName = edges.toSorted((a, b) => (`${a.from} ${a.to}` < `${b.from} ${b.to}` ? -1 : 1));
    return [whole, other, ...byName.map(({ score }) => score)];
  };
  const circuit = { without: [{ from: "embed", to: "logits" }] };
  it.each<[string, (pairs: Pair[]) => Promise<unknown>]>([
    [
      "attribution",
      async (prompts) => (await attribute(model, { prompts: prompts.map(({ corrupt: _, ...own }) => own) })).parts,
    ],
    ["patching", async (pairs) => (await patch(model, { pairs, node: "z", by: "head" })).patched],
    [
      "its estimate",
      async (pairs) => (await patch(model, { pairs, node: "z", by: "head", method: "attribution" })).patched,
    ],
    ["path patching", async (pairs) => (await patchPaths(model, { pairs, into: ["1.0"], through: "v" })).patched[0]],
    ["ablation", async (pairs) => (await ablateEach(model, { pairs, each: "head" })).ablated],
    ["edges by eap", (pairs) => scored("eap", pairs)],
    ["edges by eap-ig", (pairs) => scored("eap-ig", pairs)],
    ["edges by exact", (pairs) => scored("exact", pairs)],
    ["a circuit's run", async (pairs) => (await runCircuit(model, { pairs, circuit })).metric],
    ["the model's own answers", async (pairs) => (await answerPairs(model, tokenPairs(model, pairs))).clean],
  ])("in %s", async (_, measure) => {
    close(await measure([sets]), await Promise.all(singles.map((pair) => measure([pair]))), mean);
  });

  it("and by the sum of their probabilities", async () => {
    const tables = async (pair: Pair) =>
      (await patch(model, { pairs: [pair], node: "z", by: "head", metric: "probability" })).patched;
    close(await tables(sets), await Promise.all(ANSWERS.map((answer) => tables({ ...sets, answer }))), sum);
  });

  it("and by the best of them where ranks are asked for", async () => {
    const rows = async ({ corrupt: _, ...own }: Pair) => (await lens(model, { prompts: [own] })).rows;
    const own = await rows(sets);
    const each = await Promise.all(ANSWERS.map((answer) => rows({ ...sets, answer })));
    for (const [r, row] of own.entries()) {
      expect(row.rank).toBe(Math.min(...each.map((some) => some[r]!.rank)));
      expect(row.answer).toBeCloseTo(mean(each.map((some) => some[r]!.answer)), 5);
    }
    const likeliest = own.at(-1)!.top[0]!.id;
    const [found] = (await answerPairs(model, tokenPairs(model, { ...sets, answer: [96, likeliest] }))).perPair;
    expect(found!.first).toBe(true);
  });

  it("and a list of one is that token", () => {
    expect(tokenPairs(model, { ...sets, answer: [5], wrong: [11] })[0]).toMatchObject({ answer: 5, wrong: 11 });
  });
});

describe("lists of answers are refused", () => {
  it.each<[string, unknown, string]>([
    ["that are empty", { answer: [] }, "answer"],
    ["with a token twice", { answer: [5, 6, 5] }, "answer has the token 5 twice"],
    ["with a token on both sides", { answer: [5, 11] }, "token 11"],
    ["with what is no token", { answer: [5, -1] }, "answer"],
    ["with an id outside the vocabulary", { wrong: [11, 1_000_000] }, "wrong 1"],
    ["within lists", { wrong: [[11]] }, "wrong"],
  ])("%s", (_, change, words) => {
    const refused = () => tokenPairs(model, { ...sets, ...(change as object) });
    expect(refused).toThrow(expect.objectContaining({ kind: "input", message: expect.stringContaining(words) }));
  });
});
