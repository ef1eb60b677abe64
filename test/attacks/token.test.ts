import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { type RunningServer, startServer } from "../../backend/server/server.ts";
import { bearer, type RawAnswer, send, sendBytes, statusesOf } from "./raw.ts";

/** What a token lets in, and what it does not: bearers, cookies, addresses, hosts, origins and requests cut in odd ways. */

const web = mkdtempSync(join(tmpdir(), "headscope-web-"));
const folders = ["a", "b"].map((name) => mkdtempSync(join(tmpdir(), `headscope-token-${name}-`)));
let server: RunningServer;
let other: RunningServer;

beforeAll(async () => {
  vi.stubEnv("HEADSCOPE_TOKEN", undefined);
  writeFileSync(join(web, "index.html"), "<!doctype html><title>headscope</title>");
  server = await startServer({ port: 0, folder: folders[0]!, web });
  other = await startServer({ port: 0, folder: folders[1]!, web });
});
afterAll(async () => {
  await Promise.all([server.close(), other.close()]);
  for (const folder of [web, ...folders]) rmSync(folder, { recursive: true });
  vi.unstubAllEnvs();
});

const HEALTH = "/api/health";
const token = (): string => server.token!;
const health = async (headers: Record<string, string>, of = server): Promise<number> =>
  (await send(of, HEALTH, { headers })).status;
const visit = (path: string, headers: Record<string, string> = {}): Promise<RawAnswer> =>
  send(server, path, { headers });
const cookieOf = ({ headers }: RawAnswer): string => String(headers["set-cookie"]).split(";")[0]!;
const entry = (): string => `/?token=${token()}`;

describe("a server that is told of no token", () => {
  test("has that of its data folder, and another folder has another", () => {
    expect(server.token).toMatch(/^[\w-]{43}$/);
    expect(other.token).not.toBe(server.token);
    expect(server.entry).toBe(`${server.url}?token=${server.token}`);
  });

  test("keeps it over restarts", async () => {
    const again = await startServer({ port: 0, folder: folders[0]!, web });
    expect(again.token).toBe(server.token);
    await again.close();
  });

  test.each(["", "short", "with a space in it"])("takes no %j for one", async (given) => {
    await expect(startServer({ port: 0, folder: folders[0]!, token: given })).rejects.toMatchObject({ kind: "usage" });
  });

  test.each(["0.0.0.0", "::"])("is not opened to others at %s, without a token least of all", async (host) => {
    for (const given of [undefined, false] as const)
      await expect(startServer({ host, port: 0, folder: folders[0]!, token: given })).rejects.toMatchObject({
        kind: "usage",
      });
  });
});

describe("a bearer", () => {
  test("is the token, in any case of the scheme", async () => {
    expect(await health(bearer(server))).toBe(200);
    expect(await health({ authorization: `bearer ${token()}` })).toBe(200);
  });

  test.each<[string, (token: string) => string]>([
    ["empty", () => ""],
    ["cut", (whole) => whole.slice(0, -1)],
    ["longer", (whole) => `${whole}a`],
    ["in capitals", (whole) => whole.toUpperCase()],
    ["twice", (whole) => `${whole} ${whole}`],
    ["in quotes", (whole) => `"${whole}"`],
    ["encoded", (whole) => `%${whole.charCodeAt(0).toString(16)}${whole.slice(1)}`],
    ["of the whole alphabet", () => "*"],
  ])("that is %s lets nobody in", async (_, change) => {
    expect(await health({ authorization: `Bearer ${change(token())}` })).toBe(401);
  });

  test("is no other kind of authorization, and not the other server's token", async () => {
    const basic = Buffer.from(`token:${token()}`).toString("base64");
    for (const authorization of [
      `Basic ${basic}`,
      `Token ${token()}`,
      token(),
      `Bearer: ${token()}`,
      `Bearer${token()}`,
    ])
      expect(await health({ authorization }), authorization.slice(0, 8)).toBe(401);
    expect(await health(bearer(other))).toBe(401);
  });

  test("is not taken from the address of an operation", async () => {
    for (const path of [`${HEALTH}?token=${token()}`, `/api/?token=${token()}`, `/api?token=${token()}`]) {
      const answer = await send(server, path);
      expect([answer.status, answer.headers["set-cookie"]], path).toEqual([401, undefined]);
    }
  });
});

