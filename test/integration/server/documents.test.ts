import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { HeadComparison } from "../../../backend/common/api/documents.ts";
import type { ExperimentEntry, ReportComparison } from "../../../backend/common/api/experiments.ts";
import type { ExportResult } from "../../../backend/common/api/exports.ts";
import type { MaskEntry, ScoresEntry } from "../../../backend/common/api/heads.ts";
import type { Health } from "../../../backend/common/api/health.ts";
import type { ModelInfo } from "../../../backend/common/api/models.ts";
import type { Problem } from "../../../backend/common/api/problem.ts";
import type { Report } from "../../../backend/common/figures/report.ts";
import { createReport, writeReport } from "../../../backend/reports/report.ts";
import { self } from "../../../backend/store/owner.ts";
import { buildCli } from "../../helpers/cli.ts";
import { openServer, type TestServer } from "../../helpers/servers/api.ts";

const MODEL = "toy-induction";
let server: TestServer;
let digest = "";

beforeAll(async () => {
  await buildCli();
  server = await openServer();
  ({ digest } = (await server.get<ModelInfo>(`/api/models/${MODEL}`)).json);
});
afterAll(() => server.close());

describe("documents", () => {
  const scores = (value: number) => ({
    format: "headscope.head-scores/1",
    model: { ref: MODEL, digest, layers: 2, heads: 4, kvHeads: 4 },
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
    const claims = report.claims.map(({ id, verdict, why }) => ({ id, verdict, why }));
    const entry = {
      id,
      preset: "quick",
      changed: [],
      created: report.created,
      summary: "it came out",
      verdicts,
      claims,
    };
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
