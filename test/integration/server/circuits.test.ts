import { afterAll, beforeAll, expect, test } from "vitest";
import type { CircuitAnswer, CircuitRunAnswer } from "../../../backend/common/api/circuits.ts";
import type { Definitions } from "../../../backend/common/api/definitions.ts";
import type { PairSampleAnswer } from "../../../backend/common/api/pair-samples.ts";
import type { Problem } from "../../../backend/common/api/problem.ts";
import type { HeadRolesAnswer } from "../../../backend/common/api/roles.ts";
import { CIRCUIT_METHODS } from "../../../backend/common/words.ts";
import { buildCli } from "../../helpers/cli.ts";
import { openServer, type TestServer } from "../../helpers/servers/api.ts";

const model = "toy-induction";
// BOS, then 7 followed by 9 among other tokens, then 7 again: 9 is next. Without the first 7 nothing says so.
const PAIR = {
  clean: [0, 20, 7, 9, 33, 41, 52, 7],
  corrupt: [0, 20, 61, 9, 33, 41, 52, 7],
  answer: 9,
  wrong: 33,
};
let server: TestServer;
beforeAll(async () => {
  await buildCli();
  server = await openServer();
});
afterAll(() => server.close());

test("a circuit is found by the metric and the parameters that are asked for, and its edges run by that metric", async () => {
  const ask = { model, pairs: [PAIR], method: "eap-ig", edges: 8 };
  const found = await server.post<CircuitAnswer>("/api/circuits", {
    ...ask,
    metric: "probability",
    params: { steps: "3" },
  });
  expect(found.json.circuit).toMatchObject({ metric: "probability", params: { steps: 3 } });
  const { clean } = found.json.circuit;
  expect(clean).toBeGreaterThan(0.5);
  expect(clean).toBeLessThanOrEqual(1);
  const edges = found.json.circuit.edges.map(({ from, to }) => ({ from, to }));
  const run = await server.post<CircuitRunAnswer>("/api/circuit-runs", {
    ...{ model, pairs: [PAIR], edges },
    metric: "probability",
  });
  expect(run.json.clean).toBeCloseTo(clean, 5);
  const at = found.json.curve.curve.find(({ edges: n }) => n === edges.length)!;
  expect(run.json.metric).toBeCloseTo(at.metric, 5);
});

test("a parameter that the method lacks is refused before anything is run", async () => {
  const body = { model, pairs: [PAIR], method: "eap-ig", edges: 8, params: { threshold: 1 } };
  const { status, json } = await server.post<Problem>("/api/circuits", body);
  expect(status).toBe(422);
  expect(json.kind).toBe("usage");
});

test("roles come with the numbers behind them, of the heads that are asked for", async () => {
  const all = await server.post<HeadRolesAnswer>("/api/circuit-roles", { model, pairs: [PAIR] });
  const induction = all.json.heads.filter(({ roles }) => roles.some(({ role }) => role === "induction"));
  expect(induction.map(({ head }) => head)).toEqual(["1.1"]);
  expect(induction[0]!.roles[0]!.evidence[0]).toMatchObject({ measure: "attention" });
  expect(all.json.applies).toMatchObject({ induction: 1, "S-inhibition": 0 });
  const one = await server.post<HeadRolesAnswer>("/api/circuit-roles", { model, pairs: [PAIR], heads: ["1.1"] });
  expect(one.json.heads).toEqual(induction);
  const lacking = await server.post<Problem>("/api/circuit-roles", { model, pairs: [PAIR], heads: ["9.9"] });
  expect(lacking.status).toBe(422);
  expect(lacking.json.detail).toContain("9.9");
});

test("pairs of a task are drawn alike for one seed, and other ones for another", async () => {
  const ask = { model, task: "induction", count: 3, seed: 4 };
  const first = await server.post<PairSampleAnswer>("/api/pair-samples", ask);
  expect(first.json.pairs).toHaveLength(3);
  expect(first.json.right).toBe(1);
  const again = await server.post<PairSampleAnswer>("/api/pair-samples", ask);
  expect(again.json.pairs).toEqual(first.json.pairs);
  const other = await server.post<PairSampleAnswer>("/api/pair-samples", { ...ask, seed: 5 });
  expect(other.json.pairs).not.toEqual(first.json.pairs);
  // A model without a tokenizer has no words to make names of.
  const words = await server.post<Problem>("/api/pair-samples", { ...ask, task: "ioi" });
  expect(words.status).toBe(422);
  const unknown = await server.post<Problem>("/api/pair-samples", { ...ask, task: "inductoin" });
  expect(unknown.json.remedy).toContain("induction");
});

test("definitions have the tasks of pairs and the circuit methods with their parameters", async () => {
  const { json } = await server.get<Definitions>("/api/definitions");
  expect(json.pairTasks.map(({ name }) => name)).toContain("ioi");
  expect(json.pairTasks.find(({ name }) => name === "induction")!.wordless).toBe(true);
  expect(json.circuitMethods.map(({ name }) => name)).toEqual([...CIRCUIT_METHODS]);
  const flags = json.circuitMethods.find(({ name }) => name === "eap-ig")!.flags;
  expect(flags.map(({ name }) => name)).toEqual(["steps"]);
});