describe("the address with the token", () => {
  test("gives a cookie that scripts and other sites do not get, and is answered with the address without it", async () => {
    const answer = await visit(entry());
    expect([answer.status, answer.headers["location"]]).toEqual([303, "/"]);
    const cookie = String(answer.headers["set-cookie"]);
    for (const attribute of ["HttpOnly", "SameSite=Strict"]) expect(cookie).toContain(attribute);
    expect(cookie).not.toContain(token());
    expect(answer.text).not.toContain(token());
    expect(answer.headers["referrer-policy"]).toBe("no-referrer");
    expect(answer.headers["cache-control"]).toBe("no-store");
  });

  test("may be any page's: its other parameters stay", async () => {
    const { headers } = await visit(`/heads?model=run:a@1&token=${token()}&heads=0.1%2C0.2`);
    const location = new URL(String(headers["location"]), server.url);
    expect(location.origin + location.pathname).toBe(new URL("/heads", server.url).href);
    expect([...location.searchParams]).toEqual([
      ["model", "run:a@1"],
      ["heads", "0.1,0.2"],
    ]);
    expect(headers["set-cookie"]).toBeDefined();
  });

  test.each(["//evil.example/", "///evil.example", "/\\evil.example", "//evil.example/%2e%2e", "/heads//evil.example"])(
    "stays on this server: %s",
    async (path) => {
      const { status, headers } = await visit(`${path}?token=${token()}`);
      expect(status).toBe(303);
      expect(new URL(String(headers["location"]), server.url).host).toBe(new URL(server.url).host);
    },
  );

  test("with a wrong token lets nobody in and loses it, too", async () => {
    for (const wrong of ["wrong", "", `${token()}x`, `${token()}&token=${token()}`]) {
      const { status, headers } = await visit(`/heads?token=${wrong}`);
      expect([status, headers["set-cookie"], headers["location"]]).toEqual([303, undefined, "/heads"]);
    }
  });

  test("is a visit: no other method gives the cookie", async () => {
    for (const method of ["POST", "PUT", "DELETE", "OPTIONS"])
      expect((await send(server, entry(), { method })).headers["set-cookie"], method).toBeUndefined();
  });
});

describe("the cookie", () => {
  test("lets its browser use everything: answers, streams of events, downloads", async () => {
    const cookie = cookieOf(await visit(entry()));
    expect(await health({ cookie })).toBe(200);
    expect(await health({ cookie: `theme=dark; ${cookie}; other=1` })).toBe(200);
    const stream = await fetch(new URL("/api/events", server.url), { headers: { cookie } });
    expect([stream.status, stream.headers.get("content-type")]).toEqual([200, "text/event-stream; charset=utf-8"]);
    await stream.body!.cancel();
  });

  test("is not the token, neither as a bearer nor in an address, nor the other way round", async () => {
    const cookie = cookieOf(await visit(entry()));
    const [name, value] = cookie.split("=") as [string, string];
    expect(await health({ authorization: `Bearer ${value}` })).toBe(401);
    expect((await visit(`/?token=${value}`)).headers["set-cookie"]).toBeUndefined();
    for (const wrong of [`${name}=${token()}`, `headscope=${value}`, `headscope-token=${token()}`, `${name}=`, name])
      expect(await health({ cookie: wrong }), wrong.split("=")[0]).toBe(401);
  });

  test("holds for the Host that it was given at, port included", async () => {
    const host = `localhost:${server.port}`;
    const cookie = cookieOf(await visit(entry()));
    expect(await health({ cookie, host })).toBe(401);
    const local = cookieOf(await visit(entry(), { host }));
    expect(await health({ cookie: local, host })).toBe(200);
    expect(await health({ cookie: local })).toBe(401);
  });

  test("of one server is of no use at another, not even of the same data folder", async () => {
    const twin = await startServer({ port: 0, folder: folders[0]!, web });
    try {
      const cookie = cookieOf(await visit(entry()));
      for (const another of [other, twin]) {
        const renamed = cookie.replace(String(server.port), String(another.port));
        for (const each of [cookie, renamed]) expect(await health({ cookie: each }, another)).toBe(401);
      }
    } finally {
      await twin.close();
    }
  });

  test("cannot be pushed aside by one that another server of this machine sets", async () => {
    const cookie = cookieOf(await visit(entry()));
    const name = cookie.split("=")[0]!;
    expect(await health({ cookie: `${name}=theirs; ${cookie}` })).toBe(200);
    expect(await health({ cookie: `${name}=%zz; ${cookie}` })).toBe(200);
  });

  test("does not help the pages of other sites", async () => {
    const cookie = cookieOf(await visit(entry()));
    const others = [
      { "sec-fetch-site": "cross-site" },
      { "sec-fetch-site": "same-site" },
      { origin: "http://evil.example" },
      { origin: "null" },
      { origin: other.url.slice(0, -1) },
      { origin: `https://127.0.0.1:${server.port}` },
      { origin: `http://127.0.0.1:${server.port}.evil.example` },
    ];
    for (const headers of others) expect(await health({ cookie, ...headers }), JSON.stringify(headers)).toBe(403);
  });
});

