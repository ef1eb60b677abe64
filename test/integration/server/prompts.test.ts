import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { CircuitAnswer } from "../../../backend/common/api/circuits.ts";
import type { Definitions } from "../../../backend/common/api/definitions.ts";
import type { GenerateBatchResult, GenerateResult } from "../../../backend/common/api/generation.ts";
import type { Health } from "../../../backend/common/api/health.ts";
import type { AblateResult, InterveneResult } from "../../../backend/common/api/interventions.ts";
import type { ModelEntry, ModelInfo } from "../../../backend/common/api/models.ts";
import type { PairAlignment, PatchResponse } from "../../../backend/common/api/patching.ts";
import type { Problem } from "../../../backend/common/api/problem.ts";
import type { Prompt } from "../../../backend/common/api/prompts.ts";
import { readSafetensors } from "../../../frontend/src/api/safetensors.ts";
import { buildCli } from "../../helpers/cli.ts";
import { circuitOracle } from "../../helpers/oracles/circuits.ts";
import { openServer, type TestServer } from "../../helpers/servers/api.ts";

const MODEL = "toy-induction";
const IDS = [7, 3, 9, 4, 7, 3, 9];
let server: TestServer;
let prompt: Prompt;

beforeAll(async () => {
  await buildCli();
  server = await openServer();
  prompt = (await server.post<Prompt>("/api/prompts", { model: MODEL, tokens: IDS })).json;
});
afterAll(() => server.close());

describe("what there is", () => {
  test("health says what is computed on, once the worker has been asked for a model", async () => {
    await server.get(`/api/models/${MODEL}`);
    const { json } = await server.get<Health>("/api/health");
    expect(json).toMatchObject({ version: "0.1.0", folder: server.folder });
    expect(["tensorflow", "wasm"]).toContain(json.backend?.name);
    expect(json.start).toBeUndefined();
  });

  test("definitions have every registry, each with flags and a JSON Schema", async () => {
    const { json } = await server.get<Definitions>("/api/definitions");
    for (const kind of ["probes", "tasks", "experiments", "exports", "imports"] as const) {
      expect(json[kind].length, kind).toBeGreaterThan(0);
      for (const each of json[kind]) {
        expect(each.schema.type).toBe("object");
        expect(each.flags.map(({ name }) => name)).toEqual(Object.keys(each.schema.properties ?? {}));
      }
    }
    const induction = json.tasks.find(({ name }) => name === "induction")!;
    expect(induction.train.map(({ name }) => name)).toContain("learning_rate");
    expect(induction.probes).toContain("induction");
  });

  test("models are those of the catalogue; one says its shape; an unknown one names the nearest", async () => {
    const { json } = await server.get<ModelEntry[]>("/api/models");
    expect(json.find(({ ref }) => ref === MODEL)).toMatchObject({ kind: "constructed", ready: true });
    const info = (await server.get<ModelInfo>(`/api/models/${MODEL}`)).json;
    expect(info).toMatchObject({ ref: MODEL, layers: 2, heads: 4, kvHeads: 4, digest: prompt.digest });
    const unknown = await server.get<Problem>("/api/models/toy-inductoin");
    expect(unknown.headers.get("content-type")).toMatch(/^application\/problem\+json/);
    expect(unknown.json).toMatchObject({ status: 404, remedy: expect.stringContaining(MODEL) });
  });

  test("a reference to the hub names its cache alone, and what is not there is said with the command that fetches it", async () => {
    const of = (ref: string) => server.get<Problem>(`/api/models/${encodeURIComponent(ref)}`);
    const absent = await of("hf:no-such/model-here");
    expect(absent.json).toMatchObject({
      remedy: expect.stringContaining("headscope models pull hf:no-such/model-here"),
    });
    for (const ref of ["hf:../../etc/passwd", "hf:a/b/../../c.gguf", "hf:a/b@../../x"]) {
      const { status, json } = await of(ref);
      expect([status, json.detail], ref).toEqual([422, expect.stringContaining("names no checkpoint on the hub")]);
    }
  });

  test("the OpenAPI document has every address with its methods, and the schemas that are checked", async () => {
    const { json } = await server.get<{ paths: Record<string, Record<string, never>> }>("/api/openapi.json");
    expect(Object.keys(json.paths)).toEqual(
      expect.arrayContaining([
        "/api/health",
        "/api/models/{ref}",
        "/api/scores/{id}",
        "/api/prompts/{id}/patterns/{layer}",
      ]),
    );
    expect(Object.keys(json.paths["/api/jobs"]!).sort()).toEqual(["get", "post"]);
    const text = JSON.stringify(json.paths["/api/ablate"]);
    for (const field of ["byPosition", "reference", "controls"]) expect(text).toContain(field);
  });
});

