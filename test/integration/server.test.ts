import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Definitions } from "../../backend/common/api/definitions.ts";
import type { HeadComparison } from "../../backend/common/api/documents.ts";
import type { ExperimentEntry, ReportComparison } from "../../backend/common/api/experiments.ts";
import type { ExportResult } from "../../backend/common/api/exports.ts";
import type { GenerateResult } from "../../backend/common/api/generation.ts";
import type { MaskEntry, ScoresEntry } from "../../backend/common/api/heads.ts";
import type { Health } from "../../backend/common/api/health.ts";
import type { AblateResult, InterveneResult } from "../../backend/common/api/interventions.ts";
import type { ModelEntry, ModelInfo } from "../../backend/common/api/models.ts";
import type { PairAlignment, PatchResponse } from "../../backend/common/api/patching.ts";
import type { Problem } from "../../backend/common/api/problem.ts";
import type { Prompt } from "../../backend/common/api/prompts.ts";
import type { Report } from "../../backend/common/figures/report.ts";
import { createReport, writeReport } from "../../backend/reports/report.ts";
import { self } from "../../backend/store/owner.ts";
import { readSafetensors } from "../../frontend/src/api/safetensors.ts";
import { buildCli } from "../helpers/cli.ts";
import { openServer, type TestServer } from "../helpers/servers/api.ts";

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

  test("without the heads that copy it goes on with something else", async () => {
    const ablate = ["1.0", "1.1", "1.2", "1.3"];
    const { json } = await server.post<GenerateResult>("/api/generate", { ...body, ablate });
    expect(json.ids).not.toEqual([4, 7, 3]);
  });
});

