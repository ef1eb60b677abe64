import { afterAll, beforeAll, expect, test } from "vitest";
import type { QueueEntry } from "../../../backend/common/api/health.ts";
import type { AblateResult } from "../../../backend/common/api/interventions.ts";
import type { Problem } from "../../../backend/common/api/problem.ts";
import type { Prompt } from "../../../backend/common/api/prompts.ts";
import { buildCli } from "../../helpers/cli.ts";
import { smallConfig } from "../../helpers/models.ts";
import { ownDataFolder, saveRandomRun } from "../../helpers/processes/workers.ts";
import { openServer, type TestServer } from "../../helpers/servers/api.ts";

/** Deep enough that a long text takes many stretches. */
const CONFIG = smallConfig({ n_layers: 12, n_ctx: 2_048 });
const MODEL = "run:deep-1";
const LONG = Array.from({ length: 1_000 }, (_, i) => (7 * i) % CONFIG.d_vocab);
const SHORT = [1, 2, 3, 4, 5, 6, 7];

const folder = ownDataFolder();
let server: TestServer;
beforeAll(async () => {
  await buildCli();
  await saveRandomRun("deep-1", 0, CONFIG, 1);
  // A model this small is quick: what a person's text of thousands of tokens is to a real model, it is here from this limit on.
  server = await openServer({ folder: folder.path, limits: { shortMs: 2 } });
  await server.post("/api/prompts", { model: MODEL, tokens: SHORT });
});
afterAll(() => server.server.close());

const ask = (path: string, body: unknown, headers = {}) => server.post<never>(path, body, headers);
const queue = async () => (await server.get<QueueEntry[]>("/api/queue")).json;
async function until(likes: (entries: QueueEntry[]) => boolean): Promise<void> {
  while (!likes(await queue())) await new Promise((resolve) => setTimeout(resolve, 2));
}

test("a tab with seven words is answered while another's long text is read, which is answered too", async () => {
  const order: string[] = [];
  const long = ask("/api/prompts", { model: MODEL, tokens: LONG }, { "x-request-id": "a.1" }).then((answer) => {
    order.push("long");
    return answer;
  });
  await until((entries) => entries.some(({ id, state }) => id === "a.1" && state === "computing"));
  const short: Prompt = (await ask("/api/prompts", { model: MODEL, tokens: [...SHORT, 8] })).json;
  order.push("short");
  const ablated = await ask("/api/ablate", { prompt: short.id, heads: ["2.0"], controls: 1 });
  expect(ablated.status).toBe(200);
  expect((ablated.json as AblateResult).control?.draws).toHaveLength(1);
  const prompt = (await long).json as Prompt;
  expect(order).toEqual(["short", "long"]);
  expect(prompt.nll).toHaveLength(LONG.length - 1);
  // What was done meanwhile took nothing of it away.
  const pattern = await server.get(`/api/prompts/${prompt.id}/patterns/11?heads=0&queries=990:1000&keys=0:10`);
  expect(pattern.status).toBe(200);
});

test("a long text that nobody waits for any more leaves the worker at once, and the next long one is answered", async () => {
  const gone = new AbortController();
  const request = server
    .send("/api/prompts", {
      method: "POST",
      headers: { "content-type": "application/json", "x-request-id": "a.2" },
      body: JSON.stringify({ model: MODEL, tokens: [...LONG, ...LONG] }),
      signal: gone.signal,
    })
    .catch((error: Error) => error.name);
  await until((entries) => entries.some(({ id, state }) => id === "a.2" && state === "computing"));
  const next = ask("/api/prompts", { model: MODEL, tokens: LONG.slice(0, 900) }, { "x-request-id": "b.1" });
  await until((entries) => entries.some(({ id }) => id === "b.1"));
  gone.abort();
  expect(await request).toBe("AbortError");
  expect((await next).status).toBe(200);
  expect(await queue()).toEqual([]);
});

test("one who would wait a second for a long text is told how long it takes, and nothing is computed", async () => {
  const input = { model: MODEL, tokens: LONG };
  const { status, json } = await ask("/api/prompts", input, { prefer: "wait=0" });
  expect([status, (json as Problem).kind, (json as Problem).estimate?.tokens]).toEqual([428, "long", LONG.length]);
  const pair = { clean: LONG, corrupt: LONG.map((id) => (id + 1) % CONFIG.d_vocab), answer: 1, wrong: 2 };
  for (const [path, body] of [
    ["/api/patch", { model: MODEL, pairs: [pair] }],
    ["/api/generate", { model: MODEL, tokens: LONG, maxTokens: 2 }],
    ["/api/ablate", { model: MODEL, rows: [LONG], heads: ["1.0"] }],
    ["/api/pairs", { model: MODEL, pair }],
    ["/api/attribute", { model: MODEL, prompts: [pair] }],
    ["/api/lens", { model: MODEL, prompts: [pair] }],
    ["/api/patch-places", { model: MODEL, pairs: [pair], places: ["0.0"] }],
    ["/api/ablate-each", { model: MODEL, pairs: [pair], each: "mlp" }],
  ] as const)
    expect((await ask(path, body, { prefer: "wait=0" })).status, path).toBe(428);
  expect((await ask("/api/prompts", { model: MODEL, tokens: SHORT }, { prefer: "wait=60" })).status).toBe(200);
});