describe("a prompt", () => {
  test("has its tokens, losses and next tokens: the model copies what followed", () => {
    expect(prompt.id).toMatch(/^p[0-9a-f]{24}$/);
    expect(prompt.ids).toEqual(IDS);
    expect(prompt.tokens).toHaveLength(IDS.length);
    expect(prompt.nll).toHaveLength(IDS.length - 1);
    expect(prompt.next[0]!.id).toBe(4);
    expect(prompt.loss).toBeCloseTo(prompt.nll.reduce((a, b) => a + b) / prompt.nll.length, 5);
  });

  const patterns = (query = "", headers = {}) =>
    fetch(new URL(`/api/prompts/${prompt.id}/patterns/1${query}`, server.server.url), {
      headers: { ...server.credentials, ...headers },
    });

  test("gives its patterns as safetensors, whole and in part, in both precisions", async () => {
    const whole = readSafetensors(await (await patterns()).arrayBuffer())[0]!;
    expect(whole.shape).toEqual([4, 7, 7]);
    const row = whole.data.slice(0, 49);
    for (let q = 0; q < 7; q++) expect(row.slice(7 * q, 7 * q + 7).reduce((a, b) => a + b)).toBeCloseTo(1, 5);
    const part = readSafetensors(await (await patterns("?heads=0&queries=5:7&keys=0:3")).arrayBuffer())[0]!;
    expect(part.shape).toEqual([1, 2, 3]);
    expect(Array.from(part.data)).toEqual([5, 6].flatMap((q) => Array.from(row.slice(7 * q, 7 * q + 3))));
    const half = readSafetensors(await (await patterns("?dtype=f16")).arrayBuffer())[0]!;
    for (const [i, value] of half.data.entries()) expect(Math.abs(value - whole.data[i]!)).toBeLessThan(1e-3);
  });

  test("answers 304 to one who has the part already, and for no other part", async () => {
    const first = await patterns("?heads=1");
    const etag = first.headers.get("etag")!;
    expect(first.headers.get("cache-control")).toContain("private");
    expect((await patterns("?heads=1", { "if-none-match": etag })).status).toBe(304);
    expect((await patterns("?heads=1", { "if-none-match": `"other", W/${etag}` })).status).toBe(304);
    expect((await patterns("?heads=2", { "if-none-match": etag })).status).toBe(200);
    expect((await patterns("?heads=1&dtype=f16", { "if-none-match": etag })).status).toBe(200);
  });

  test("gives an activation by its hook, and refuses one that is none", async () => {
    const path = (hook: string) => `/api/prompts/${prompt.id}/activations/${hook}`;
    const response = await fetch(new URL(path("blocks.0.hook_resid_pre"), server.server.url), {
      headers: server.credentials,
    });
    const [tensor] = readSafetensors(await response.arrayBuffer());
    expect(tensor).toMatchObject({ name: "blocks.0.hook_resid_pre", shape: [7, 448] });
    expect((await server.get<Problem>(path("blocks.9.hook_resid_pre"))).status).toBeGreaterThanOrEqual(404);
  });

  test("is not found under another id", async () => {
    const { json, status } = await server.get<Problem>(`/api/prompts/p${"0".repeat(24)}/patterns/0`);
    expect(status).toBe(404);
    expect(json.remedy).toContain("POST /api/prompts");
  });
});

