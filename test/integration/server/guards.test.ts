import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Problem } from "../../../backend/common/api/problem.ts";
import type { Prompt } from "../../../backend/common/api/prompts.ts";
import { LIMITS } from "../../../backend/server/http/limits.ts";
import { startServer } from "../../../backend/server/server.ts";
import { buildCli } from "../../helpers/cli.ts";
import { Listening, openServer, rawRequest, type TestServer } from "../../helpers/servers/api.ts";

const MODEL = "toy-induction";
const outside = mkdtempSync(join(tmpdir(), "headscope-outside-"));
const root = mkdtempSync(join(tmpdir(), "headscope-root-"));
const web = mkdtempSync(join(tmpdir(), "headscope-web-"));
let server: TestServer;

beforeAll(async () => {
  await buildCli();
  mkdirSync(join(web, "assets"));
  writeFileSync(join(web, "index.html"), "<!doctype html><title>headscope</title>");
  writeFileSync(join(web, "assets", "app-1a2b3c.js"), `console.log(${JSON.stringify("x".repeat(4_000))});`);
  writeFileSync(join(outside, "secret.json"), "{}");
  server = await openServer({
    web,
    roots: [root],
    limits: {
      bodyBytes: 4_096,
      documentBytes: 20_000,
      promptTokens: 16,
      rows: 2,
      entries: 8,
      listeners: 1,
      urlCharacters: 600,
    },
  });
});
afterAll(async () => {
  await server.close();
  for (const folder of [outside, root, web]) rmSync(folder, { recursive: true });
});

describe("who is let in", () => {
  const own = () => `127.0.0.1:${server.server.port}`;
  const raw = (path: string, headers: Record<string, string>) =>
    rawRequest(server, path, { ...server.credentials, ...headers });

  test.each(["evil.example", "127.0.0.1.evil.example", "127.0.0.1", "localhost:1", "127.0.0.1:4747@evil.example"])(
    "host %s is refused: on the API and on the pages",
    async (host) => {
      for (const path of ["/api/health", "/"]) {
        const { status, problem } = await raw(path, { host });
        expect([status, problem.kind]).toEqual([403, "forbidden"]);
      }
    },
  );

  test("every name of this machine is taken, with the port", async () => {
    for (const name of ["localhost", "127.0.0.1", "[::1]", "LOCALHOST"])
      expect((await raw("/api/health", { host: `${name}:${server.server.port}` })).status).toBe(200);
  });

  test.each(["http://evil.example", "null", "https://127.0.0.1", "http://127.0.0.1", "http://127.0.0.1:1"])(
    "a page of %s is refused",
    async (origin) => {
      const { status, problem } = await raw("/api/health", { host: own(), origin });
      expect([status, problem.kind]).toEqual([403, "forbidden"]);
    },
  );

  test("its own pages are let in; pages of other sites are not, also where no Origin is sent", async () => {
    expect((await raw("/api/health", { host: own(), origin: `http://${own()}` })).status).toBe(200);
    const site = (value: string, path = "/api/health") =>
      raw(path, { host: own(), "sec-fetch-site": value }).then(({ status }) => status);
    expect(await site("same-origin")).toBe(200);
    expect(await site("none")).toBe(200);
    expect(await site("cross-site")).toBe(403);
    expect(await site("same-site")).toBe(403);
    expect(await site("cross-site", "/heads")).toBe(200); // a link to a page
  });
});

