import type { Problem } from "../../../backend/common/api/problem.ts";
import { access } from "./access.svelte.ts";

/** A request that the server refused or that did not reach it. */
export class ApiError extends Error {
  readonly problem: Problem;

  constructor(problem: Problem) {
    super(problem.detail);
    this.name = "ApiError";
    this.problem = problem;
  }
}

/** Says whether an error only says that a request was given up. */
export function isAbort(error: unknown): boolean {
  return error instanceof DOMException && error.name === "AbortError";
}

/** Ways to give up, name and limit a request. */
export interface CallOptions {
  /** Gives it up. */
  readonly signal?: AbortSignal;
  /** Names it in the server's queue. */
  readonly id?: string;
  /** Seconds after which its answer would come too late: what takes longer is refused with an estimate (428, kind "long"). */
  readonly wait?: number;
}

/** GET of JSON. @throws ApiError */
export function get<T>(path: string, caller?: AbortSignal | CallOptions): Promise<T> {
  return json<T>(path, followed(caller));
}

/** POST of JSON, answered by JSON. @throws ApiError */
export function post<T>(path: string, body: unknown, caller?: AbortSignal | CallOptions): Promise<T> {
  return json<T>(path, posted(body, followed(caller)));
}

/** @throws ApiError */
export async function deleteAt(path: string): Promise<void> {
  await request(path, { method: "DELETE" });
}

/** GET of bytes, such as a safetensors file. @throws ApiError */
export async function getBytes(path: string, caller?: AbortSignal | CallOptions): Promise<ArrayBuffer> {
  return (await request(path, followed(caller))).arrayBuffer();
}

/** The token in what somebody pasted: the address that headscope prints, or the token itself. */
export function tokenIn(pasted: string): string {
  const text = pasted.trim();
  return (URL.canParse(text) && new URL(text).searchParams.get("token")) || text;
}

/** Says whether the server lets in who shows this token. @throws TypeError where it does not answer */
export async function isToken(token: string): Promise<boolean> {
  if (!/^[\x21-\x7e]+$/.test(token)) return false; // no header could carry it
  return (await fetch("/api/health", { headers: { authorization: `Bearer ${token}` } })).ok;
}

/** A server-sent event. */
export interface ServerEvent {
  readonly event: string;
  readonly data: unknown;
}

/** POST answered by server-sent events, one after the other until the server ends them. @throws ApiError, also for an `error` event */
export async function* stream(
  path: string,
  body: unknown,
  caller?: AbortSignal | CallOptions,
): AsyncGenerator<ServerEvent> {
  const response = await request(path, posted(body, followed(caller), { accept: "text/event-stream" }));
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = "";
  for (;;) {
    const { done, value } = await reader.read().catch((error: unknown) => {
      throw isAbort(error) ? error : new ApiError(unreachable());
    });
    if (done) return;
    waiting += value;
    const parts = waiting.split("\n\n");
    waiting = parts.pop()!;
    for (const part of parts) {
      const event = /^event: (.*)$/m.exec(part)?.[1] ?? "message";
      const data = part
        .split("\n")
        .filter((line) => line.startsWith("data: "))
        .map((line) => line.slice(6))
        .join("\n");
      if (data === "") continue;
      const parsed: unknown = JSON.parse(data);
      if (event === "error") throw new ApiError(parsed as Problem);
      yield { event, data: parsed };
    }
  }
}

function followed(caller: AbortSignal | CallOptions | undefined): RequestInit & { headers: Record<string, string> } {
  const { signal, id, wait }: CallOptions = caller instanceof AbortSignal ? { signal: caller } : (caller ?? {});
  const headers = {
    ...(id === undefined ? {} : { "x-request-id": id }),
    ...(wait === undefined ? {} : { prefer: `wait=${wait}` }),
  };
  return { headers, ...(signal ? { signal } : {}) };
}

function posted(body: unknown, init: ReturnType<typeof followed>, more: Record<string, string> = {}): RequestInit {
  const headers = { "content-type": "application/json", ...more, ...init.headers };
  return { ...init, method: "POST", headers, body: JSON.stringify(body) };
}

async function json<T>(path: string, init: RequestInit): Promise<T> {
  return (await (await request(path, init)).json()) as T;
}

async function request(path: string, init: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(path, init);
  } catch (error) {
    if (isAbort(error)) throw error;
    throw new ApiError(unreachable());
  }
  if (response.ok) return response;
  if (response.status === 401) access.refused = true;
  throw new ApiError(await refusalIn(response));
}

async function refusalIn(response: Response): Promise<Problem> {
  try {
    return (await response.json()) as Problem;
  } catch {
    const title = response.statusText || "failed";
    return { ...problem("defect", title, `the server answered ${response.status}`), status: response.status };
  }
}

/** A problem that the browser states, not the server. @param title a word or two @param detail one sentence */
export function problem(kind: string, title: string, detail: string, remedy?: string): Problem {
  return { type: "about:blank", title, status: 0, detail, kind, ...(remedy && { remedy }) };
}

function unreachable(): Problem {
  const remedy = "start it again with npm start or npx headscope serve, then reload";
  return problem("network", "Not reached", "the headscope server does not answer", remedy);
}

/** An error as a problem; what nobody threw on purpose is a defect, and logged. */
export function problemOf(error: unknown): Problem {
  if (error instanceof ApiError) return error.problem;
  console.error(error);
  const detail = error instanceof Error ? error.message : String(error);
  return problem("defect", "Defect", detail, "reload the page");
}