describe("documents", () => {
  const scores = (value: number) => ({
    format: "headscope.head-scores/1",
    model: { ref: MODEL, digest: prompt.digest, layers: 2, heads: 4, kvHeads: 4 },
    probe: "mine",
    metrics: {
      mine: {
        axis: "heads",
        values: [
          [0, 0.1, 0.2, 0.3],
          [value, 0, 0, 0],
        ],
      },
    },
  });

  test("scores are kept, listed, read and removed", async () => {
    const kept = await server.post<ScoresEntry>("/api/scores", scores(0.9));
    expect([kept.status, kept.json.id]).toEqual([
      201,
      expect.stringMatching(/^scores\/toy-induction\/mine-[0-9a-f]{12}\.json$/),
    ]);
    expect((await server.post<ScoresEntry>("/api/scores", scores(0.9))).json.id).toBe(kept.json.id);
    const list = () => server.get<ScoresEntry[]>("/api/scores").then(({ json }) => json.map(({ id }) => id));
    expect(await list()).toContain(kept.json.id);
    expect((await server.get<ScoresEntry[]>("/api/scores?model=other")).json).toEqual([]);
    const { json } = await server.get<{ metrics: object }>(`/api/scores/${kept.json.id}`);
    expect(json.metrics).toEqual(scores(0.9).metrics);
    expect((await server.remove(`/api/scores/${kept.json.id}`)).status).toBe(204);
    expect(await list()).not.toContain(kept.json.id);
    expect((await server.get(`/api/scores/${kept.json.id}`)).status).toBe(404);
  });

  test("two score documents are compared by depth; one that is not there and an unknown metric are said", async () => {
    const ids = await Promise.all(
      [0.9, 0.1].map(async (value) => (await server.post<ScoresEntry>("/api/scores", scores(value))).json.id),
    );
    const of = (query: Record<string, string>) =>
      server.get<HeadComparison & Problem>(`/api/comparison?${new URLSearchParams(query)}`);
    const pair = { first: ids[0]!, second: ids[1]! };
    const { json } = await of({ ...pair, top: "1" });
    expect(json.models.map(({ top }) => top.map(({ value }) => value))).toEqual([[0.9], [0.3]]);
    expect((await of({ ...pair, second: "scores/none.json" })).status).toBe(404);
    expect((await of({ ...pair, metric: "none" })).status).toBe(404);
    for (const top of ["0", "-1", "many"]) expect((await of({ ...pair, top })).status, top).toBe(422);
  });

  test("scores of another shape than they say are refused, and nothing is kept", async () => {
    const bad = scores(1);
    bad.metrics.mine.values.pop();
    const { status, json } = await server.post<Problem>("/api/scores", bad);
    expect(status).toBe(422);
    expect(json.detail).toContain("metrics.mine.values has 1 rows, expected 2");
  });

  test("masks are made from scores, heads or a document, and kept under a name", async () => {
    const { id } = (await server.post<ScoresEntry>("/api/scores", scores(0.8))).json;
    const top = await server.post<{ id: string; mask: { kvHeads: string[][] } }>("/api/masks", {
      scores: id,
      top: 1,
      name: "best",
    });
    expect(top.json.id).toBe("masks/best.json");
    expect(top.json.mask.kvHeads[1]).toEqual(["retrieval", "streaming", "streaming", "streaming"]);
    const ablate = await server.post<{ id?: string; mask: object }>("/api/masks", { model: MODEL, ablate: ["0.3"] });
    expect(ablate.json.id).toBeUndefined();
    const again = await server.post<{ mask: object }>("/api/masks", { mask: ablate.json.mask });
    expect(again.json.mask).toEqual(ablate.json.mask);
    const { json } = await server.get<MaskEntry[]>("/api/masks");
    expect(json).toMatchObject([{ id: "masks/best.json", full: [1, 8], ablated: 0 }]);
    expect((await server.remove("/api/masks/masks/best.json")).status).toBe(204);
  });

  test("a rule that does not go is refused with the remedy", async () => {
    const { id } = (await server.post<ScoresEntry>("/api/scores", scores(0.7))).json;
    const both = await server.post<Problem>("/api/masks", { scores: id, top: 1, quantile: 0.5 });
    expect([both.status, both.json.detail]).toEqual([422, "top and quantile cannot go together"]);
    const head = await server.post<Problem>("/api/masks", { model: MODEL, kvHeads: ["5.0"] });
    expect([head.status, head.json.remedy]).toEqual([422, "layers are 0 to 1, heads 0 to 3"]);
  });

  test("an export is written, shown, downloaded, and its import gives the scores again", async () => {
    const { id } = (await server.post<ScoresEntry>("/api/scores", scores(0.6))).json;
    const mask = (await server.post<{ mask: object }>("/api/masks", { scores: id, top: 3 })).json.mask;
    const { status, json } = await server.post<ExportResult>("/api/exports", { format: "duo-attention", mask });
    expect(status).toBe(201);
    expect(json.files.map(({ name }) => name)).toEqual([
      "duo-attention/config.json",
      "duo-attention/full_attention_heads.tsv",
    ]);
    expect(json.command).toMatch(/^npx headscope export duo-attention --mask \S+ --out duo-attention$/);
    const [config, heads] = json.files as [ExportResult["files"][0], ExportResult["files"][0]];
    const file = await server.get<string>(heads.url);
    expect(file.text).toBe(heads.text);
    expect(file.headers.get("content-disposition")).toBe("attachment; filename=full_attention_heads.tsv");
    const files = { "config.json": config.text, "full_attention_heads.tsv": heads.text };
    const read = await server.post<ScoresEntry>("/api/imports", { format: "duo-attention", model: MODEL, files });
    expect(read.status).toBe(201);
    const gates = (await server.get<{ metrics: { gate: { values: number[][] } } }>(`/api/scores/${read.json.id}`)).json;
    expect(gates.metrics.gate.values).toEqual([
      [0, 0, 1, 1],
      [1, 0, 0, 0],
    ]);
  });

  test("an export of scores is one file, and its import by path gives the numbers again", async () => {
    const { id } = (await server.post<ScoresEntry>("/api/scores", scores(0.5))).json;
    const { json } = await server.post<ExportResult>("/api/exports", { format: "retrieval-head", scores: id });
    expect(json.files).toHaveLength(1);
    const path = json.path.slice(server.folder.length + 1);
    const read = await server.post<ScoresEntry>("/api/imports", { format: "retrieval-head", model: MODEL, path });
    expect(read.json.metrics).toEqual([{ name: "retrieval", axis: "heads" }]);
  });

  test("what a format cannot hold is refused, and nothing is left of it", async () => {
    const mask = (await server.post<{ mask: object }>("/api/masks", { model: MODEL, kvHeads: [] })).json.mask;
    const refused = await server.post<Problem>("/api/exports", { format: "hf-prune", mask });
    expect([refused.status, refused.json.kind]).toEqual([422, "input"]);
    const damaged = { "full_attention_heads.tsv": "1\tx\n", "config.json": "{}" };
    const bad = await server.post<Problem>("/api/imports", { format: "duo-attention", model: MODEL, files: damaged });
    expect(bad.status).toBe(422);
    expect(bad.json.detail).toContain("line 1, column 2");
  });

  test("experiments are listed without reports where none was run", async () => {
    const { json } = await server.get<{ name: string; reports: unknown[] }[]>("/api/experiments");
    expect(json.find(({ name }) => name === "induction-emergence")).toMatchObject({ reports: [] });
    expect((await server.get("/api/experiments/induction-emergence/report")).status).toBe(404);
    expect((await server.get("/api/experiments/nothing/report")).status).toBe(404);
  });

  const NAME = "induction-emergence";
  test("a report is given as data and as a page that is shut off from the rest", async () => {
    const report = createReport({
      experiment: { name: "induction-emergence", title: "t", description: "d", source: "s" },
      preset: "quick",
      parameters: {},
      command: "npx headscope experiment run induction-emergence",
      summary: "it came out",
      claims: [
        { id: "a", statement: "A", source: "s", check: "c", measured: { x: 1 }, verdict: "reproduced", why: "w" },
        { id: "b", statement: "B", source: "s", check: "c", measured: {}, verdict: "not reproduced", why: "w" },
      ],
      figures: [],
      runs: [],
    });
    await writeReport(join(server.folder, "experiments", "induction-emergence-quick"), report);
    const list = (await server.get<ExperimentEntry[]>("/api/experiments")).json;
    const { reports } = list.find(({ name }) => name === NAME)!;
    const verdicts = { reproduced: 1, "not reproduced": 1 };
    const id = "induction-emergence-quick"; // a folder of an earlier version
    const entry = { id, preset: "quick", changed: [], created: report.created, summary: "it came out", verdicts };
    expect(reports).toEqual([entry]);
    const path = "/api/experiments/induction-emergence/report";
    expect((await server.get(`${path}?preset=quick`)).json).toEqual(JSON.parse(JSON.stringify(report)));
    expect((await server.get(`${path}?preset=full`)).status).toBe(404);
    const later = { ...report, parameters: { seeds: [5], steps: 500 }, created: "2999-01-01T00:00:00.000Z" };
    const second = "induction-emergence-quick-0123abcd-29990101T000000000Z";
    await writeReport(join(server.folder, "experiments", second), later);
    await writeReport(join(server.folder, "experiments", "induction-emergence-quick-other"), later); // no name of ours
    const both = (await server.get<ExperimentEntry[]>("/api/experiments")).json.find((each) => each.name === NAME)!;
    const changed = [
      { name: "seeds", value: "5" },
      { name: "steps", value: "500" },
    ];
    expect(both.reports).toEqual([{ ...entry, id: second, changed, created: later.created }, entry]);
    expect((await server.get<Report>(`${path}?id=${id}`)).json.created).toBe(report.created);
    expect((await server.get<Report>(path)).json.created).toBe(later.created);
    for (const stranger of ["..", "induction-emergence-full", "induction-emergence-quick-other"])
      expect((await server.get(`${path}?id=${encodeURIComponent(stranger)}`)).status).toBe(404);
    const comparison = `/api/experiments/${NAME}/comparison?first=${id}&second=${second}`;
    expect((await server.get<ReportComparison>(comparison)).json).toMatchObject({
      parameters: [
        { name: "seeds", values: [null, "5"] },
        { name: "steps", values: [null, "500"] },
      ],
      claims: [
        { id: "a", same: true },
        { id: "b", same: true },
      ],
    });
    const page = await server.get(`${path}.html`);
    expect(page.headers.get("content-type")).toMatch(/^text\/html/);
    const policy = page.headers.get("content-security-policy")!;
    expect(policy).toContain("sandbox allow-scripts");
    expect(policy).not.toContain("allow-same-origin");
  });

  test("what the main job left is where the pages begin", async () => {
    const { id } = (await server.post<ScoresEntry>("/api/scores", scores(0.4))).json;
    const { mask } = (await server.post<{ mask: object }>("/api/masks", { scores: id, top: 1 })).json;
    const state = { owner: self(), status: "done", part: "files", model: MODEL, run: "induction-1" };
    const files = {
      "state.json": state,
      "mine.json": scores(0.4),
      "mask.json": mask,
      "other.json": { format: "x" },
    };
    mkdirSync(join(server.folder, "start"));
    for (const [name, content] of Object.entries(files))
      writeFileSync(join(server.folder, "start", name), JSON.stringify(content));
    expect((await server.get<Health>("/api/health")).json.start).toEqual({
      status: "done",
      part: "files",
      model: MODEL,
      run: "induction-1",
      scores: ["start/mine.json"],
      mask: "start/mask.json",
    });
  });
});
