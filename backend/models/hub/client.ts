import { setTimeout as sleep } from "node:timers/promises";
import { HeadscopeError } from "../../errors.ts";
import type { HubFile } from "./files.ts";
import type { HubRef } from "./ref.ts";
import type { HubSettings } from "./settings.ts";

/** How patiently the hub is asked. */
export interface Patience {
  /** Milliseconds before the first retry, doubled at each; default 500. */
  readonly retryMs?: number | undefined;
  /** Milliseconds without a byte after which a connection counts as dead; default 60,000. */
  readonly stallMs?: number | undefined;
}

/** Retries of one request, and of one file while nothing more of it comes. */
export const RETRIES = 4;

const LONGEST_WAIT = 30_000;
const MOST_FILES = 10_000;
const BUSY = [408, 429, 500, 502, 503, 504];

/** What a request is about, for errors: a repository and a branch, tag or commit of it. */
type Subject = Pick<HubRef, "repo" | "revision">;

/**
 * What is asked of a hub, through @huggingface/hub. Busy and failing answers and lost connections are tried again; the token
 * goes to the hub's own address only.
 */
export class HubClient {
  readonly settings: HubSettings;
  readonly signal: AbortSignal | undefined;
  readonly #retryMs: number;
  readonly #stallMs: number;

  constructor(settings: HubSettings, { retryMs = 500, stallMs = 60_000 }: Patience = {}, signal?: AbortSignal) {
    this.settings = settings;
    this.signal = signal;
    this.#retryMs = retryMs;
    this.#stallMs = stallMs;
  }

