import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { LIMITS } from "../../backend/server/http/limits.ts";
import { openApi } from "../../backend/server/http/openapi.ts";
import { routes } from "../../backend/server/routes/index.ts";
import { openServer, type TestServer } from "../helpers/servers/api.ts";
import { bearer, type RawAnswer, type RawOptions, send } from "./raw.ts";

/**
 * Nobody is answered by the API without the token, however its addresses are spelled. Every operation of the OpenAPI document
 * is asked for in every way of `SPELLINGS`.
 */

const PAGE = "<!doctype html><title>headscope</title>";
const METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"];

interface Operation {
  /** With values in the place of parameters. */
  readonly path: string;
  readonly method: string;
}

const document = openApi(routes, LIMITS) as { paths: Record<string, Record<string, unknown>> };
const operations: readonly Operation[] = [
  ...Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => ({ path: path.replace(/\{\w+\}/g, "1"), method: method.toUpperCase() })),
  ),
  { path: "/api/openapi.json", method: "GET" },
];

const encoded = (text: string): string =>
  [...text].map((letter) => `%${letter.charCodeAt(0).toString(16).padStart(2, "0")}`).join("");
const rest = (path: string): string => path.slice("/api/".length);

/** Odd ways to write an address of the API. */
const SPELLINGS: Readonly<Record<string, (path: string, port: number) => string>> = {
  "as it is": (path) => path,
  "API in capitals": (path) => path.replace("/api", "/API"),
  "Api with one capital": (path) => path.replace("/api", "/Api"),
  "apI with the last capital": (path) => path.replace("/api", "/apI"),
  "all in capitals": (path) => path.toUpperCase(),
  "two slashes before": (path) => `/${path}`,
  "three slashes before": (path) => `//${path}`,
  "two slashes within": (path) => path.replace("/api/", "/api//"),
  "a slash after": (path) => `${path}/`,
  "two slashes after": (path) => `${path}//`,
  "an encoded letter": (path) => path.replace("/api", "/%61pi"),
  "an encoded capital": (path) => path.replace("/api", "/%41PI"),
  "encoded letters only": (path) => `/${encoded("api")}/${rest(path)}`,
  "a letter encoded twice": (path) => path.replace("/api", "/%2561pi"),
  "an encoded letter after api": (path) => `/api/${encoded(rest(path).charAt(0))}${rest(path).slice(1)}`,
  "an encoded slash": (path) => path.replace("/api/", "/api%2f"),
  "an encoded slash before": (path) => `/%2f${path.slice(1)}`,
  "an encoded backslash": (path) => path.replace("/api/", "/api%5c"),
  "a backslash": (path) => path.replace("/api/", "/api\\"),
  "a dot before": (path) => `/.${path}`,
  "dots before": (path) => `/x/..${path}`,
  "encoded dots": (path) => `/x/%2e%2e${path}`,
  "dots within": (path) => path.replace("/api/", "/api/./"),
  "out of the api and back": (path) => path.replace("/api/", "/api/../api/"),
  "dots through assets": (path) => `/assets/..${path}`,
  "a semicolon": (path) => path.replace("/api", "/api;x=1"),
  "a semicolon after": (path) => `${path};x=1`,
  "an empty query": (path) => `${path}?`,
  "a query that looks like a page": (path) => `${path}?/index.html`,
  "a query with a wrong token": (path) => `${path}?token=0123456789abcdef0123456789abcdef`,
  "a token given twice": (path) => `${path}?token=a&token=b`,
  "a token as an object": (path) => `${path}?token[length]=0`,
  "a fragment": (path) => `${path}#/heads`,
  "an ending": (path) => `${path}.html`,
  "an encoded NUL": (path) => `${path}%00.html`,
  "a bad encoding": (path) => `${path}%zz`,
  "an overlong encoding": (path) => path.replace("/api/", "/api%c0%af"),
  "a full address": (path, port) => `http://127.0.0.1:${port}${path}`,
  "a full address without its port": (path) => `http://127.0.0.1${path}`,
  "a full address of another scheme": (path, port) => `ftp://127.0.0.1:${port}${path}`,
  "a full address of a file": (path) => `file://${path}`,
  "a full address with a user": (path, port) => `http://127.0.0.1:${port}@evil.example${path}`,
  "a full address of another host": (path) => `http://evil.example${path}`,
};

/** Ways in which programs pretend to have been let in, or to use another method. */
const PRETENCES: Readonly<Record<string, Record<string, string>>> = {
  "method override": { "x-http-method-override": "GET", "x-method-override": "GET" },
  "another address": { "x-original-url": "/", "x-rewrite-url": "/index.html" },
  "a proxy": { "x-forwarded-for": "127.0.0.1", "x-forwarded-host": "127.0.0.1", forwarded: "for=127.0.0.1" },
  "an empty bearer": { authorization: "Bearer " },
  "an undefined bearer": { authorization: "Bearer undefined" },
  "basic authorization": { authorization: "Basic dG9rZW46" },
  "a cookie without a value": { cookie: "headscope=; headscope-token=" },
  "accepts pages": { accept: "text/html" },
};

