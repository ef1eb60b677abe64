import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Problem } from "../../backend/common/api/problem.ts";
import type { Prompt } from "../../backend/common/api/prompts.ts";
import { HeadscopeError } from "../../backend/common/errors.ts";
import { buildCli } from "../helpers/cli.ts";
import { seeded } from "../helpers/formats/files.ts";
import { patiently } from "../helpers/runner/patience.ts";
import { operations } from "../helpers/servers/answers.ts";
import { openServer, type TestServer } from "../helpers/servers/api.ts";
import { fuzz } from "../helpers/servers/odd-requests.ts";
import { unboundedParts } from "../helpers/servers/schemas.ts";

const MODEL = "toy-induction";
const MOST = 2_000; // characters of a problem's detail

describe("every part of a request is bounded", () => {
  test.each(operations.map(({ path, method, operation }) => [`${method} ${path}`, operation] as const))(
    "%s",
    (_, { parameters, requestBody }) => {
      const schemas = [
        ...parameters.map(({ name, schema }) => [name, schema] as const),
        ["body", requestBody?.content["application/json"].schema ?? true] as const,
      ];
      expect(schemas.flatMap(([name, schema]) => unboundedParts(schema, name))).toEqual([]);
    },
  );

  test("and what bounds nothing is found", () => {
    const loose = { type: "object", properties: { a: { type: "string" } }, additionalProperties: {} };
    expect(unboundedParts(loose, "body")).toEqual(["body.a", "body.*"]);
    expect(unboundedParts({ type: "array", items: { type: "string", maxLength: 3 } }, "x")).toEqual(["x"]);
    expect(unboundedParts({ type: "string", pattern: "^a+$" }, "x")).toEqual(["x"]);
    expect(unboundedParts({ type: "string", pattern: "^[a-z]{1,9}$" }, "x")).toEqual([]);
  });
});

