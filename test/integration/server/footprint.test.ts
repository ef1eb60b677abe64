import { afterAll, beforeAll, expect, test } from "vitest";
import {
  FOOTPRINT_LENGTHS,
  type FootprintAnswer,
  type FootprintRequest,
} from "../../../backend/common/api/footprint.ts";
import type { GenerateResult } from "../../../backend/common/api/generation.ts";
import type { ModelInfo } from "../../../backend/common/api/models.ts";
import type { Problem } from "../../../backend/common/api/problem.ts";
import type { HeadMask } from "../../../backend/common/heads/mask.ts";
import { buildCli } from "../../helpers/cli.ts";
import { kernelsHere } from "../../helpers/kernels/here.ts";
import { openServer, type TestServer } from "../../helpers/servers/api.ts";

const { ready } = await kernelsHere();
const MODEL = "toy-induction";
const NEW = 5;
let server: TestServer;
let mask: HeadMask;
let positions: number;

beforeAll(async () => {
  await buildCli();
  server = await openServer();
  const asked = { model: MODEL, kvHeads: ["1.0"], sink: 1, recent: 40 };
  mask = (await server.post<{ mask: HeadMask }>("/api/masks", asked)).json.mask;
  positions = (await server.get<ModelInfo>(`/api/models/${MODEL}`)).json.config.n_ctx;
});
afterAll(() => server.close());

type Chosen = Pick<FootprintRequest, "policies" | "mask" | "prefill">;
const predicted = async (choice: Chosen, tokens: number[], newTokens = NEW) => {
  const answer = await server.post<FootprintAnswer>("/api/footprint", { model: MODEL, tokens, newTokens, ...choice });
  expect(answer.status, answer.text).toBe(200);
  return answer.json;
};
const generated = async (choice: Chosen, length: number) => {
  const tokens = Array.from({ length }, (_, i) => (i * 7) % 30);
  const answer = await server.post<GenerateResult>("/api/generate", {
    model: MODEL,
    tokens,
    maxTokens: NEW,
    ...choice,
  });
  expect(answer.status, answer.text).toBe(200);
  return answer.json;
};

test.each<[string, () => Chosen]>([
  ["everything held", () => ({})],
  ["a mask", () => ({ mask, prefill: "masked" })],
  ["a mask after a dense prompt", () => ({ mask, prefill: "dense" })],
  ["half of the tokens", () => ({ policies: [{ name: "knorm", params: { ratio: 0.5 } }] })],
  ["a budget of tokens", () => ({ policies: [{ name: "tova", params: { budget: 20 } }] })],
  ["a budget at every step", () => ({ policies: [{ name: "tova", params: { budget: 20, when: "decode" } }] })],
  ["a budget beside a mask", () => ({ mask, policies: [{ name: "knorm", params: { budget: 30 } }] })],
  ["tokens that are read", () => ({ policies: [{ name: "quest", params: { budget: 64 } }] })],
])("bytes of %s are those that a generation allocates", async (_, choice) => {
  const lengths = [50, 150, 300];
  const { lengths: rows, undecided } = await predicted(choice(), lengths);
  expect(undecided).toEqual([]);
  for (const [i, length] of lengths.entries()) {
    const { cache } = await generated(choice(), length);
    expect(rows[i]).toMatchObject({ tokens: length, bytes: cache.bytes, bytesFull: cache.bytesFull });
  }
});

test.skipIf(!ready)("bytes of codes are those that a generation allocates", async () => {
  const choice = { policies: [{ name: "kivi", params: { bits: 4, recent: 0 } }] };
  const { lengths } = await predicted(choice, [positions - NEW]);
  expect(lengths[0]!.bytes).toBe((await generated(choice, positions - NEW)).cache.bytes);
});

