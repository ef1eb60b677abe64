import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { JobSummary } from "../../backend/common/api/jobs.ts";
import type { Problem } from "../../backend/common/api/problem.ts";
import type { RunSummary } from "../../backend/common/api/runs.ts";
import { buildCli } from "../helpers/cli.ts";
import { headscope } from "../helpers/headscope.ts";
import { openServer, type TestServer } from "../helpers/servers/api.ts";
import { trainSpec } from "../helpers/training/specs.ts";

const HANDLERS = join(import.meta.dirname, "../helpers/processes/handlers.mjs");

/** A mask document of so many layers, with 8 heads each. */
function mask(layers: number): object {
  const kvHeads = Array.from({ length: layers }, () => Array.from({ length: 8 }, () => "retrieval"));
  return { format: "headscope.head-mask/1", model: { ref: "m", layers, heads: 8, kvHeads: 8 }, kvHeads };
}

beforeAll(() => buildCli());

describe("jobs", () => {
  let server: TestServer;
  beforeAll(async () => {
    server = await openServer({ limits: { bodyBytes: 4_096 }, worker: { handlers: HANDLERS } });
  });
  afterAll(() => server.close());

  const list = async () => (await server.get<JobSummary[]>("/api/jobs")).json;

  /** A job that has ended. */
  async function ended(): Promise<number> {
    const { queue, store } = server.server.context;
    const { id } = queue.add("echo", 1);
    while (store.jobEntry(id).status !== "done") await new Promise((resolve) => setTimeout(resolve, 20));
    return id;
  }

  test("are asked for with less than a document may have", async () => {
    const needle = { kind: "needle", model: "toy-induction", lengths: [16], depths: [0], mask: mask(100) };
    expect((await server.post("/api/jobs", needle)).status).toBe(413);
    expect((await server.post("/api/masks", { mask: mask(100) })).status).toBe(201);
  });

  test("that have ended are removed once", async () => {
    const id = await ended();
    expect((await list()).map((each) => each.id)).toContain(id);
    const removed = await Promise.all(Array.from({ length: 4 }, () => server.remove(`/api/jobs/${id}`)));
    expect(removed.map(({ status }) => status).sort()).toEqual([204, 404, 404, 404]);
    expect((await list()).map((each) => each.id)).not.toContain(id);
  });

  test("that have ended stay when somebody cancels them", async () => {
    const id = await ended();
    const { status, json } = await server.post<JobSummary>(`/api/jobs/${id}/cancel`, {});
    expect([status, json.status]).toEqual([202, "done"]);
    expect((await list()).map((each) => each.id)).toContain(id);
  });

  test("that wait or run are stopped, not removed", async () => {
    const { id } = server.server.context.queue.add("patient", null);
    expect((await server.remove(`/api/jobs/${id}`)).status).toBe(202);
    expect((await list()).map((each) => each.id)).toContain(id);
  });

  test("are removed from the terminal, where those that have not ended are refused", async () => {
    const { queue, store } = server.server.context;
    const env = { HEADSCOPE_HOME: server.folder };
    const working = queue.add("obedient", null).id;
    const early = await headscope(["jobs", "rm", String(working)], { env });
    expect([early.code, early.stderr]).toEqual([2, expect.stringContaining("jobs cancel")]);
    const id = await ended();
    expect((await headscope(["jobs", "rm", String(id), "--json"], { env })).json()).toEqual({ removed: id });
    expect(store.jobs().map((each) => each.id)).not.toContain(id);
  });
});

describe("a queue that takes no more", () => {
  let server: TestServer;
  let run: string;
  let job: number;
  beforeAll(async () => {
    server = await openServer({ limits: { queuedJobs: 0 } });
    const { store } = server.server.context;
    const spec = trainSpec({ training: { steps: 10 } });
    run = store.createRuns(spec, [0])[0]!.id;
    store.updateRun(run, { status: "cancelled" });
    job = store.addJob(
      "probe",
      { kind: "probe", model: "toy-induction", probes: [{ name: "induction" }] },
      { keep: true },
    ).id;
    store.cancelJob(job);
  });
  afterAll(() => server.close());

  test.each<[string, () => string, object]>([
    ["a probe", () => "/api/jobs", { kind: "probe", model: "toy-induction", probes: [{ name: "induction" }] }],
    ["an experiment", () => "/api/jobs", { kind: "experiment", name: "induction-emergence", preset: "quick" }],
    ["a training", () => "/api/runs", { task: "induction", params: { steps: 10 } }],
    ["a training that goes on", () => `/api/runs/${run}/resume`, {}],
    ["a job that goes on", () => `/api/jobs/${job}/resume`, {}],
  ])("refuses %s and keeps nothing of it", async (_, path, body) => {
    const before = (await server.get<RunSummary[]>("/api/runs")).text + (await server.get("/api/jobs")).text;
    const { status, json, headers } = await server.post<Problem>(path(), body);
    expect([status, json.kind, headers.get("retry-after")]).toEqual([429, "busy", "1"]);
    expect((await server.get("/api/runs")).text + (await server.get("/api/jobs")).text).toBe(before);
  });
});