describe("a server", () => {
  let server: TestServer;
  let prompt: Prompt;
  const limits = { jsonValues: 2_000, jsonKeys: 100, rowTokens: 64, answerBytes: 40_000, queuedJobs: 0 };

  beforeAll(async () => {
    await buildCli();
    server = await openServer({ limits });
    const tokens = Array.from({ length: 60 }, (_, i) => i % 20);
    prompt = (await server.post<Prompt>("/api/prompts", { model: MODEL, tokens })).json;
  });
  afterAll(() => server.close());

  describe("quotes little of what it refuses", () => {
    const long = "a/".repeat(200_000);
    const bodies: [string, object][] = [
      ["/api/jobs", { kind: "pull", model: `hf:${long}` }],
      ["/api/jobs", { kind: "experiment", name: long, preset: "quick" }],
      ["/api/jobs", { kind: "probe", model: long, probes: [{ name: "induction" }] }],
      ["/api/runs", { task: long }],
      ["/api/runs", { task: "induction", params: { [long]: 1 } }],
      ["/api/runs", { task: "induction", params: { optimiser: long.slice(0, 60_000) } }],
      ["/api/exports", { format: long, mask: "masks/x.json" }],
      ["/api/masks", { model: long, ablate: [] }],
      ["/api/masks", { [long]: 1 }],
      ["/api/intervene", { prompt: "p", interventions: [{ at: long, do: "zero" }] }],
    ];
    test.each(bodies)("%s %#", async (path, body) => {
      const { status, json, text } = await server.post<Problem>(path, body);
      expect(status).toBeGreaterThanOrEqual(400);
      expect(status).toBeLessThan(500);
      expect(json.detail.length).toBeLessThanOrEqual(MOST);
      expect(text.length).toBeLessThan(3 * MOST);
    });

    test("a reference to the hub that is far too long in an address is the caller's fault", async () => {
      const { status } = await server.get(`/api/models/${encodeURIComponent(`hf:${"a/".repeat(1_000)}`)}`);
      expect(status).toBe(422);
    });

    test("and its worker and the models in it outlive an error that is long", async () => {
      const before = server.server.context.interactive.pid;
      const { interactive } = server.server.context;
      const ask = interactive.ask("describe", { model: "x".repeat(9 << 20) }, { signal: new AbortController().signal });
      const error = await ask.catch((each: unknown) => each);
      expect(error).toBeInstanceOf(HeadscopeError);
      expect((error as HeadscopeError).kind).not.toBe("crashed");
      expect((error as HeadscopeError).message.length).toBeLessThanOrEqual(MOST);
      expect(interactive.pid).toBe(before);
    });
  });

  describe("answers with tensors of bounded size", () => {
    const path = (query: string) => `/api/prompts/${prompt.id}/patterns/0?${query}`;

    test("a head that is named twice is sent once", async () => {
      const { status, headers } = await server.get(path(`heads=${"0,".repeat(1_000)}0`));
      expect([status, headers.get("x-shape")]).toEqual([200, "1,60,60"]);
    });

    test("a pattern or activation over the limit is refused with its size, and a part of it is not", async () => {
      const whole = await server.get<Problem>(path("")); // 4 heads, 60 by 60, of 4 bytes
      expect([whole.status, whole.json.kind]).toEqual([422, "input"]);
      expect(whole.json.detail).toContain("40000");
      expect((await server.get(path("queries=0:10"))).status).toBe(200);
      expect((await server.get(path("dtype=f16"))).status).toBe(200);
      const scores = `/api/prompts/${prompt.id}/activations/blocks.0.attn.hook_attn_scores`;
      expect((await server.get(scores)).status).toBe(422);
      expect((await server.get(`${scores}?heads=0`)).status).toBe(200);
    });
  });

  describe("reads JSON in UTF-8 of bounded shape", () => {
    const deep = (depth: number) => `{"model":"m","x":${"[".repeat(depth)}${"]".repeat(depth)}}`;

    test.each(["utf-16le", "utf-16", "utf-32", "iso-8859-1", "utf-7"])("not in %s", async (charset) => {
      const text = `{"\u2200":1,${deep(60).slice(1)}`;
      const body = Buffer.from(text, charset === "utf-16le" ? "utf16le" : "utf8");
      const headers = { "content-type": `application/json; charset=${charset}` };
      expect((await server.send("/api/prompts", { method: "POST", headers, body })).status).toBe(415);
    });

    test("UTF-8 may be said, and what is in a string is no nesting", async () => {
      const type = { "content-type": "application/json; charset=UTF-8" };
      const answer = await server.post("/api/prompts", { model: MODEL, tokens: [1, 2] }, type);
      expect(answer.status).toBe(200);
      expect((await server.post<Problem>("/api/prompts", deep(60))).json.kind).toBe("limit");
    });

    test.each([
      ["values", JSON.stringify({ model: MODEL, tokens: Array.from({ length: 2_001 }, () => 1) })],
      ["lists", `[${"[],".repeat(2_000)}[]]`],
      ["keys", JSON.stringify(Object.fromEntries(Array.from({ length: 101 }, (_, i) => [`k${i}`, 1])))],
    ])("not with too many %s", async (_, body) => {
      const { status, json } = await server.post<Problem>("/api/prompts", body);
      expect([status, json.kind]).toEqual([422, "limit"]);
    });
  });

  test("counts the tokens of references and of both sides of pairs as those of rows", async () => {
    const row = Array.from({ length: 40 }, () => 1);
    const refused = async (path: string, body: object) => {
      const { status, json } = await server.post<Problem>(path, body);
      expect([status, json.kind], JSON.stringify(json)).toEqual([422, "limit"]);
    };
    const ablation = { heads: ["0.0"], method: "mean" };
    await refused("/api/ablate", { model: MODEL, rows: [row], reference: [row], ...ablation });
    await refused("/api/ablate", { prompt: prompt.id, reference: [row, row], ...ablation });
    const pair = { clean: row, corrupt: row, answer: 1, wrong: 2 };
    await refused("/api/patch", { model: MODEL, pairs: [pair] });
    await refused("/api/patch-places", { model: MODEL, pairs: [pair], places: ["0.0"] });
    await refused("/api/attribute", { model: MODEL, prompts: [pair] });
    await refused("/api/lens", { model: MODEL, prompts: [pair] });
    await refused("/api/ablate-each", { model: MODEL, pairs: [pair], each: "head" });
    const short = { clean: [1, 2], corrupt: [1, 3], answer: 1, wrong: 2 };
    await refused("/api/ablate-each", {
      model: MODEL,
      pairs: [short],
      each: "head",
      method: "mean",
      reference: [row, row],
    });
    const one = { at: "blocks.0.attn.hook_z", do: "mean", with: { tokens: [row, row] } };
    await refused("/api/intervene", { prompt: prompt.id, interventions: [one] });
    expect((await server.post("/api/ablate", { model: MODEL, rows: [row], ...ablation, method: "zero" })).status).toBe(
      200,
    );
  });

  test("takes digits, and nothing else that is a number somewhere, for a job's id", async () => {
    for (const id of ["0x1", "1e3", "%201", "1%20", "+1", "1.0", "01", "-1", "9".repeat(30), "NaN"])
      expect((await server.get(`/api/jobs/${id}`)).status, id).toBe(422);
    expect((await server.get("/api/jobs/7")).status).toBe(404);
  });

  describe("tells the caller's faults from its own", () => {
    test("a range that the file does not have is 416, with its length", async () => {
      const scores = {
        format: "headscope.head-scores/1",
        model: { ref: MODEL, layers: 2, heads: 1, kvHeads: 1 },
        probe: "mine",
        metrics: { mine: { axis: "heads", values: [[0], [1]] } },
      };
      const made = await server.post<{ files: { url: string; bytes: number }[] }>("/api/exports", {
        format: "csv",
        scores,
      });
      const [file] = made.json.files;
      const answer = await server.get<Problem>(file!.url, { range: "bytes=99999999-" });
      expect(answer.status).toBe(416);
      expect(answer.headers.get("content-range")).toBe(`bytes */${file!.bytes}`);
      expect((await server.get(file!.url, { range: "bytes=0-3" })).status).toBe(206);
      expect((await server.get<Problem>(file!.url, { "if-match": '"other"' })).status).toBe(412);
    });

    test("HEAD of every address that has GET ends, with GET's status and without a body", async () => {
      const fill: Record<string, string> = { ref: MODEL, layer: "1", hook: "hook_embed", name: "x", id: "x" };
      const own = operations.filter(({ method }) => method === "get").map(({ path }) => path);
      for (const path of own) {
        const filled = path
          .replace("prompts/{id}", `prompts/${prompt.id}`)
          .replace(/\{(\w+)\}/g, (_, name: string) => fill[name]!);
        const query = filled.includes("patterns") ? "?heads=0" : "";
        const head = await server.send(filled + query, { method: "HEAD" });
        const status = path === "/api/events" ? 200 : (await server.get(filled + query)).status;
        expect([head.status, head.text], filled).toEqual([status, ""]);
      }
      expect(server.server.context.events.listeners).toBe(0); // HEAD of the events is none
    });
  });

  test("odd values in every operation are refused, or taken, and are never a defect", async () => {
    const random = seeded(20_260_714);
    const defects: string[] = [];
    const taken = new Set<string>();
    for (let round = 0; round < 30; round++) {
      for (const each of operations.filter(({ path }) => path !== "/api/events")) {
        const { path, init } = fuzz(each, random, { prompt: prompt.id });
        const { status } = await server.send(path, { ...init, signal: AbortSignal.timeout(patiently(20_000)) });
        if (status < 400) taken.add(`${init.method} ${each.path}`);
        if (status === 500) defects.push(`${init.method} ${path} ${init.body ?? ""}`.slice(0, 300));
      }
    }
    expect(defects).toEqual([]);
    expect(taken.size).toBeGreaterThan(0.3 * operations.length); // else the values are too odd to get anywhere
  });
});