const web = mkdtempSync(join(tmpdir(), "headscope-web-"));
let opened: TestServer;

beforeAll(async () => {
  writeFileSync(join(web, "index.html"), PAGE);
  mkdirSync(join(web, "assets"));
  opened = await openServer({ web });
});
afterAll(async () => {
  await opened.close();
  rmSync(web, { recursive: true });
});

const ask = (path: string, options: RawOptions): Promise<RawAnswer> =>
  send(opened.server, path, {
    ...options,
    headers: { "content-type": "application/json", ...options.headers },
    ...(options.method === "POST" ? { body: "{}" } : {}),
  });

/** Whether an answer is one of the API to somebody who was let in. */
function isApi({ status, headers, text }: RawAnswer): boolean {
  const refused = status === 401 || status === 403 || status === 414;
  const { "content-type": type = "" } = headers;
  return !refused && (/json|event-stream|octet-stream/.test(String(type)) || status === 204 || text.startsWith("{"));
}

describe.each(Object.keys(SPELLINGS))("%s", (name) => {
  const spell = (path: string) => SPELLINGS[name]!(path, opened.server.port);

  test("no operation answers without the token, nor to a page of another site", async () => {
    for (const { path, method } of operations) {
      const answer = await ask(spell(path), { method });
      const what = `${method} ${spell(path)}: ${answer.status} ${answer.text.slice(0, 80)}`;
      expect(isApi(answer), what).toBe(false);
      // 400 and 403 for what names no address of this server.
      expect([400, 401, 403], what).toContain(answer.status);
      const headers = { ...bearer(opened.server), "sec-fetch-site": "cross-site" };
      const foreign = await ask(spell(path), { method, headers });
      expect(isApi(foreign), what).toBe(false);
      expect(foreign.status, what).toBe(answer.status === 401 ? 403 : answer.status);
    }
  });

  test("where the API is what answers, it asks for the token, and refuses the pages of other sites", async () => {
    const path = spell("/api/definitions");
    const inside = isApi(await ask(path, { headers: bearer(opened.server) }));
    const foreign = { "sec-fetch-site": "cross-site" };
    const [without, crossSite, crossOrigin] = await Promise.all([
      ask(path, {}),
      ask(path, { headers: { ...bearer(opened.server), ...foreign } }),
      ask(path, { headers: { ...bearer(opened.server), origin: "http://evil.example" } }),
    ]);
    expect(without.status === 401, path).toBe(inside);
    expect(inside ? crossSite.status === 403 : !isApi(crossSite), path).toBe(true);
    expect([400, 403]).toContain(crossOrigin.status);
  });
});

test("the API is below /api, and there only", async () => {
  const inside = async (name: string) => {
    const path = SPELLINGS[name]!("/api/definitions", opened.server.port);
    return (await ask(path, { headers: bearer(opened.server) })).status === 200;
  };
  for (const name of ["as it is", "an empty query", "a full address"]) expect(await inside(name), name).toBe(true);
  for (const name of [
    "API in capitals",
    "two slashes before",
    "an encoded letter",
    "an encoded slash",
    "a dot before",
    "a full address of another host",
  ])
    expect(await inside(name), name).toBe(false);
});

test.each(["/", "/heads", "/apiary", "/api.html", "/x/api", "/a%2fapi"])("%s is a page's, and open", async (path) => {
  expect((await ask(path, {})).status).toBe(path.endsWith(".html") ? 404 : 200);
});

test.each(METHODS)("%s of any operation is refused without the token", async (method) => {
  for (const { path } of operations) {
    const answer = await ask(path, { method });
    expect(answer.status, `${method} ${path}`).toBe(401);
    const foreign = await ask(path, { method, headers: { "sec-fetch-site": "same-site" } });
    expect(foreign.status, `${method} ${path} of another site`).toBe(403);
  }
});

test.each(Object.keys(PRETENCES))("%s lets nobody in", async (name) => {
  for (const { path, method } of operations)
    expect((await ask(path, { method, headers: PRETENCES[name]! })).status, `${method} ${path}`).toBe(401);
});

test("what was refused did nothing", async () => {
  const mask = {
    name: "mine",
    mask: {
      format: "headscope.head-mask/1",
      model: { ref: "toy-induction", layers: 2, heads: 1, kvHeads: 1 },
      full: [],
      sink: 1,
      recent: 1,
    },
  };
  for (const spell of Object.values(SPELLINGS))
    await send(opened.server, spell("/api/masks", opened.server.port), {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(mask),
    });
  expect(readdirSync(opened.folder, { recursive: true }).filter((each) => /masks?\b|json/.test(String(each)))).toEqual(
    [],
  );
  expect(opened.server.context.store.jobs()).toEqual([]);
  expect(opened.server.context.interactive.pid).toBeUndefined();
});