test("what a new token reads is less under a policy for reads, and what is held is not", async () => {
  const [all] = (await predicted({}, [100])).lengths;
  const [some] = (await predicted({ policies: [{ name: "quest", params: { budget: 64, dense: 0 } }] }, [100])).lengths;
  expect(some!.bytes).toBe(all!.bytes);
  expect(some!.read).toBeLessThan(all!.read!);
});

test("policies that decide as they run are named; what a prompt reads changes no bytes", async () => {
  expect((await predicted({ policies: [{ name: "gemfilter" }] }, [60])).undecided).toEqual(["gemfilter"]);
  const { lengths, undecided } = await predicted({ policies: [{ name: "xattention" }] }, [60]);
  expect(undecided).toEqual([]);
  expect(lengths[0]!.bytes).toBe(lengths[0]!.bytesFull);
});

test("a length that a policy refuses says why, and the others are predicted", async () => {
  const policies = [{ name: "snapkv", params: { ratio: 0.75, window: 16 } }];
  const { lengths } = await predicted({ policies }, [20, 120]);
  expect(lengths[0]).toEqual({ tokens: 20, bytesFull: expect.any(Number), refused: expect.stringContaining("16") });
  expect(lengths[1]!.bytes).toBeGreaterThan(0);
});

test("a continuation says which positions of the prompt were kept, by the share of the heads", async () => {
  const sinks = [{ name: "streaming-llm", params: { budget: 20, sinks: 4 } }];
  const { cache } = await generated({ policies: sinks }, 50);
  const expected = Array.from({ length: 50 }, (_, i) => (i < 4 || i >= 34 ? 1 : 0));
  expect(cache.keptByPosition).toEqual(expected);
  const streamed = (await generated({ mask, prefill: "dense" }, 50)).cache.keptByPosition!;
  // One KV head of eight keeps everything; new tokens have pushed others out of the rest.
  expect([streamed[0], streamed[1], streamed.at(-1)]).toEqual([1, 0.125, 1]);
  expect((await generated({}, 50)).cache.keptByPosition).toBeUndefined();
  expect((await generated({ mask }, 20)).cache.keptByPosition).toBeUndefined();
});

test.each<[string, object, number]>([
  ["an unknown policy", { policies: [{ name: "knrom" }] }, 404],
  ["a parameter that can't be", { policies: [{ name: "knorm", params: { ratio: 2 } }] }, 422],
  ["two policies for the same", { policies: [{ name: "knorm" }, { name: "tova" }] }, 422],
  ["a mask that is not there", { policies: [{ name: "duo-attention", params: { mask: "masks/none.json" } }] }, 404],
  ["a file elsewhere", { policies: [{ name: "duo-attention", params: { mask: "/etc/passwd" } }] }, 404],
  ["an unknown model", { model: "toy-inductoin" }, 404],
  ["more lengths than it takes", { tokens: new Array<number>(FOOTPRINT_LENGTHS + 1).fill(8) }, 422],
  ["no length", { tokens: [] }, 422],
  ["more tokens than there are positions", { tokens: [1e6] }, 422],
])("%s is refused", async (_, wrong, status) => {
  const answer = await server.post<Problem>("/api/footprint", { model: MODEL, tokens: [8], ...wrong });
  expect([answer.status, answer.json.status]).toEqual([status, status]);
});

test("a mask of another model is refused, and one beside a policy for heads", async () => {
  const other = { ...mask, model: { ...mask.model, digest: `sha256:${"0".repeat(64)}` } };
  const ask = (body: object) => server.post<Problem>("/api/footprint", { model: MODEL, tokens: [8], ...body });
  expect((await ask({ mask: other })).status).toBe(409);
  await server.post("/api/masks", { model: MODEL, kvHeads: ["1.0"], sink: 1, recent: 2, name: "one" });
  const heads = { name: "duo-attention", params: { mask: "masks/one.json" } };
  expect((await ask({ policies: [heads] })).status).toBe(200);
  expect((await ask({ mask, policies: [heads] })).status).toBe(422);
});
