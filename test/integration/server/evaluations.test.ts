import { existsSync } from "node:fs";
import { mkdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { EvaluationEntry, PolicyEvaluation } from "../../../backend/common/api/evaluations.ts";
import type { JobSummary } from "../../../backend/common/api/jobs.ts";
import type { Problem } from "../../../backend/common/api/problem.ts";
import { Journal } from "../../../backend/evaluation/files/journal.ts";
import { writeEvaluation } from "../../../backend/evaluation/files/write.ts";
import { planEvaluation } from "../../../backend/evaluation/plan.ts";
import { removeEvaluation } from "../../../backend/server/library/evaluations.ts";
import type { JobStore } from "../../../backend/store/jobs.ts";
import { buildCli } from "../../helpers/cli.ts";
import { evaluatedPoint, policyEvaluationOf } from "../../helpers/formats/evaluations.ts";
import { openServer, type TestServer } from "../../helpers/servers/api.ts";
import { havePulled, onSmolLm2 } from "../../helpers/smollm2.ts";

let server: TestServer;
const folder = (...names: string[]): string => join(server.folder, "evaluations", ...names);
const list = async () => {
  const { json, status, text } = await server.get<EvaluationEntry[]>("/api/evaluations");
  expect(status, text).toBe(200);
  return json;
};

beforeAll(async () => {
  await buildCli();
  server = await openServer({ worker: { threads: 1 } });
});
afterAll(() => server.close());

describe("evaluations in the data folder", () => {
  const evaluation = policyEvaluationOf([evaluatedPoint()]);
  beforeAll(async () => {
    for (const id of ["done-0", "open-0"]) await Journal.open(folder(id), evaluation.model, evaluation.settings);
    await writeEvaluation(folder("done-0"), evaluation);
  });

  test("are listed, those that were stopped too; other folders and links are not", async () => {
    await mkdir(folder("other"), { recursive: true });
    await writeFile(folder("other", "journal.jsonl"), "{}\n");
    await symlink(folder("done-0"), folder("link"));
    const entries = (await list()).map(({ id, finished }) => [id, finished]);
    expect(entries.sort()).toEqual([
      ["done-0", true],
      ["open-0", false],
    ]);
  });

  test("are read as they were written, as data and as a page without scripts", async () => {
    expect((await server.get<PolicyEvaluation>("/api/evaluations/done-0")).json).toEqual(evaluation);
    const page = await server.get("/api/evaluations/done-0/report.html");
    expect(page.text).toContain("<!doctype html>");
    expect(page.headers.get("content-security-policy")).not.toContain("script");
  });

  test.each(["open-0", "none", "link", "..", "%2e%2e%2fscores", ".hidden"])("but not %s", async (id) => {
    expect((await server.get(`/api/evaluations/${id}`)).status).toBeGreaterThanOrEqual(400);
    expect((await server.get(`/api/evaluations/${id}/report.html`)).status).toBeGreaterThanOrEqual(400);
  });

  test("are removed with their own files alone", async () => {
    await writeFile(folder("done-0", "mine.txt"), "");
    for (const id of ["done-0", "open-0"]) expect((await server.remove(`/api/evaluations/${id}`)).status).toBe(204);
    expect([existsSync(folder("done-0", "mine.txt")), existsSync(folder("done-0", "results.json"))]).toEqual([
      true,
      false,
    ]);
    expect(existsSync(folder("open-0"))).toBe(false);
    expect((await server.remove("/api/evaluations/link")).status).toBe(404);
  });
});

test("an evaluation whose job waits or is at work is not removed", async () => {
  const { model } = policyEvaluationOf([]);
  const plan = await planEvaluation({ policies: [{ name: "knorm" }], tasks: [{ name: "passkey" }], lengths: [256] });
  const own = { ...model, ref: "smollm2-135m" };
  await Journal.open(folder("busy-0"), own, plan.settings);
  await Journal.open(folder("other-0"), own, { ...plan.settings, seed: 1 });
  const spec = { kind: "evaluate", model: "smollm2-135m", policies: [[{ name: "knorm" }]], tasks: [{ name: "passkey" }], lengths: [256] }; // biome-ignore format: one line
  const jobs = (status: string) => ({ jobs: () => [{ id: 7, kind: "evaluate", status }], job: () => ({ spec }) });
  const remove = (id: string, status: string) =>
    removeEvaluation(server.folder, id, jobs(status) as unknown as JobStore);
  for (const status of ["queued", "running"])
    await expect(remove("busy-0", status)).rejects.toMatchObject({
      problem: { status: 409, detail: "job 7 is writing evaluation busy-0" },
    });
  expect(existsSync(folder("busy-0", "journal.jsonl"))).toBe(true);
  await remove("other-0", "running");
  await remove("busy-0", "done");
  expect([existsSync(folder("other-0")), existsSync(folder("busy-0"))]).toEqual([false, false]);
});

const ZERO = { at: "blocks.0.attn.hook_z", heads: [1], do: "zero" };
const request = (changes: object = {}) => ({
  kind: "evaluate",
  model: "smollm2-135m",
  policies: [[{ name: "knorm" }]],
  tasks: [{ name: "passkey" }],
  lengths: [256],
  budgets: [0.5],
  cases: 1,
  ...changes,
});

describe("an evaluation that can't be is refused when it is asked for", () => {
  const cases: [string, object, number][] = [
    ["an unknown policy", { policies: [[{ name: "knrom" }]] }, 404],
    ["two policies for the same", { policies: [[{ name: "knorm" }, { name: "tova" }]] }, 422],
    ["a budget below what stays anyway", { policies: [[{ name: "snapkv" }]], budgets: [32] }, 422],
    ["a mask that is not there", { policies: [[{ name: "duo-attention", params: { mask: "masks/none.json" } }]] }, 404],
    ["a mask elsewhere", { policies: [[{ name: "duo-attention", params: { mask: "../../etc/passwd" } }]] }, 404],
    ["a text file of this machine", { tasks: [{ name: "perplexity", params: { text: "/etc/passwd" } }] }, 422],
    ["an unknown task", { tasks: [{ name: "passkeys" }] }, 404],
    ["a thousand cases", { cases: 1000 }, 422],
    ["an unknown intervention", { interventions: [{ at: "blocks.0.attn.hook_z", do: "nothing" }] }, 422],
    ["ten thousand interventions", { interventions: new Array(10_000).fill(ZERO) }, 422],
  ];
  test.each(cases)("%s", async (_, changes, status) => {
    const answer = await server.post<Problem>("/api/jobs", request(changes));
    expect(answer.status, answer.text).toBe(status);
    expect(answer.text).not.toContain("root:");
  });
});

describe.skipIf(!havePulled)(onSmolLm2("an evaluation is a job"), () => {
  test("whose result is listed and read", { timeout: 300_000 }, async () => {
    const { json: job } = await server.post<JobSummary>("/api/jobs", request({ interventions: [ZERO] }));
    expect(job).toMatchObject({ kind: "evaluate", title: "evaluation of knorm on smollm2-135m" });
    const status = async () => (await server.get<JobSummary>(`/api/jobs/${job.id}`)).json;
    await expect.poll(async () => (await status()).status, { timeout: 240_000, interval: 200 }).toBe("done");
    const { evaluation: id } = (await status()).result as { evaluation: string };
    expect((await list()).find((entry) => entry.id === id)).toMatchObject({ finished: true });
    const { points, model, settings } = (await server.get<PolicyEvaluation>(`/api/evaluations/${id}`)).json;
    expect(model.ref).toBe("smollm2-135m");
    expect(settings.interventions).toMatchObject([ZERO]);
    expect(points.map(({ label, budget }) => [label, budget])).toEqual([
      ["full", null],
      ["knorm", 0.5],
      ["random", 0.5],
    ]);
  });
});