describe("a token", () => {
  const token = "a-secret-of-some-length";
  let guarded: TestServer;
  beforeAll(async () => {
    guarded = await openServer({ web, token });
  });
  afterAll(() => guarded.close());

  test("is needed by the API, as a bearer or as the cookie that the first visit sets", async () => {
    const without = await guarded.get<Problem>("/api/health", { authorization: "" });
    expect([without.status, without.headers.get("www-authenticate")]).toEqual([401, "Bearer"]);
    expect((await guarded.get("/api/health", { authorization: "Bearer wrong" })).status).toBe(401);
    expect((await guarded.get("/api/health", { authorization: `Bearer ${token}` })).status).toBe(200);
    const visit = await guarded.get(`/?token=${token}`);
    expect([visit.status, visit.headers.get("location")]).toEqual([303, "/"]);
    const cookie = visit.headers.get("set-cookie")!;
    expect(cookie).toMatch(/HttpOnly/);
    expect(cookie).toMatch(/SameSite=Strict/);
    expect((await guarded.get("/api/health", { authorization: "", cookie: cookie.split(";")[0]! })).status).toBe(200);
    expect((await guarded.get("/?token=wrong")).headers.get("set-cookie")).toBeNull();
  });

  test("is a condition of a host that others reach", async () => {
    await expect(startServer({ host: "0.0.0.0", port: 0 })).rejects.toMatchObject({
      kind: "usage",
      message: expect.stringContaining("HEADSCOPE_TOKEN"),
    });
  });
});

describe("pages", () => {
  test("every path of a page gives index.html; a file that is not there gives none", async () => {
    for (const path of ["/", "/heads", "/attention/", "/some/page?with=state"]) {
      const { status, text, headers } = await server.get(path);
      expect([status, text]).toEqual([200, "<!doctype html><title>headscope</title>"]);
      expect(headers.get("cache-control")).toBe("no-cache");
    }
    expect((await server.get("/assets/none.js")).status).toBe(404);
    expect((await server.get("/favicon.png")).status).toBe(404);
    expect((await server.post("/heads", {})).status).toBe(404);
  });

  test("hashed files are kept for ever, compressed, and their policy allows no inline script", async () => {
    const { headers } = await server.get("/assets/app-1a2b3c.js", { "accept-encoding": "gzip" });
    expect(headers.get("cache-control")).toBe("public, max-age=31536000, immutable");
    expect(headers.get("content-encoding")).toBe("gzip");
    const policy = headers.get("content-security-policy")!;
    expect(policy).toContain("default-src 'self'");
    expect(policy).toContain("frame-ancestors 'none'");
    expect(policy).not.toMatch(/script-src[^;]*unsafe|default-src[^;]*unsafe|unsafe-eval/);
    expect(headers.get("x-content-type-options")).toBe("nosniff");
    expect(headers.get("referrer-policy")).toBe("no-referrer");
    expect(headers.get("x-powered-by")).toBeNull();
  });

  test.each(["/../secret.json", "/%2e%2e/secret.json", "/..%2fsecret.json", "/assets/..%2f..%2fsecret.json"])(
    "%s leads out of nothing",
    async (path) => {
      const host = `127.0.0.1:${server.server.port}`;
      expect([400, 403, 404]).toContain((await rawRequest(server, path, { host })).status);
    },
  );
});

describe("what is no request of this API", () => {
  test("an unknown address is a problem, as are another method and another kind of body", async () => {
    const unknown = await server.get<Problem>("/api/nothing");
    expect(unknown.json).toMatchObject({ status: 404, kind: "missing" });
    const method = await server.remove("/api/health");
    expect([method.status, method.headers.get("allow")]).toEqual([405, "GET, HEAD"]);
    const form = await server.post<Problem>("/api/prompts", "text=x", {
      "content-type": "application/x-www-form-urlencoded",
    });
    expect(form.status).toBe(415);
  });

  test("malformed JSON is 400; well-formed JSON of another form is 422 and says which field", async () => {
    expect((await server.post<Problem>("/api/prompts", '{"model": ')).json).toMatchObject({
      status: 400,
      kind: "input",
    });
    const { json } = await server.post<Problem>("/api/prompts", { model: MODEL, tokens: [1, "2"] });
    expect(json.status).toBe(422);
    expect(json.detail).toContain("tokens[1]");
    const misspelt = await server.post<Problem>("/api/prompts", { model: MODEL, tokens: [1], boss: true });
    expect([misspelt.status, misspelt.json.detail]).toEqual([422, expect.stringContaining("boss")]);
    expect((await server.get<Problem>("/api/scores?modle=x")).status).toBe(422);
  });

  test("what is no HTTP is answered and closed", async () => {
    const answer = await new Promise<string>((resolve) => {
      let text = "";
      const socket = connect(server.server.port, "127.0.0.1", () => socket.end("this is no request\r\n\r\n"));
      socket.setEncoding("utf8").on("data", (part) => {
        text += part;
      });
      socket.on("close", () => resolve(text));
    });
    expect(answer).toMatch(/^HTTP\/1\.1 400 /);
    expect(JSON.parse(answer.split("\r\n\r\n")[1]!)).toMatchObject({ status: 400 });
  });
});

