import { mkdir, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { Journal } from "../../../backend/evaluation/files/journal.ts";
import { writeEvaluation } from "../../../backend/evaluation/files/write.ts";
import { keepSweep } from "../../../backend/jobs/sweeps/kept.ts";
import { planSweep } from "../../../backend/jobs/sweeps/sweep.ts";
import { parseSweep } from "../../../backend/jobs/sweeps/sweep-file.ts";
import { createReport, writeReport } from "../../../backend/reports/report.ts";
import { routes } from "../../../backend/server/routes/index.ts";
import { buildCli } from "../../helpers/cli.ts";
import { evaluatedPoint, policyEvaluationOf } from "../../helpers/formats/evaluations.ts";
import { document, operationOf, operations } from "../../helpers/servers/answers.ts";
import { openServer, type TestServer } from "../../helpers/servers/api.ts";

test("every route is in it once, with its parameters and an answer", () => {
  expect(document.openapi).toBe("3.1.0");
  expect(operations).toHaveLength(routes.length);
  expect(new Set(operations.map(({ operation }) => operation.operationId)).size).toBe(routes.length);
  for (const { path, operation } of operations) {
    const named = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
    const inPath = operation.parameters.filter((each) => each.in === "path");
    expect(inPath.map(({ name }) => name).sort(), path).toEqual(named.sort());
    expect(inPath.every(({ required }) => required)).toBe(true);
    expect(Object.keys(operation.responses), path).toContain("default");
  }
});

describe("the schemas are those of the server", () => {
  let server: TestServer;
  let prompt: string;
  beforeAll(async () => {
    await buildCli();
    server = await openServer();
    const made = await server.post<{ id: string }>("/api/prompts", { model: "toy-induction", tokens: [1, 2, 1] });
    prompt = made.json.id;
  });
  afterAll(() => server.close());

  const pair = { clean: [1, 2, 1], corrupt: [1, 3, 1], answer: 2, wrong: 3 };
  const scores = {
    format: "headscope.head-scores/1",
    model: { ref: "toy-induction", layers: 2, heads: 1, kvHeads: 1 },
    probe: "mine",
    metrics: { mine: { axis: "heads", values: [[0], [1]] } },
  };
  const evaluation = {
    ...{ kind: "evaluate", model: "toy-induction", policies: [[{ name: "knorm" }]] },
    ...{ tasks: [{ name: "passkey" }], lengths: [64], cases: 1 },
  };
  const bodies: [string, () => object, object][] = [
    ["/api/prompts", () => ({ model: "toy-induction", tokens: [1, 2] }), { model: "toy-induction", tokens: ["1"] }],
    ["/api/ablate", () => ({ prompt, heads: ["1.1"] }), { prompt: 1, heads: ["1.1"] }],
    [
      "/api/text-scores",
      () => ({ prompt, held: 0, question: { position: 2, wrong: 3 } }),
      { prompt: "p", pattern: { expression: "key == 0", pairs: [[1, 0]] } },
    ],
    [
      "/api/intervene",
      () => ({ prompt, interventions: [{ at: "blocks.0.attn.hook_z", do: "zero" }] }),
      { prompt: "p" },
    ],
    ["/api/pairs", () => ({ model: "toy-induction", pair }), { model: "toy-induction", pair: { ...pair, clean: [] } }],
    ["/api/patch", () => ({ model: "toy-induction", pairs: [pair] }), { model: "toy-induction", pairs: [] }],
    [
      "/api/patch-places",
      () => ({ model: "toy-induction", pairs: [pair], places: ["0.0"] }),
      { model: "toy-induction", pairs: [pair], places: ["head 0"] },
    ],
    [
      "/api/ablate-each",
      () => ({ model: "toy-induction", pairs: [pair], each: "head" }),
      { model: "toy-induction", pairs: [pair], each: "word" },
    ],
    [
      "/api/attribute",
      () => ({ model: "toy-induction", prompts: [{ clean: [1, 2, 1], answer: 2, wrong: 3 }] }),
      { model: "toy-induction", prompts: [{ clean: [1, 2, 1], answer: 2 }] },
    ],
    ["/api/lens", () => ({ model: "toy-induction", prompts: [pair] }), { model: "toy-induction", prompts: [] }],
    [
      "/api/circuits",
      () => ({ model: "toy-induction", pairs: [pair], method: "eap", edges: 5 }),
      { model: "toy-induction", pairs: [pair], method: "guess", edges: 5 },
    ],
    [
      "/api/circuit-roles",
      () => ({ model: "toy-induction", pairs: [pair] }),
      { model: "toy-induction", pairs: [pair], heads: ["first"] },
    ],
    [
      "/api/pair-samples",
      () => ({ model: "toy-induction", task: "induction", count: 2 }),
      { model: "toy-induction", task: "induction", count: 0 },
    ],
    [
      "/api/circuit-runs",
      () => ({ model: "toy-induction", pairs: [pair], edges: [{ from: "embed", to: "logits" }] }),
      { model: "toy-induction", pairs: [pair], edges: ["embed"] },
    ],
    [
      "/api/generate",
      () => ({ model: "toy-induction", tokens: [1, 2], maxTokens: 1, policies: [{ name: "knorm" }] }),
      { model: "m", tokens: [1], maxTokens: 0 },
    ],
    [
      "/api/generate-batch",
      () => ({ model: "toy-induction", prompts: [{ tokens: [1, 2] }, { tokens: [3], maxTokens: 2 }], maxTokens: 1 }),
      { model: "toy-induction", prompts: [] },
    ],
    [
      "/api/footprint",
      () => ({ model: "toy-induction", tokens: [8, 16], policies: [{ name: "knorm" }] }),
      { model: "toy-induction", tokens: [0] },
    ],
    ["/api/task-samples", () => ({ task: "induction", params: { vocabulary: "8" } }), { task: "induction", count: 0 }],
    ["/api/scores", () => scores, { ...scores, metrics: { mine: { axis: "rows", values: [] } } }],
    ["/api/roots", () => ({ path: tmpdir() }), { path: "" }],
    ["/api/masks", () => ({ model: "toy-induction", ablate: ["0.1"] }), { model: "toy-induction", ablate: "0.1" }],
    ["/api/exports", () => ({ format: "csv", scores }), { format: "csv", scores: 7 }],
    [
      "/api/jobs",
      () => ({ kind: "probe", model: "toy-induction", probes: [{ name: "induction" }] }),
      { kind: "probe", model: "toy-induction", probes: [] },
    ],
    [
      "/api/jobs",
      () => ({ ...evaluation, interventions: [{ at: "blocks.0.attn.hook_z", heads: [1], do: "zero" }] }),
      { ...evaluation, interventions: [{ at: "blocks.0.attn.hook_z", do: "nothing" }] },
    ],
    ["/api/runs", () => ({ task: "induction", params: { steps: 1 } }), { task: "induction", seeds: ["0"] }],
    [
      "/api/jobs",
      () => ({ kind: "sweep", task: "induction", grid: { n_heads: ["1", "2"] }, params: { steps: 1 } }),
      { kind: "sweep", task: "induction", grid: { n_heads: 1 } },
    ],
    [
      "/api/imports",
      () => ({ format: "retrieval-head", model: "toy-induction", path: "none.json" }),
      { format: "retrieval-head", model: "toy-induction" },
    ],
  ];

  test("every body has an example here", () => {
    const withBody = operations.filter(({ operation }) => operation.requestBody !== undefined);
    expect([...new Set(bodies.map(([path]) => path))].sort()).toEqual(withBody.map(({ path }) => path).sort());
  });

  test.each(bodies)("%s: what fits its schema is taken, what does not is 422", async (path, good, bad) => {
    const { schema } = document.paths[path]!["post"]!.requestBody!.content["application/json"];
    const checked = z.fromJSONSchema(schema as never);
    expect(checked.safeParse(good()).success).toBe(true);
    expect(checked.safeParse(bad).success).toBe(false);
    // An import of a file that is not there is refused by what it names, not by its form.
    const taken = path === "/api/imports" ? [404] : [200, 201, 202];
    expect(taken).toContain((await server.post(path, good())).status);
    expect((await server.post(path, bad)).status).toBe(422);
  });
});

describe("answers are as their schemas say", () => {
  let server: TestServer;
  beforeAll(async () => {
    await buildCli();
    server = await openServer();
  });
  afterAll(() => server.close());

  test("every operation that answers in JSON has a schema of what it answers", () => {
    for (const { path, method, operation } of operations) {
      const { default: problem, ...successes } = operation.responses;
      expect(problem, path).toBeDefined();
      for (const [status, { content }] of Object.entries(successes)) {
        if (status === "204") expect(content, `${method} ${path}`).toBeUndefined();
        else if (content!["application/json"]) expect(content!["application/json"].schema, path).toBeDefined();
        else expect(Object.keys(content!)[0], path).toMatch(/^(text\/|image\/svg|application\/octet-stream)/);
      }
    }
  });

  // What an answer is like is looked at where it comes in: openServer compares every one with its schema.
  test("real answers of every operation", async () => {
    const seen = new Set<string>();
    const ask = async <T>(method: string, path: string, body?: object): Promise<T> => {
      const headers = { "content-type": "application/json" };
      const init = { method, ...(body === undefined ? {} : { headers, body: JSON.stringify(body) }) };
      const answer = await server.send<T>(path, init);
      expect(answer.status, `${method} ${path}: ${answer.text}`).toBeLessThan(300);
      seen.add(operationOf(method, path)!);
      return answer.json;
    };
    const model = "toy-induction";
    const pair = { clean: [1, 2, 1], corrupt: [1, 3, 1], answer: 2, wrong: 3 };
    const shape = { ref: model, layers: 2, heads: 4, kvHeads: 4 };
    const values = [[0, 1, 0, 0], [1, 0, 0, 0]]; // biome-ignore format: a table
    const scores = {
      format: "headscope.head-scores/1",
      model: shape,
      probe: "mine",
      metrics: { mine: { axis: "heads", values } },
    };
    await ask("GET", "/api/health");
    await ask("GET", "/api/definitions");
    await ask("GET", "/api/models");
    await ask("GET", `/api/models/${model}`);
    await ask("GET", "/api/folders");
    await ask("POST", "/api/roots", { path: tmpdir() });
    await ask("GET", "/api/queue");
    const { id: prompt } = await ask<{ id: string }>("POST", "/api/prompts", { model, tokens: [1, 2, 3, 1, 2] });
    const ablation = { heads: ["1.0"], method: "resample", controls: 2, contrast: { position: 4, wrong: 5 } };
    await ask("POST", "/api/ablate", { prompt, ...ablation });
    await ask("POST", "/api/ablate", { prompt, ...ablation, over: "answer", metric: "kl" });
    const question = { position: 4, wrong: 5 };
    await ask("POST", "/api/text-scores", { prompt, held: 1, pattern: { expression: "key == 1" }, question });
    const interventions = [{ at: "blocks.0.attn.hook_z", do: "zero" }];
    await ask("POST", "/api/intervene", { prompt, interventions });
    await ask("POST", "/api/pairs", { model, pair });
    const several = { ...pair, answer: [pair.answer, 40], wrong: [pair.wrong, 41] };
    await ask("POST", "/api/pairs", { model, pair: several });
    await ask("POST", "/api/patch", { model, pairs: [several] });
    await ask("POST", "/api/patch", { model, pairs: [pair] });
    await ask("POST", "/api/patch", { model, pairs: [pair], into: ["1.0"], through: "k" });
    await ask("POST", "/api/patch", {
      model,
      pairs: [pair, pair],
      into: ["1.0"],
      through: "k",
      from: ["0.1", "embed"],
    });
    await ask("POST", "/api/patch-places", { model, pairs: [pair, pair], places: ["z:0.0@-1", "1.1"] });
    for (const each of ["head", "layer", "source"])
      await ask("POST", "/api/ablate-each", { model, pairs: [pair, pair], each });
    await ask("POST", "/api/attribute", { model, prompts: [pair] });
    await ask("POST", "/api/lens", { model, prompts: [pair], topTokens: 2 });
    await ask("POST", "/api/circuits", { model, pairs: [pair], method: "eap-ig", steps: 2, edges: 10 });
    await ask("POST", "/api/circuit-roles", { model, pairs: [pair] });
    await ask("POST", "/api/pair-samples", { model, task: "induction", count: 2 });
    await ask("POST", "/api/circuit-runs", { model, pairs: [pair], edges: [{ from: "embed", to: "a1.h0<q>" }] });
    await ask("POST", "/api/generate", { model, tokens: [1, 2, 1], maxTokens: 2, interventions });
    const prompts = [{ tokens: [1, 2, 1] }, { tokens: [3], seed: 1, temperature: 1 }];
    await ask("POST", "/api/generate-batch", { model, prompts, maxTokens: 2 });
    const contextAware = { without: [2, 1], alpha: 1 };
    const sampling = { temperature: 1, topK: 3, topP: 0.9, minP: 0.01, repetitionPenalty: 1.1 };
    await ask("POST", "/api/generate", { model, tokens: [1, 2, 1], maxTokens: 2, ...sampling, contextAware });
    const policies = [{ name: "tova", params: { budget: 2 } }];
    await ask("POST", "/api/generate", { model, tokens: [1, 2, 1], maxTokens: 2, policies });
    await ask("POST", "/api/footprint", { model, tokens: [3, 5], newTokens: 2, policies });
    const first = await ask<{ id: string }>("POST", "/api/scores", scores);
    const second = await ask<{ id: string }>("POST", "/api/scores", { ...scores, seed: 1 });
    await ask("GET", "/api/scores");
    await ask("GET", `/api/scores/${first.id}`);
    await ask("GET", `/api/comparison?first=${first.id}&second=${second.id}`);
    const mask = await ask<{ id: string }>("POST", "/api/masks", { name: "m", scores: first.id, top: 1 });
    await ask("POST", "/api/masks", { model, ablate: ["0.1"] });
    await ask("GET", "/api/masks");
    await ask("GET", `/api/masks/${mask.id}`);
    const exported = await ask<{ files: { url: string }[] }>("POST", "/api/exports", {
      format: "csv",
      scores: first.id,
    });
    await ask("GET", exported.files[0]!.url);
    const files = {
      "heads.json": JSON.stringify(
        Object.fromEntries([0, 1].flatMap((l) => [0, 1, 2, 3].map((h) => [`${l}-${h}`, [0.5]]))),
      ),
    };
    await ask("POST", "/api/imports", { format: "retrieval-head", model, files });
    await ask("DELETE", `/api/masks/${mask.id}`);
    await ask("DELETE", `/api/scores/${second.id}`);
    const { job, runs } = await ask<{ job: { id: number }; runs: { id: string }[] }>("POST", "/api/runs", {
      task: "induction",
      params: { steps: 100_000 },
    });
    const run = runs[0]!.id;
    await ask("GET", "/api/runs");
    await ask("GET", `/api/runs/${run}`);
    await ask("GET", `/api/runs/${run}/metrics`);
    await ask("GET", `/api/runs/${run}/reference`);
    await ask("POST", "/api/task-samples", { task: "gaussian-classification", count: 2 });
    await ask("GET", "/api/jobs");
    await ask("GET", `/api/jobs/${job.id}`);
    await ask("POST", `/api/jobs/${job.id}/cancel`);
    const ended = async (): Promise<boolean> =>
      (await ask<{ status: string }>("GET", `/api/jobs/${job.id}`)).status === "cancelled";
    await expect.poll(ended, { timeout: 60_000 }).toBe(true);
    await ask("POST", `/api/runs/${run}/resume`);
    const sweep = parseSweep({ task: "induction", grid: { n_heads: [1, 2], batch: [4] } }, "a sweep");
    const swept = await keepSweep(server.folder, sweep, planSweep(sweep, "a sweep"));
    await ask("GET", "/api/sweeps");
    await ask("GET", `/api/sweeps/${swept}`);
    await ask("DELETE", `/api/sweeps/${swept}`);
    await ask("GET", `/api/histories?run=${run}`);
    await ask("GET", "/api/experiments");
    const work = { kind: "probe", model, probes: [{ name: "induction" }] };
    const { id } = await ask<{ id: number }>("POST", "/api/jobs", work);
    await ask("DELETE", `/api/jobs/${id}`);
    await expect.poll(async () => (await ask<{ status: string }>("GET", `/api/jobs/${id}`)).status).toBe("cancelled");
    await ask("POST", `/api/jobs/${id}/resume`);

    // Documents that take long to make are written as their makers write them.
    const report = createReport(REPORT);
    for (const preset of ["one", "two"])
      await writeReport(
        join(
          server.folder,
          "experiments",
          `abrupt-learning-quick-0000000${preset === "one" ? 1 : 2}-20260101T000000000Z`,
        ),
        report,
      );
    await mkdir(join(server.folder, "histories", run), { recursive: true });
    await writeFile(
      join(server.folder, "histories", run, "mine-0.json"),
      JSON.stringify({ ...HISTORY, run, model: shape }),
    );
    await ask("GET", "/api/experiments");
    const reports = ["1", "2"].map((n) => `abrupt-learning-quick-0000000${n}-20260101T000000000Z`);
    await ask("GET", `/api/experiments/abrupt-learning/report?id=${reports[0]}`);
    await ask("GET", `/api/experiments/abrupt-learning/comparison?first=${reports[0]}&second=${reports[1]}`);
    await ask("GET", `/api/experiments/abrupt-learning/report.html?id=${reports[0]}`);
    await ask("GET", `/api/experiments/abrupt-learning/figure?id=${reports[0]}`);
    const evaluation = policyEvaluationOf([evaluatedPoint()]);
    const folder = join(server.folder, "evaluations", "mine-0");
    await Journal.open(folder, evaluation.model, evaluation.settings);
    await writeEvaluation(folder, evaluation);
    await ask("GET", "/api/evaluations");
    await ask("GET", "/api/evaluations/mine-0");
    await ask("GET", "/api/evaluations/mine-0/report.html");
    await ask("DELETE", "/api/evaluations/mine-0");
    await ask("GET", `/api/histories?run=${run}`);
    await ask("GET", `/api/histories/histories/${run}/mine-0.json`);
    await ask("GET", `/api/prompts/${prompt}/activations/blocks.0.hook_resid_pre`);
    await ask("GET", `/api/prompts/${prompt}/patterns/0`);

    // Not asked here: a stream without end, a model of the hub, and a run that nobody works on.
    const others = ["get /api/events", "delete /api/models/{ref}", "delete /api/runs/{id}"];
    const all = operations.map(({ method, path }) => `${method} ${path}`);
    expect([...seen, ...others].sort()).toEqual(all.sort());
  });
});

const REPORT = {
  experiment: { name: "abrupt-learning", title: "Abrupt learning", description: "", source: "" },
  preset: "quick",
  parameters: {},
  command: "headscope experiment run abrupt-learning",
  summary: "",
  claims: [
    { id: "a", statement: "s", source: "", check: "c", measured: { x: 1, y: null }, verdict: "reproduced", why: "w" },
  ],
  figures: [
    {
      ...{ kind: "lines" as const, name: "accuracies", title: "Accuracies <over training>" },
      ...{ x: { title: "step" }, y: { title: "accuracy" }, lines: [{ name: "a", x: [0, 1], y: [0, 1] }] },
    },
  ],
  runs: [],
} satisfies Parameters<typeof createReport>[0];

const HISTORY = {
  format: "headscope.head-history/1",
  probe: "mine",
  params: {},
  steps: [0, 10],
  metrics: { mine: { axis: "heads", values: [[[0], [0]], [[1], [0]]] } },
  summary: { best: [0, 1] },
}; // biome-ignore format: tables