  /**
   * The commit that a revision stands for.
   * @throws HeadscopeError "missing" where there is none or it is closed to the token; "network"; "cancelled"
   */
  async commit(subject: Subject): Promise<string> {
    const { modelInfo } = await import("@huggingface/hub");
    const { repo, revision } = subject;
    const info = await this.#answered(subject, (fetch) =>
      modelInfo({ name: repo, revision, hubUrl: this.settings.endpoint, additionalFields: ["sha"], fetch }),
    );
    if (!/^[0-9a-f]{40}$/.test(String(info.sha))) throw this.#strange(`no commit of ${repo}`);
    return info.sha;
  }

  /**
   * The files of one folder of a repository.
   * @param revision a commit
   * @param folder "" for the root
   * @throws HeadscopeError as `commit` does
   */
  async list(subject: Subject, folder: string): Promise<HubFile[]> {
    const { listFiles } = await import("@huggingface/hub");
    const path = folder ? { path: folder } : {};
    const files: HubFile[] = [];
    await this.#answered(subject, async (fetch) => {
      const entries = listFiles({ ...subject, ...path, hubUrl: this.settings.endpoint, fetch });
      for await (const { type, path, size, oid, lfs } of entries) {
        if (type !== "file") continue;
        const file = { path, bytes: lfs?.size ?? size, etag: lfs?.oid ?? oid ?? "" };
        const valid = /^([0-9a-f]{40}|[0-9a-f]{64})$/.test(file.etag) && Number.isSafeInteger(file.bytes);
        if (!valid || file.bytes < 0 || files.length === MOST_FILES)
          throw this.#strange(`no list of files of ${subject.repo}`);
        files.push(file);
      }
    });
    return files;
  }

  /**
   * The content of a file from an offset on, in the pieces in which it comes.
   * @param revision a commit
   * @throws HeadscopeError as `commit` does; an error of another kind where the connection is lost on the way
   */
  async *bytes(subject: Subject, { path, bytes, etag }: HubFile, from: number): AsyncGenerator<Uint8Array> {
    const { downloadFile } = await import("@huggingface/hub");
    const { endpoint } = this.settings;
    const stall = new AbortController();
    const patience = setTimeout(() => stall.abort(), this.#stallMs);
    let failure: unknown;
    let unwanted = 0;
    const ask = this.#fetchFor(subject, stall.signal);
    try {
      const blob = await downloadFile({
        ...subject,
        path,
        hubUrl: endpoint,
        xet: false,
        downloadInfo: { size: bytes, etag, url: `${endpoint}/${subject.repo}/resolve/${subject.revision}/${path}` },
        fetch: async (...request) => {
          try {
            const answer = await ask(...request);
            if (answer.status !== 206) unwanted = from; // a server that knows no ranges begins at the beginning
            return answer;
          } catch (error) {
            failure = error; // the blob's stream hands on its message alone
            throw error;
          }
        },
      });
      for await (const chunk of blob!.slice(from).stream()) {
        patience.refresh();
        const skipped = Math.min(unwanted, chunk.length);
        unwanted -= skipped;
        if (skipped < chunk.length) yield chunk.subarray(skipped);
      }
    } catch (error) {
      this.#unlessCancelled();
      throw failure ?? error;
    } finally {
      clearTimeout(patience);
    }
  }

  /** Waits before the next of several tries. @param attempt from 0 @param atLeast milliseconds that the hub asked for */
  async pause(attempt: number, atLeast = 0): Promise<void> {
    const wait = Math.min(LONGEST_WAIT, Math.max(atLeast, this.#retryMs * 2 ** attempt));
    await sleep(wait, undefined, this.signal ? { signal: this.signal } : {}).catch(() => this.#unlessCancelled());
  }

  #unlessCancelled(): void {
    if (this.signal?.aborted)
      throw new HeadscopeError("cancelled", "the pull was cancelled", {
        remedy: "pull again to go on from what has come",
      });
  }

  /** Runs a call of the library; what is thrown there on purpose passes, and an answer that it can't read is the hub's fault. */
  async #answered<T>(subject: Subject, call: (fetch: typeof globalThis.fetch) => Promise<T>): Promise<T> {
    try {
      return await call(this.#fetchFor(subject));
    } catch (error) {
      this.#unlessCancelled();
      throw error instanceof HeadscopeError ? error : this.#strange("an answer that can't be read", error);
    }
  }

  /** The library's fetch. @param given ends a request, which is then not tried again */
  #fetchFor(subject: Subject, given?: AbortSignal): typeof globalThis.fetch {
    return async (input, init) => {
      for (let attempt = 0; ; attempt++) {
        const answer = await this.#once(String(input), init, given ?? AbortSignal.timeout(this.#stallMs));
        if (answer instanceof Response && answer.ok) return answer;
        this.#unlessCancelled();
        if (answer instanceof Response) await answer.body?.cancel();
        if (answer instanceof Response && !BUSY.includes(answer.status)) throw this.#refused(subject, answer);
        if (attempt === RETRIES || given?.aborted) throw this.#unreachable(answer);
        const seconds = answer instanceof Response ? Number(answer.headers.get("retry-after")) : 0;
        await this.pause(attempt, Number.isFinite(seconds) ? 1000 * seconds : 0);
      }
    };
  }

  /** One request; an answer of any status, or what kept it from coming. */
  async #once(url: string, init: RequestInit | undefined, limit: AbortSignal): Promise<Response | Error> {
    const headers = new Headers(init?.headers);
    headers.set("user-agent", "headscope");
    headers.set("accept-encoding", "identity"); // offsets and lengths are those of the file
    const { endpoint, token } = this.settings;
    if (token !== undefined && new URL(url).origin === new URL(endpoint).origin)
      headers.set("authorization", `Bearer ${token}`);
    try {
      return await fetch(url, {
        ...init,
        headers,
        signal: this.signal ? AbortSignal.any([this.signal, limit]) : limit,
      });
    } catch (error) {
      return error as Error;
    }
  }

  #refused({ repo, revision }: Subject, { status, headers }: Response): HeadscopeError {
    const { endpoint, token } = this.settings;
    const code = headers.get("x-error-code");
    if (code === "RevisionNotFound")
      return new HeadscopeError("missing", `${repo} on ${endpoint} has no revision ${revision}`, {
        remedy: "give a branch, a tag or a whole commit",
      });
    if (code === "GatedRepo" || status === 403)
      return new HeadscopeError("missing", `${repo} on ${endpoint} is closed to you (${status})`, {
        remedy: `ask for access at ${endpoint}/${repo}, and set HF_TOKEN to a token that may read it`,
      });
    if (status === 401 || status === 404)
      return new HeadscopeError("missing", `${repo} is not on ${endpoint}, or is private (${status})`, {
        remedy:
          token === undefined ? "check the name; for a private model set HF_TOKEN" : "check the name and HF_TOKEN",
      });
    return new HeadscopeError("network", `${endpoint} refuses the request for ${repo} (${status})`, {
      remedy: "check HF_ENDPOINT, and try again later",
    });
  }

  #unreachable(answer: Response | Error): HeadscopeError {
    const { endpoint } = this.settings;
    const remedy = "check the network and HF_ENDPOINT, and pull again to go on from what has come";
    if (answer instanceof Response)
      return new HeadscopeError("network", `${endpoint} answered ${answer.status} ${RETRIES + 1} times`, { remedy });
    const { code, message } = (answer.cause ?? answer) as NodeJS.ErrnoException;
    return new HeadscopeError("network", `${endpoint} can't be reached (${code ?? message})`, {
      remedy,
      cause: answer,
    });
  }

  #strange(what: string, cause?: unknown): HeadscopeError {
    return new HeadscopeError("network", `${this.settings.endpoint} gives ${what}`, {
      remedy: "check that HF_ENDPOINT is a Hugging Face hub or a mirror of one",
      ...(cause === undefined ? {} : { cause }),
    });
  }
}
