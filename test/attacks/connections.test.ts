import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { keepRoom } from "../../backend/server/http/connections.ts";
import { Listening, openServer, type TestServer } from "../helpers/servers/api.ts";
import { bearer, hold, send, sendBytes, statusesOf } from "./raw.ts";

/** Those who take connections and seats do not keep others out. */

const CONNECTIONS = 16;
const LISTENERS = 3;
const web = mkdtempSync(join(tmpdir(), "headscope-web-"));
let opened: TestServer;
let held: Socket[] = [];

beforeAll(async () => {
  writeFileSync(join(web, "index.html"), "<!doctype html><title>headscope</title>");
  writeFileSync(join(web, "large.txt"), Buffer.alloc(32 << 20, "x"));
  const limits = { connections: CONNECTIONS, listeners: LISTENERS, headersMs: 1_000, listenerMs: 60_000 };
  opened = await openServer({ web, limits });
});
afterEach(() => {
  for (const socket of held) socket.destroy();
  held = [];
});
afterAll(async () => {
  await opened.close();
  rmSync(web, { recursive: true });
});

const health = async (): Promise<number> =>
  (await send(opened.server, "/api/health", { headers: bearer(opened.server) })).status;
const holdMany = async (count: number, bytes = ""): Promise<void> => {
  for (let i = 0; i < count; i++) held.push(await hold(opened.server, bytes));
};
/** Waits for what the server is about to do; the test's own limit ends it. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 10));
}

test.each([
  ["nothing", ""],
  ["half a request", "GET /api/health HTTP/1.1\r\nhost: "],
  ["a body that does not come", "POST /api/masks HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 1000\r\n\r\n{"],
])("connections that send %s make room for those who ask", async (_, bytes) => {
  await holdMany(4 * CONNECTIONS, bytes);
  for (let i = 0; i < 5; i++) expect(await health()).toBe(200);
});

test("connections whose answers are left unread make room for those who ask", async () => {
  const request = `GET /large.txt HTTP/1.1\r\nhost: 127.0.0.1:${opened.server.port}\r\n\r\n`;
  for (let i = 0; i < 2 * CONNECTIONS; i++) {
    const socket = await hold(opened.server, request);
    held.push(socket);
    // One that is refused ends without an answer.
    await new Promise((resolve) => socket.once("readable", resolve).once("close", resolve));
  }
  // The answers fill the system's buffers first, and until then nobody can tell that they are not read.
  await expect.poll(() => health().catch(() => 0)).toBe(200);
  for (let i = 0; i < 5; i++) expect(await health()).toBe(200);
});

test("connections that were all being answered when the last came make room once they are left unread", async () => {
  const most = 4;
  const answers: ServerResponse[] = [];
  const server = createServer((_, response) => answers.push(response));
  server.maxConnections = most;
  keepRoom(server, most);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const ask = async () => held.push(await hold({ port }, "GET / HTTP/1.1\r\nhost: x\r\n\r\n"));
  for (let i = 0; i < most; i++) {
    await ask();
    await until(() => answers.length === i + 1);
  }
  for (const answer of answers) answer.write(Buffer.alloc(32 << 20));
  await until(() => answers.every(({ writableLength }) => writableLength > 0));
  const refused = await hold({ port });
  refused.resume(); // to hear of its end
  await until(() => refused.destroyed);
  await ask();
  await until(() => answers.length === most + 1);
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

test("half a request is ended in time", async () => {
  const answer = await sendBytes(opened.server, "GET /api/health HTTP/1.1\r\nhost: ", { silence: 60_000 });
  expect(statusesOf(answer)).toEqual([408]);
});

test("a connection that is being answered is left alone", async () => {
  const listening = await new Listening(opened, "/api/events").open();
  await holdMany(4 * CONNECTIONS);
  opened.server.context.events.emit("library", { mask: "masks/a.json" });
  await listening.until(({ event }) => event === "library");
  listening.stop();
});

test("HEAD of the stream of events tells its type, and takes no seat", async () => {
  for (let i = 0; i < 2 * LISTENERS; i++) {
    const { status, headers, text } = await send(opened.server, "/api/events", {
      method: "HEAD",
      headers: bearer(opened.server),
    });
    expect([status, text]).toEqual([200, ""]);
    expect(headers["content-type"]).toMatch(/^text\/event-stream/);
  }
  expect(opened.server.context.events.listeners).toBe(0);
});

test("a program that takes all seats is refused more, and makes room for a page", async () => {
  const { events } = opened.server.context;
  const listen = (headers: Record<string, string> = {}) => new Listening(opened, "/api/events", headers).open();
  await until(() => events.listeners === 0);
  const program = [];
  for (let i = 0; i < LISTENERS; i++) program.push(await listen());
  const refused = await send(opened.server, "/api/events", { headers: bearer(opened.server) });
  expect(refused.status).toBe(429);
  expect(Number(refused.headers["retry-after"])).toBeGreaterThan(0);

  const page = await listen({ "sec-fetch-site": "same-origin" });
  expect([page.status, events.listeners]).toEqual([200, LISTENERS]);
  // The program cannot take it back: it still has the most.
  expect((await listen()).status).toBe(429);
  events.emit("library", { mask: "masks/b.json" });
  await page.until(({ event, data }) => event === "library" && (data as { mask: string }).mask === "masks/b.json");
  for (const each of [...program, page]) each.stop();
});
