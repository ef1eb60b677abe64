import { mkdtempSync, rmSync } from "node:fs";
import { request as httpRequest } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Problem } from "../../../backend/common/api/problem.ts";
import { type RunningServer, type ServerOptions, startServer } from "../../../backend/server/server.ts";
import { checkAnswer } from "./answers.ts";

/** Answer to a request. */
export interface Answered<T = unknown> {
  readonly status: number;
  readonly headers: Headers;
  readonly json: T;
  readonly text: string;
}

/** A server of a test, on a free port and a folder of its own. */
export interface TestServer {
  readonly server: RunningServer;
  readonly folder: string;
  /** Headers by which a program is let in. */
  readonly credentials: Record<string, string>;
  get<T>(path: string, headers?: Record<string, string>): Promise<Answered<T>>;
  post<T>(path: string, body: unknown, headers?: Record<string, string>): Promise<Answered<T>>;
  remove(path: string): Promise<Answered>;
  /** Any other request. */
  send<T>(path: string, init: RequestInit): Promise<Answered<T>>;
  /** Ends it and removes its folder. */
  close(): Promise<void>;
}

/** Opens a server in this process; its workers are real ones. Requests show its token, unless they have another authorization. */
export async function openServer(options: Omit<ServerOptions, "port"> = {}): Promise<TestServer> {
  const folder = options.folder ?? mkdtempSync(join(tmpdir(), "headscope-server-"));
  const server = await startServer({ ...options, folder, port: 0 });
  const credentials: Record<string, string> =
    server.token === undefined ? {} : { authorization: `Bearer ${server.token}` };
  const call = async (
    path: string,
    init: RequestInit & { headers?: Record<string, string> },
  ): Promise<Answered<never>> => {
    const response = await fetch(new URL(path, server.url), {
      redirect: "manual",
      ...init,
      headers: { ...credentials, ...init.headers },
    });
    const text = await response.text();
    const isJson = /json/.test(response.headers.get("content-type") ?? "") && text !== "";
    const json = isJson ? JSON.parse(text) : text;
    if (isJson) checkAnswer(init.method ?? "GET", path, response.status, json);
    return { status: response.status, headers: response.headers, text, json: json as never };
  };
  return {
    server,
    folder,
    credentials,
    get: (path, headers = {}) => call(path, { headers }),
    post: (path, body, headers = {}) => {
      const sent = typeof body === "string" ? body : JSON.stringify(body);
      return call(path, { method: "POST", headers: { "content-type": "application/json", ...headers }, body: sent });
    },
    remove: (path) => call(path, { method: "DELETE" }),
    send: call,
    async close() {
      await server.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** A request as no browser sends it: headers and the path go out as they are, and nothing besides. */
export function rawRequest(
  { server }: TestServer,
  path: string,
  headers: Record<string, string> = {},
  method = "GET",
): Promise<{ status: number; problem: Problem; headers: Record<string, unknown> }> {
  return new Promise((resolve, reject) => {
    const request = httpRequest({ host: "127.0.0.1", port: server.port, path, headers, method }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (part) => {
        text += part;
      });
      response.on("end", () => {
        const isProblem = response.headers["content-type"]?.startsWith("application/problem+json");
        const problem = (isProblem ? JSON.parse(text) : {}) as Problem;
        resolve({ status: response.statusCode!, problem, headers: response.headers });
      });
    });
    request.on("error", reject).end();
  });
}

/** A server-sent event. */
export interface Sent {
  readonly id?: string;
  readonly event: string;
  readonly data: never;
}

/** Listens to server-sent events until `stop`; `until` waits for one. */
export class Listening {
  readonly events: Sent[] = [];
  readonly #stop = new AbortController();
  readonly #url: URL;
  readonly #headers: Record<string, string>;
  status = 0;

  constructor({ server, credentials }: TestServer, path: string, headers: Record<string, string> = {}) {
    this.#url = new URL(path, server.url);
    this.#headers = { ...credentials, ...headers };
  }

  /** Connects. */
  async open(): Promise<this> {
    const response = await fetch(this.#url, { headers: this.#headers, signal: this.#stop.signal });
    this.status = response.status;
    void this.#read(response).catch(() => {});
    return this;
  }

  /** The first event, also a past one, that a test likes. */
  async until(likes: (event: Sent) => boolean): Promise<Sent> {
    for (;;) {
      const found = this.events.find(likes);
      if (found) return found;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  stop(): void {
    this.#stop.abort();
  }

  async #read(response: Response): Promise<void> {
    const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
    let waiting = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const parts = (waiting + value).split("\n\n");
      waiting = parts.pop()!;
      for (const part of parts) {
        const field = (name: string): string | undefined => new RegExp(`^${name}: (.*)$`, "m").exec(part)?.[1];
        const [id, event, data] = [field("id"), field("event"), field("data")];
        if (event === undefined || data === undefined) continue;
        this.events.push({ ...(id === undefined ? {} : { id }), event, data: JSON.parse(data) as never });
      }
    }
  }
}