describe("the Host", () => {
  const port = () => server.port;

  test.each<[string, () => string]>([
    ["another name", () => "evil.example"],
    ["another name with the port", () => `evil.example:${port()}`],
    ["a name that begins like this machine's", () => `127.0.0.1.evil.example:${port()}`],
    ["a name that ends like this machine's", () => `evil-localhost:${port()}`],
    ["another port", () => "127.0.0.1:1"],
    ["no port", () => "127.0.0.1"],
    ["a user before it", () => `evil.example@127.0.0.1:${port()}`],
    ["another loopback address", () => `127.0.0.2:${port()}`],
    ["an address in one number", () => `2130706433:${port()}`],
    ["a dot at the end", () => `localhost.:${port()}`],
  ])("that is %s is refused, token or not, on pages too", async (_, host) => {
    for (const path of [HEALTH, "/", entry()]) {
      const { status, headers } = await send(server, path, { headers: { ...bearer(server), host: host() } });
      expect([400, 403]).toContain(status);
      expect(headers["set-cookie"]).toBeUndefined();
    }
  });

  test("that is missing, or given in the request line besides, is refused", async () => {
    const authorization = `authorization: Bearer ${token()}`;
    const requests = [
      `GET ${HEALTH} HTTP/1.1\r\n${authorization}\r\n\r\n`,
      `GET ${HEALTH} HTTP/1.1\r\nhost:\r\n${authorization}\r\n\r\n`,
      `GET ${HEALTH} HTTP/1.0\r\n${authorization}\r\n\r\n`,
      `GET http://evil.example${HEALTH} HTTP/1.1\r\nhost: 127.0.0.1:${port()}\r\n${authorization}\r\n\r\n`,
    ];
    for (const each of requests) {
      const statuses = statusesOf(await sendBytes(server, each));
      expect(statuses, each).toHaveLength(1);
      expect([400, 403], each).toContain(statuses[0]);
    }
  });
});

describe("requests that are cut in odd ways", () => {
  const secret = "GET /api/health HTTP/1.1\r\nhost: evil.example\r\n\r\n";
  const head = () => `host: 127.0.0.1:${server.port}\r\n`;

  test.each<[string, () => string]>([
    [
      "two lengths",
      () => `POST /api/masks HTTP/1.1\r\n${head()}content-length: 5\r\ncontent-length: 6\r\n\r\nhello${secret}`,
    ],
    [
      "a length and chunks",
      () =>
        `POST /api/masks HTTP/1.1\r\n${head()}content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n${secret}`,
    ],
    [
      "chunks spelled oddly",
      () => `POST /api/masks HTTP/1.1\r\n${head()}transfer-encoding: xchunked\r\n\r\n0\r\n\r\n${secret}`,
    ],
    ["a space before the colon", () => `GET ${HEALTH} HTTP/1.1\r\n${head()}content-length : 3\r\n\r\nabc${secret}`],
    ["a folded header", () => `GET ${HEALTH} HTTP/1.1\r\n${head()}x: a\r\n b\r\n\r\n${secret}`],
    ["a request after another", () => `GET ${HEALTH} HTTP/1.1\r\n${head()}\r\n${secret}`],
    [
      "a body where none belongs",
      () => `GET ${HEALTH} HTTP/1.1\r\n${head()}content-length: ${secret.length}\r\n\r\n${secret}`,
    ],
    ["a bare line feed", () => `GET ${HEALTH} HTTP/1.1\n${head()}\n${secret}`],
    [
      "an upgrade to a socket",
      () => `GET ${HEALTH} HTTP/1.1\r\n${head()}connection: upgrade\r\nupgrade: websocket\r\n\r\n`,
    ],
    ["an upgrade to HTTP/2", () => "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
    ["a tunnel", () => `CONNECT 127.0.0.1:${server.port} HTTP/1.1\r\n${head()}\r\n`],
    ["the whole server", () => `OPTIONS * HTTP/1.1\r\n${head()}\r\n`],
    ["a NUL in the address", () => `GET /api\0/health HTTP/1.1\r\n${head()}\r\n`],
  ])("%s: nothing gets past the token", async (_, request) => {
    for (const status of statusesOf(await sendBytes(server, request()))) expect([400, 401, 403, 404]).toContain(status);
  });
});

describe("without a token", () => {
  test("every process of this machine is let in, and still no page of another site and no other Host", async () => {
    const folder = mkdtempSync(join(tmpdir(), "headscope-open-"));
    const open = await startServer({ port: 0, folder, web, token: false });
    try {
      expect([open.token, open.entry]).toEqual([undefined, open.url]);
      expect(await health({}, open)).toBe(200);
      expect(await health({ "sec-fetch-site": "cross-site" }, open)).toBe(403);
      expect(await health({ origin: "http://evil.example" }, open)).toBe(403);
      expect(await health({ host: "evil.example" }, open)).toBe(403);
      const { status, headers } = await send(open, "/heads?token=left-over&model=a");
      expect([status, headers["location"], headers["set-cookie"]]).toEqual([303, "/heads?model=a", undefined]);
    } finally {
      await open.close();
      rmSync(folder, { recursive: true });
    }
  });
});