describe("proofs", () => {
  test("ablating the induction head takes the copying away, and its control does not", async () => {
    const { json } = await server.post<AblateResult>("/api/ablate", { prompt: prompt.id, heads: ["1.1"] });
    expect(json.clean.nll[0]).toEqual(prompt.nll.map((value) => expect.closeTo(value, 4)));
    const copied = (nll: readonly (readonly number[])[]) => nll[0]!.at(-1)!;
    expect(copied(json.clean.nll)).toBeLessThan(0.1);
    expect(copied(json.ablated.nll)).toBeGreaterThan(1);
    for (const { nll } of json.control!.draws) expect(copied(nll)).toBeLessThan(0.1);
    const rows = await server.post<AblateResult>("/api/ablate", { model: MODEL, rows: [IDS, IDS], heads: ["0.0"] });
    expect(rows.json.clean.nll).toHaveLength(2);
  });

  test("an intervention is data", async () => {
    const interventions = [{ at: "blocks.1.attn.hook_z", do: "zero" }];
    const { json } = await server.post<InterveneResult>("/api/intervene", { prompt: prompt.id, interventions });
    expect(json.clean.next[0]!.id).toBe(4);
    expect(json.changed.next[0]!.probability).toBeLessThan(0.5);
  });

  const pair = { clean: [7, 3, 9, 7, 3], corrupt: [7, 3, 5, 7, 3], answer: 9, wrong: 5 };

  test("a pair is aligned, and patched from the clean run", async () => {
    const aligned = (await server.post<PairAlignment>("/api/pairs", { model: MODEL, pair })).json;
    expect(aligned).toMatchObject({ differ: [2] });
    expect(aligned.problem).toBeUndefined();
    const { json } = await server.post<PatchResponse>("/api/patch", { model: MODEL, pairs: [pair] });
    expect(json.clean).toBeGreaterThan(0);
    expect(json.corrupt).toBeLessThan(0);
    expect(json.patched).toHaveLength(2);
  });

  test("neurons are patched in groups where the model has any", async () => {
    const families = fileURLToPath(new URL("../../fixtures/families", import.meta.url));
    await server.post("/api/roots", { path: families });
    const oracle = circuitOracle("llama-gqa");
    const { exact } = oracle.patch.find(({ direction }) => direction === "denoise")!.mlp_post!;
    const neurons = { node: "mlp_post", by: "neurons", group: 20 };
    const body = { model: `${families}/llama-gqa`, pairs: oracle.pairs.slice(0, 1), ...neurons };
    const { json } = await server.post<PatchResponse>("/api/patch", body);
    expect(json.group).toBe(20);
    expect(json.patched.map((row) => row.length)).toEqual(exact.map((row) => row.length));
    expect(json.patched[0]![1]!).toBeCloseTo(exact[0]![1]!, 3);
    for (const refused of [
      { model: MODEL, pairs: [pair], ...neurons },
      { ...body, group: 1_000 },
      { ...body, node: "z" },
    ])
      expect((await server.post("/api/patch", refused)).status).toBeGreaterThanOrEqual(400);
  });

  test("a circuit is found, and its edges alone give the clean run's answer", async () => {
    const body = { model: MODEL, pairs: [pair], method: "exact", edges: 200 };
    const { circuit, curve } = (await server.post<CircuitAnswer>("/api/circuits", body)).json;
    expect(circuit.edges).toHaveLength(circuit.total);
    expect(curve.curve[0]).toMatchObject({ edges: 0 });
    expect(curve.curve[0]!.metric).toBeCloseTo(circuit.corrupt, 4);
    expect(curve.curve.at(-1)!.metric).toBeCloseTo(circuit.clean, 4);
  });

  test("patching streams its progress to one who accepts events", async () => {
    const body = { model: MODEL, pairs: [pair] };
    const { text, headers } = await server.post("/api/patch", body, { accept: "text/event-stream" });
    expect(headers.get("content-type")).toMatch(/^text\/event-stream/);
    expect(text).toMatch(/^event: progress\ndata: \{"done":1,/);
    expect(text.match(/^event: (\w+)$/gm)!.at(-1)).toBe("event: done");
  });

  test("what is refused before the first event is an ordinary problem", async () => {
    const body = { model: MODEL, pairs: [{ ...pair, clean: [7, 3] }] };
    const { status, json } = await server.post<Problem>("/api/patch", body, { accept: "text/event-stream" });
    expect([status, json.kind]).toEqual([422, "input"]);
  });
});

describe("generation", () => {
  const body = { model: MODEL, tokens: IDS, maxTokens: 3 };

  test("continues, and streams the same tokens", async () => {
    const { json } = await server.post<GenerateResult>("/api/generate", body);
    expect(json.ids).toEqual([4, 7, 3]);
    const { text } = await server.post("/api/generate", body, { accept: "text/event-stream" });
    const ids = [...text.matchAll(/^event: token\ndata: (.*)$/gm)].map(([, data]) => JSON.parse(data!).id);
    expect(ids).toEqual([4, 7, 3]);
    const done = JSON.parse(/^event: done\ndata: (.*)$/m.exec(text)![1]!);
    expect(done).toMatchObject({ ids: json.ids, promptTokens: 7, cache: { bytes: json.cache.bytes } });
  });

  test("ends at a given token, and says why it ended", async () => {
    const free = await server.post<GenerateResult>("/api/generate", body);
    expect(free.json.stopped).toEqual({ by: "limit", tokens: 3 });
    const { json } = await server.post<GenerateResult>("/api/generate", { ...body, stop: [7] });
    expect(json.ids).toEqual([4]);
    expect(json.stopped).toEqual({ by: "token", id: 7 });
    for (const stop of [["a text"], [""], [1e9], Array.from({ length: 17 }, (_, id) => id)]) {
      const { status } = await server.post<Problem>("/api/generate", { ...body, stop });
      expect(status).toBe(422);
    }
  });

  test("with a mask needs less memory; a mask of another model is refused", async () => {
    const mask = (
      await server.post<{ mask: object }>("/api/masks", { model: MODEL, kvHeads: ["1.0"], sink: 1, recent: 2 })
    ).json.mask;
    const { json } = await server.post<GenerateResult>("/api/generate", { ...body, mask });
    expect(json.cache.bytes).toBeLessThan(json.cache.bytesFull);
    const other = { ...mask, model: { ...(mask as { model: object }).model, digest: `sha256:${"0".repeat(64)}` } };
    const refused = await server.post<Problem>("/api/generate", { ...body, mask: other });
    expect([refused.status, refused.json.kind]).toEqual([409, "mismatch"]);
  });

  test("under policies it holds less; a document's id names a mask, and no other file can be named", async () => {
    const mask = (
      await server.post<{ mask: object }>("/api/masks", {
        model: MODEL,
        kvHeads: ["1.0"],
        sink: 1,
        recent: 2,
        name: "one",
      })
    ).json.mask;
    const tova = { name: "tova", params: { budget: 2 } };
    const heads = { name: "duo-attention", params: { mask: "masks/one.json", prefill: "dense" } };
    const tokens = [...IDS, ...IDS, ...IDS, ...IDS];
    const { json } = await server.post<GenerateResult>("/api/generate", { ...body, tokens, policies: [tova] });
    expect(json.cache.bytes).toBeLessThan(json.cache.bytesFull);
    expect(json.policies).toEqual([{ name: "tova", params: { budget: 2, rerotate: false, when: "prefill" } }]);
    const under = await server.post<GenerateResult>("/api/generate", { ...body, policies: [heads] });
    const masked = await server.post<GenerateResult>("/api/generate", { ...body, mask, prefill: "dense" });
    expect([under.json.ids, under.json.cache]).toEqual([masked.json.ids, masked.json.cache]);
    expect(under.json.policies).toEqual([{ name: "duo-attention", params: { prefill: "dense", when: "decode" } }]);
    const refused: [object, number][] = [
      [{ name: "tovo" }, 404],
      [{ name: "tova", params: { budgte: 2 } }, 422],
      [{ name: "duo-attention", params: { mask: "masks/none.json" } }, 404],
      [{ name: "duo-attention", params: { mask: "/etc/passwd" } }, 404],
      [{ name: "duo-attention", params: { gates: "../../etc/passwd" } }, 404],
    ];
    for (const [policy, expected] of refused) {
      const { status } = await server.post<Problem>("/api/generate", { ...body, policies: [policy] });
      expect(status).toBe(expected);
    }
  });

  test("several prompts go on together, each as alone, and stream by row", async () => {
    const prompts = [{ tokens: IDS }, { tokens: IDS.slice(0, 4), maxTokens: 5 }, { tokens: IDS, stop: [7] }];
    const path = "/api/generate-batch";
    const { json } = await server.post<GenerateBatchResult>(path, { model: MODEL, prompts, maxTokens: 3 });
    for (const [row, prompt] of prompts.entries()) {
      const alone = (await server.post<GenerateResult>("/api/generate", { ...body, ...prompt })).json;
      const { prefillMs: _, decodeMsPerToken: __, ...facts } = alone;
      expect(json.rows[row]).toMatchObject(facts);
    }
    const { text } = await server.post(path, { model: MODEL, prompts, maxTokens: 3 }, { accept: "text/event-stream" });
    const told = [...text.matchAll(/^event: token\ndata: (.*)$/gm)].map(([, data]) => JSON.parse(data!));
    const ids = prompts.map((_, row) => told.filter((token) => token.row === row).map(({ id }) => id));
    expect(ids).toEqual(json.rows.map((row) => row.ids));
  });

  test("without the heads that copy it goes on with something else", async () => {
    const ablate = ["1.0", "1.1", "1.2", "1.3"];
    const { json } = await server.post<GenerateResult>("/api/generate", { ...body, ablate });
    expect(json.ids).not.toEqual([4, 7, 3]);
  });
});
