import { tmpdir } from "node:os";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { LIMITS } from "../../backend/server/http/limits.ts";
import { openApi } from "../../backend/server/http/openapi.ts";
import { routes } from "../../backend/server/routes/index.ts";
import { buildCli } from "../helpers/cli.ts";
import { openServer, type TestServer } from "../helpers/servers/api.ts";

interface Operation {
  readonly operationId: string;
  readonly parameters: readonly { name: string; in: string; required: boolean; schema: object }[];
  readonly requestBody?: { readonly content: { readonly "application/json": { readonly schema: object } } };
  readonly responses: Readonly<Record<string, unknown>>;
}

const document = openApi(routes, LIMITS) as { openapi: string; paths: Record<string, Record<string, Operation>> };
const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
);

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
  const bodies: [string, () => object, object][] = [
    ["/api/prompts", () => ({ model: "toy-induction", tokens: [1, 2] }), { model: "toy-induction", tokens: ["1"] }],
    ["/api/ablate", () => ({ prompt, heads: ["1.1"] }), { prompt: 1, heads: ["1.1"] }],
    [
      "/api/intervene",
      () => ({ prompt, interventions: [{ at: "blocks.0.attn.hook_z", do: "zero" }] }),
      { prompt: "p" },
    ],
    ["/api/pairs", () => ({ model: "toy-induction", pair }), { model: "toy-induction", pair: { ...pair, clean: [] } }],
    ["/api/patch", () => ({ model: "toy-induction", pairs: [pair] }), { model: "toy-induction", pairs: [] }],
    [
      "/api/generate",
      () => ({ model: "toy-induction", tokens: [1, 2], maxTokens: 1 }),
      { model: "m", tokens: [1], maxTokens: 0 },
    ],
    ["/api/scores", () => scores, { ...scores, metrics: { mine: { axis: "rows", values: [] } } }],
    ["/api/roots", () => ({ path: tmpdir() }), { path: "" }],
    ["/api/masks", () => ({ model: "toy-induction", ablate: ["0.1"] }), { model: "toy-induction", ablate: "0.1" }],
    ["/api/exports", () => ({ format: "csv", scores }), { format: "csv", scores: 7 }],
    [
      "/api/jobs",
      () => ({ kind: "probe", model: "toy-induction", probes: [{ name: "induction" }] }),
      { kind: "probe", model: "toy-induction", probes: [] },
    ],
    ["/api/runs", () => ({ task: "induction", params: { steps: 1 } }), { task: "induction", seeds: ["0"] }],
    [
      "/api/imports",
      () => ({ format: "retrieval-head", model: "toy-induction", path: "none.json" }),
      { format: "retrieval-head", model: "toy-induction" },
    ],
  ];

  test("every body has an example here", () => {
    const withBody = operations.filter(({ operation }) => operation.requestBody !== undefined);
    expect(bodies.map(([path]) => path).sort()).toEqual(withBody.map(({ path }) => path).sort());
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
