import { existsSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { JobSummary } from "../../../backend/common/api/jobs.ts";
import type { ModelEntry } from "../../../backend/common/api/models.ts";
import type { Problem } from "../../../backend/common/api/problem.ts";
import type { RunCurves, RunDetail, RunSummary } from "../../../backend/common/api/runs.ts";
import { pulledModel } from "../../../backend/models/sources/pull.ts";
import { startServer } from "../../../backend/server/server.ts";
import { openStore } from "../../../backend/store/store.ts";
import { buildCli } from "../../helpers/cli.ts";
import { headscope } from "../../helpers/headscope.ts";
import { Listening, openServer, type Sent, type TestServer } from "../../helpers/servers/api.ts";

const SMALL = { d_model: 16, n_heads: 2, vocabulary: 16, batch: 8, evaluation_rows: 8, points: 3, checkpoints: 3 };
let server: TestServer;

beforeAll(async () => {
  await buildCli();
  server = await openServer({ worker: { threads: 1 } });
});
afterAll(() => server.close());

const listen = (headers: Record<string, string> = {}) => new Listening(server, "/api/events", headers).open();
const jobIs =
  (id: number, ...statuses: string[]) =>
  (sent: Sent) =>
    sent.event === "job" && (sent.data as JobSummary).id === id && statuses.includes((sent.data as JobSummary).status);

/** Waits for a job's end. */
async function ended(id: number): Promise<JobSummary> {
  for (;;) {
    const { json } = await server.get<JobSummary>(`/api/jobs/${id}`);
    if (!["queued", "running"].includes(json.status)) return json;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

function train(params: object, seeds?: number[]) {
  const body = { task: "induction", params: { ...SMALL, ...params }, ...(seeds ? { seeds } : {}) };
  return server.post<{ job: JobSummary; runs: RunSummary[] }>("/api/runs", body);
}

describe("a training", () => {
  let job: JobSummary;
  let runs: RunSummary[];
  let heard: Listening;

  beforeAll(async () => {
    heard = await listen();
    const asked = await train({ steps: 6 }, [0, 1]);
    expect(asked.status).toBe(202);
    ({ job, runs } = asked.json);
    await heard.until(jobIs(job.id, "done"));
    await heard.until(({ event, data }) => event === "run" && (data as RunSummary).status === "done");
  });
  afterAll(() => heard.stop());

  test("is one job for all seeds, told of as it goes: job, run, measurements, checkpoints", async () => {
    expect(runs.map(({ id, seed, group }) => [id, seed, group])).toEqual([
      ["induction-1", 0, "induction-1"],
      ["induction-2", 1, "induction-1"],
    ]);
    expect(job).toMatchObject({ kind: "train", title: "training induction-1, induction-2", status: "queued" });
    const of = (event: string) => heard.events.filter((sent) => sent.event === event).map(({ data }) => data);
    const steps = (of("metrics") as { run: string; step: number; values: object }[])
      .filter(({ run }) => run === "induction-1")
      .map(({ step }) => step);
    expect(steps).toEqual([...steps].sort((a, b) => a - b));
    expect(steps.at(-1)).toBe(6);
    expect(new Set(steps).size).toBe(steps.length);
    expect(of("checkpoint")).toContainEqual({ run: "induction-2", step: 6 });
    const ids = heard.events.map(({ id }) => Number(id!.split("-")[1]));
    expect(ids).toEqual(ids.map((_, i) => ids[0]! + i));
  });

  test("leaves runs with curves, checkpoints and the command line that trains them", async () => {
    const { json } = await server.get<RunDetail>("/api/runs/induction-1");
    expect(json).toMatchObject({ status: "done", step: 6, steps: 6, tokens: true, spec: { task: "induction" } });
    expect(json.checkpoints.at(-1)).toBe(6);
    expect(json.command).toMatch(/^npx headscope train induction .*--param steps=6/);
    expect(json.evaluations?.["in-context"]?.chance?.accuracy).toBeGreaterThan(0);
    expect(json.evenScores?.["induction.induction"]).toBeGreaterThan(0);
    expect(json.evenScores?.["induction.induction"]).toBeLessThan(0.5);
    const curves = (await server.get<RunCurves>("/api/runs/induction-1/metrics")).json;
    expect(curves["loss"]!.at(-1)).toEqual([6, json.last["loss"]]);
    const models = (await server.get<ModelEntry[]>("/api/models")).json;
    expect(models.map(({ ref }) => ref)).toEqual(expect.arrayContaining(["run:induction-1", "run:induction-2"]));
    expect((await server.get("/api/runs/induction-9")).status).toBe(404);
  });

  test("is a model at each of its checkpoints", async () => {
    const path = (ref: string) => `/api/models/${encodeURIComponent(ref)}`;
    const [first, last] = [
      await server.get<{ digest: string }>(path("run:induction-1@0")),
      await server.get<{ digest: string }>(path("run:induction-1")),
    ];
    expect(first.json.digest).not.toBe(last.json.digest);
    expect((await server.get(path("run:induction-1@5000"))).status).toBe(422);
  });

  test("those who come back are told what they missed, in order and once; strangers are told to read anew", async () => {
    const last = heard.events.at(-4)!.id!;
    const back = await listen({ "last-event-id": last });
    await back.until(({ id }) => id === heard.events.at(-1)!.id);
    expect(back.events.slice(0, 3)).toEqual(heard.events.slice(-3));
    const stranger = await listen({ "last-event-id": "0123abcd-7" });
    expect((await stranger.until(() => true)).event).toBe("reset");
    for (const each of [back, stranger]) each.stop();
  });

  test("has its heads scored at every checkpoint", async () => {
    const request = { kind: "history", run: "induction-1", probe: "induction", params: { length: 8, samples: 2 } };
    const asked = (await server.post<JobSummary>("/api/jobs", request)).json;
    const { status, result } = await ended(asked.id);
    expect(status).toBe("done");
    const { history } = result as { history: string };
    const { json } = await server.get<{ format: string }>(`/api/histories/${history}`);
    expect(json.format).toBe("headscope.head-history/1");
    const { json: list } = await server.get<{ id: string; probe: string }[]>("/api/histories?run=induction-1");
    expect(list).toEqual([{ id: history, run: "induction-1", probe: "induction" }]);
    expect((await server.get("/api/histories/histories/..%2F..%2Fx.json")).status).toBe(404);
  });

  test("is removed with its files", async () => {
    const folder = join(server.folder, "runs", "induction-2");
    expect(existsSync(folder)).toBe(true);
    expect((await server.remove("/api/runs/induction-2")).status).toBe(204);
    expect(existsSync(folder)).toBe(false);
    await heard.until(({ event }) => event === "reset");
  });
});

describe("jobs", () => {
  test("a probe's scores are told of, and are in the library", async () => {
    const heard = await listen();
    const probes = [{ name: "induction", params: { length: 12 } }];
    const asked = (await server.post<JobSummary>("/api/jobs", { kind: "probe", model: "toy-induction", probes })).json;
    const { result } = await ended(asked.id);
    const [id] = (result as { scores: string[] }).scores;
    await heard.until(({ event, data }) => event === "library" && (data as { scores?: string }).scores === id);
    const { json } = await server.get<{ metrics: { induction: { values: number[][] } } }>(`/api/scores/${id}`);
    expect(json.metrics.induction.values[1]![1]).toBeGreaterThan(0.9);
    heard.stop();
  });

  test("one that runs is stopped at the next good point, and goes on from there", async () => {
    const heard = await listen();
    const { job, runs } = (await train({ steps: 1_000_000, points: 400 })).json;
    await heard.until(({ event, data }) => event === "metrics" && (data as { run: string }).run === runs[0]!.id);
    const { status } = await server.remove(`/api/jobs/${job.id}`);
    expect(status).toBe(202);
    expect((await ended(job.id)).status).toBe("cancelled");
    const stopped = (await server.get<RunDetail>(`/api/runs/${runs[0]!.id}`)).json;
    expect(stopped).toMatchObject({ status: "cancelled" });
    expect(stopped.checkpoints).toContain(stopped.step);
    const again = await server.post<{ job: JobSummary }>(`/api/runs/${runs[0]!.id}/resume`, {});
    expect([again.status, again.json.job.id]).toEqual([202, job.id]);
    const isFurther = ({ event, data }: Sent) =>
      event === "metrics" &&
      (data as { run: string; step: number }).run === runs[0]!.id &&
      (data as { step: number }).step > stopped.step;
    await heard.until(isFurther);
    await server.remove(`/api/jobs/${job.id}`);
    expect((await ended(job.id)).status).toBe("cancelled");
    heard.stop();
  });

  test.each([
    [{ kind: "probe", model: "toy-induction", probes: [{ name: "inductoin" }] }, 404, "inductoin"],
    [{ kind: "probe", model: "toy-induction", probes: [{ name: "induction", params: { length: -1 } }] }, 422, "length"],
    [{ kind: "history", run: "induction-99", probe: "induction" }, 404, "induction-99"],
    [{ kind: "experiment", name: "induction-emergence", preset: "huge" }, 422, "preset"],
    [{ kind: "experiment", name: "induction-emergence", preset: "quick", params: { x: 1 } }, 422, '"x"'],
    [{ kind: "pull", model: "toy-induction" }, 422, "built in memory"],
    [{ kind: "dance" }, 422, "kind"],
  ])("%j is refused before it is a job", async (body, status, says) => {
    const before = (await server.get<unknown[]>("/api/jobs")).json.length;
    const { json } = await server.post<Problem>("/api/jobs", body);
    expect([json.status, json.detail]).toEqual([status, expect.stringContaining(says)]);
    expect((await server.get<unknown[]>("/api/jobs")).json).toHaveLength(before);
  });

  test.skipIf(pulledModel("gemma3-270m"))(
    "a pull of a model with terms is no job until they are accepted",
    async () => {
      const { json } = await server.post<Problem>("/api/jobs", { kind: "pull", model: "gemma3-270m" });
      expect([json.status, json.detail]).toEqual([422, expect.stringContaining("Gemma Terms of Use")]);
      const listed = (await server.get<ModelEntry[]>("/api/models")).json.find(({ ref }) => ref === "gemma3-270m");
      expect(listed?.terms?.url).toMatch(/^https:/);
    },
  );

  test("a training that cannot be is refused before there is a run", async () => {
    const before = (await server.get<unknown[]>("/api/runs")).json.length;
    const refused = async (body: object) => (await server.post<Problem>("/api/runs", body)).json;
    expect((await refused({ task: "inductoin" })).status).toBe(404);
    expect((await refused({ task: "induction", params: { vocabulary: 0 } })).detail).toContain("vocabulary");
    expect((await refused({ task: "induction", probes: ["nothing"] })).status).toBe(404);
    expect((await refused({ task: "induction", seeds: [] })).status).toBe(422);
    expect((await server.get<unknown[]>("/api/runs")).json).toHaveLength(before);
  });

  test("what a command in a terminal does is told of too", async () => {
    const heard = await listen();
    const params = Object.entries(SMALL).flatMap(([name, value]) => ["--param", `${name}=${value}`]);
    const run = headscope(["train", "induction", "--steps", "4", ...params, "--json"], {
      env: { HEADSCOPE_HOME: server.folder },
    });
    const { run: id } = (await run).json<{ run: string }>();
    await heard.until(
      ({ event, data }) =>
        event === "checkpoint" &&
        (data as { run: string; step: number }).run === id &&
        (data as { step: number }).step === 4,
    );
    await heard.until(
      ({ event, data }) => event === "run" && (data as RunSummary).id === id && (data as RunSummary).status === "done",
    );
    heard.stop();
  });
});

test("a server that ends leaves its job in the queue, and the next one goes on with it", async () => {
  const folder = join(server.folder, "other");
  const options = { folder, port: 0, worker: { threads: 1 } };
  const first = await startServer(options);
  const body = { task: "induction", params: { ...SMALL, steps: 120 } };
  const asked = await fetch(new URL("/api/runs", first.url), {
    method: "POST",
    headers: { "content-type": "application/json", authorization: `Bearer ${first.token}` },
    body: JSON.stringify(body),
  });
  const { job } = (await asked.json()) as { job: JobSummary };
  while (first.context.store.run("induction-1").step < 1) await new Promise((resolve) => setTimeout(resolve, 20));
  await first.close();
  const store = openStore({ folder });
  const { status } = store.job(job.id);
  const { step } = store.run("induction-1");
  store.close();
  expect(["queued", "done"]).toContain(status);
  expect(step).toBeGreaterThan(0);
  const second = await startServer(options);
  while (second.context.store.job(job.id).status !== "done") await new Promise((resolve) => setTimeout(resolve, 20));
  expect(second.context.store.run("induction-1")).toMatchObject({ status: "done", step: 120 });
  await second.close();
});