describe("limits", () => {
  const statusOf = async (body: unknown, path = "/api/prompts") => (await server.post<Problem>(path, body)).json;

  test("a body that is too large is 413, also where it is of a chunked length", async () => {
    const big = { model: MODEL, text: "x".repeat(5_000) };
    expect(await statusOf(big)).toMatchObject({ status: 413, kind: "limit" });
    const stream = new Response(JSON.stringify(big)).body!;
    const chunked = await fetch(new URL("/api/prompts", server.server.url), {
      method: "POST",
      headers: { "content-type": "application/json", ...server.credentials },
      body: stream,
      duplex: "half",
    } as RequestInit);
    expect(chunked.status).toBe(413);
  });

  test("a body that nests too deeply is 422", async () => {
    expect(await statusOf(`{"model": "m", "tokens": ${"[".repeat(500)}${"]".repeat(500)}}`)).toMatchObject({
      status: 422,
      detail: "the body nests deeper than 24",
    });
  });

  test("more tokens, rows or heads than allowed are 422", async () => {
    const tokens = Array.from({ length: 17 }, (_, i) => i);
    expect((await statusOf({ model: MODEL, tokens })).status).toBe(422);
    const rows = [[1], [2], [3]];
    expect((await statusOf({ model: MODEL, rows, heads: ["0.0"] }, "/api/ablate")).status).toBe(422);
    const heads = Array.from({ length: 9 }, () => "0.0");
    expect((await statusOf({ model: MODEL, rows: [[1]], heads }, "/api/ablate")).status).toBe(422);
    expect((await statusOf({ model: MODEL, tokens: [1], maxTokens: 1e9 }, "/api/generate")).status).toBe(422);
    const prompts = (count: number) => Array.from({ length: count }, () => ({ tokens: [1] }));
    for (const body of [
      { prompts: prompts(3), maxTokens: 1 },
      { prompts: prompts(2), maxTokens: LIMITS.newTokens },
    ])
      expect((await statusOf({ model: MODEL, ...body }, "/api/generate-batch")).status).toBe(422);
  });

  test("a prompt beyond the model's context says how long that is", async () => {
    const long = await openServer({ web });
    try {
      const body = { model: MODEL, tokens: Array.from({ length: 513 }, () => 1) };
      const { json } = await long.post<Problem>("/api/prompts", body);
      expect([json.status, json.detail]).toEqual([
        422,
        "the prompt has 513 tokens, more than the model's context of 512",
      ]);
    } finally {
      await long.close();
    }
  });

  test("an address that is too long is 414, and headers that are too large 431", async () => {
    expect((await server.get<Problem>(`/api/scores?model=${"x".repeat(700)}`)).json.status).toBe(414);
    const host = `127.0.0.1:${server.server.port}`;
    expect((await rawRequest(server, "/api/health", { host, "x-long": "x".repeat(20_000) })).status).toBe(431);
  });

  test("one listener more than allowed is 429", async () => {
    const first = await new Listening(server, "/api/events").open();
    const second = await server.get<Problem>("/api/events");
    expect([second.status, second.headers.get("retry-after")]).toEqual([429, "1"]);
    first.stop();
  });
});

