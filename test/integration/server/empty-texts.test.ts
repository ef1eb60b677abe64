import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Problem } from "../../../backend/common/api/problem.ts";
import { buildCli } from "../../helpers/cli.ts";
import { openServer, type TestServer } from "../../helpers/servers/api.ts";

const model = "toy-induction";
let server: TestServer;

beforeAll(async () => {
  await buildCli();
  server = await openServer();
});
afterAll(() => server.close());

const side = { corrupt: "a", answer: 1, wrong: 2 };

describe("an empty text is refused by its field before a worker is asked for the model", () => {
  test.each([
    ["prompts", { text: "" }, "text"],
    ["prompts", { text: "", bos: false }, "text"],
    ["generate", { text: "" }, "text"],
    ["generate", { text: "a", contextAware: { without: "" } }, "contextAware.without"],
    ["generate", { tokens: [1], contextAware: { without: "" } }, "contextAware.without"],
    ["generate-batch", { prompts: [{ text: "a" }, { text: "" }] }, "prompts[1].text"],
    ["generate-batch", { prompts: [{ text: "a", contextAware: { without: "" } }] }, "prompts[0].contextAware.without"],
    ["generate-batch", { prompts: [{ text: "a" }], contextAware: { without: "" } }, "contextAware.without"],
    ["patch", { pairs: [{ clean: "", ...side }] }, "pairs[0].clean"],
    ["attribute", { prompts: [{ clean: "", answer: 1, wrong: 2 }] }, "prompts[0].clean"],
    ["lens", { prompts: [{ clean: "", answer: 1, wrong: 2 }] }, "prompts[0].clean"],
    ["ablate-each", { pairs: [{ clean: "", ...side }] }, "pairs[0].clean"],
    ["pairs", { pair: { clean: "", ...side } }, "pair.clean"],
    ["circuit-roles", { pairs: [{ clean: "", ...side }] }, "pairs[0].clean"],
  ] as const)("POST /api/%s %j", async (route, body, field) => {
    const { status, json } = await server.post<Problem>(`/api/${route}`, { model, ...body });
    expect(json).toMatchObject({ status: 422, kind: "usage", field });
    expect(status).toBe(422);
    expect(server.server.context.interactive.pid).toBeUndefined();
  });
});

test("an empty text with BOS by request, or in a chat template, has tokens: it is the model that has no tokenizer", async () => {
  for (const [route, body] of [
    ["prompts", { text: "", bos: true }],
    ["generate", { text: "", bos: true }],
    ["generate", { text: "", chat: true }],
    ["generate-batch", { prompts: [{ text: "" }], chat: true }],
  ] as const) {
    const { json } = await server.post<Problem>(`/api/${route}`, { model, ...body });
    expect(json, `${route} ${JSON.stringify(body)}`).toMatchObject({ status: 422, kind: "unsupported" });
  }
});
