import { afterAll, beforeAll, expect, it } from "vitest";
import { Worker } from "../../../../backend/jobs/client.ts";
import { answer, type Handler } from "../../../../backend/workers/handler.ts";
import { buildCli } from "../../../helpers/cli.ts";
import { loadAsFile, typescriptOf } from "../../../helpers/docs.ts";
import { bundleCode } from "../../../helpers/processes/script.ts";

const PAGE = "docs/add-a-request.md";

let worker: Worker;
beforeAll(async () => {
  await buildCli();
  const handlers = await bundleCode(
    `${typescriptOf(PAGE)}\nexport const handlers = { spell: async () => ({ request }) };`,
  );
  worker = new Worker({ handlers });
});
afterAll(() => worker?.close());

it(`the request of ${PAGE} is answered by a worker process as it stands there`, async () => {
  const answer = await worker.request("spell", { model: "toy-induction", tokens: [3, 1] });
  expect(answer).toEqual({ tokens: ["3", "1"] });
});

it("its payload is checked before a model is opened, and the ids by the request", async () => {
  const { request } = await loadAsFile<{ request: Handler }>(typescriptOf(PAGE));
  const context = { ...NO_CONTEXT, signal: new AbortController().signal, body: new Uint8Array(0) };
  const ask = (payload: object) => answer("spell", request, payload, context);
  await expect(ask({ model: "no-such-model", tokens: "3 1" })).rejects.toMatchObject({
    kind: "usage",
    message: expect.stringContaining("tokens"),
  });
  await expect(ask({ model: "toy-induction", tokens: [-1] })).rejects.toMatchObject({ kind: "input" });
});

const NO_CONTEXT = { emit: async () => {}, later: () => {}, turn: async () => {} };