describe("files", () => {
  const ids = [
    "scores/..%2F..%2Fsecret.json",
    "..%2Fsecret.json",
    "scores/.hidden.json",
    "headscope.db",
    "scores",
    "runs/x.json",
  ];

  test.each(ids)("scores and masks have no %s", async (id) => {
    for (const resource of ["scores", "masks"]) {
      expect((await server.get(`/api/${resource}/${id}`)).status).toBe(404);
      expect((await server.remove(`/api/${resource}/${id}`)).status).toBe(404);
    }
  });

  test("a link that leads out of the data folder is no document", async () => {
    mkdirSync(join(server.folder, "scores"), { recursive: true });
    symlinkSync(join(outside, "secret.json"), join(server.folder, "scores", "link.json"));
    expect((await server.get("/api/scores/scores/link.json")).status).toBe(404);
    expect((await server.get<unknown[]>("/api/scores")).json).toEqual([]);
  });

  test("an import reads the data folder and the given roots, and nothing else", async () => {
    writeFileSync(join(root, "heads.json"), "[]");
    const read = (path: string) =>
      server.post<Problem>("/api/imports", { format: "retrieval-head", model: MODEL, path }).then(({ json }) => json);
    expect(await read(join(root, "heads.json"))).toMatchObject({ status: 422, kind: "input" });
    expect(await read(join(outside, "secret.json"))).toMatchObject({ status: 403 });
    expect(await read("../../../etc/passwd")).toMatchObject({ status: 403 });
    expect(await read("none.json")).toMatchObject({ status: 404 });
    const named = { format: "retrieval-head", model: MODEL, files: { "../x.json": "{}" } };
    expect((await server.post("/api/imports", named)).status).toBe(422);
    const left = readdirSync(server.folder, { recursive: true }).map(String);
    expect(left.filter((name) => /^imports\/./.test(name))).toEqual([]);
  });

  test("a model is no path to elsewhere", async () => {
    const { json } = await server.post<Problem>("/api/prompts", { model: join(outside, "m.safetensors"), tokens: [1] });
    expect(json.status).toBe(403);
    expect((await server.get(`/api/models/${encodeURIComponent("../../../m.gguf")}`)).status).toBe(403);
    expect((await server.get(`/api/models/${encodeURIComponent("run:../../x")}`)).status).toBe(422);
  });

  test("an export's files are its own", async () => {
    for (const name of ["..%2F..%2Fheadscope.db", "%2e%2e/x", "none.json"])
      expect((await server.get(`/api/exports/some/files/${name}`)).status).toBe(404);
  });
});

describe("the worker", () => {
  const { signal } = new AbortController();

  /** Asks for more tokens than are waited for, and comes back with the first event. */
  async function generating(stop: AbortSignal = signal) {
    const response = await fetch(new URL("/api/generate", server.server.url), {
      method: "POST",
      headers: { "content-type": "application/json", accept: "text/event-stream", ...server.credentials },
      body: JSON.stringify({ model: MODEL, tokens: [1, 2, 3, 1, 2], maxTokens: 500 }),
      signal: stop,
    });
    const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
    const { value } = await reader.read();
    return { reader, first: value! };
  }
  const ask = () => server.post<Prompt>("/api/prompts", { model: MODEL, tokens: [5, 6, 5] });

  test("stops what nobody waits for any more, and answers the next request", async () => {
    const gone = new AbortController();
    await generating(gone.signal);
    const { pid } = server.server.context.interactive;
    gone.abort();
    const { status, json } = await ask();
    expect([status, json.ids]).toEqual([200, [5, 6, 5]]);
    expect(server.server.context.interactive.pid).toBe(pid);
  });

  test("is started again when it dies: its request fails with 503, and the one that waits is answered", async () => {
    const { interactive } = server.server.context;
    const { reader, first } = await generating();
    const waiting = ask();
    while (interactive.waiting === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    const { pid } = interactive;
    process.kill(pid!, "SIGKILL");
    let text = first;
    for (let part = await reader.read(); !part.done; part = await reader.read()) text += part.value;
    const problem = JSON.parse(/^event: error\ndata: (.*)$/m.exec(text)![1]!) as Problem;
    expect(problem).toMatchObject({ status: 503, kind: "crashed" });
    expect((await waiting).status).toBe(200);
    expect(interactive.pid).not.toBe(pid);
  });
});
