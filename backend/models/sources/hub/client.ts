import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { HeadscopeError } from "../../../common/errors.ts";
import { isPlainPath } from "../../../setup/names.mjs";
import type { HubFile } from "./files.ts";
import type { HubRef } from "./ref.ts";
import type { HubSettings } from "./settings.ts";

/** Patience with the hub. */
export interface Patience {
  /** Milliseconds before the first retry, doubled at each; default 500. */
  readonly retryMs?: number | undefined;
  /** Milliseconds without a byte after which a connection counts as dead; default 60,000. */
  readonly stallMs?: number | undefined;
}

/** Retries of one request, and of one file while nothing more of it comes. */
export const RETRIES = 4;

const LONGEST_WAIT = 30_000;
/** The most that a hub may list of one folder: real ones have some hundred entries, a thousand a page. */
const MOST = { entries: 10_000, pages: 256 };
/** Bytes of one answer in JSON, as they are after unpacking; a page of a thousand entries has some 300,000. */
const LONGEST_ANSWER = 2 ** 23;
const BUSY = [408, 429, 500, 502, 503, 504];

const commitSchema = z.string().regex(/^[0-9a-f]{40}$/);
const etag = z.string().regex(/^([0-9a-f]{40}|[0-9a-f]{64})$/);
const size = z.int().min(0);

/** An entry of a listing. Nothing of it is joined to a path or compared before it has passed. */
const entrySchema = z.union([
  z
    .object({
      type: z.literal("file"),
      path: z.custom<string>(isPlainPath),
      size,
      oid: z.unknown(),
      lfs: z.object({ oid: etag, size }).nullish(),
    })
    .transform(({ path, size: bytes, oid, lfs }) => ({ path, bytes: lfs?.size ?? bytes, etag: lfs?.oid ?? oid }))
    .pipe(z.object({ path: z.string(), bytes: size, etag })),
  z.object({ type: z.string().refine((type) => type !== "file") }).transform(() => undefined),
]);

/** The subject of a request, for errors: a repository and a branch, tag or commit of it. */
type Subject = Pick<HubRef, "repo" | "revision">;

/**
 * Requests to a hub, through @huggingface/hub. Busy and failing answers and lost connections are tried again; the token
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
    const commit = commitSchema.safeParse(info.sha);
    if (!commit.success) throw this.#strange(`no commit of ${repo}`);
    return commit.data;
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
    let [entries, pages] = [0, 0];
    await this.#answered(subject, async (fetch) => {
      const page: typeof fetch = (...request) => {
        if (++pages > MOST.pages) throw this.#strange(`more than ${MOST.pages} pages of files of ${subject.repo}`);
        return fetch(...request);
      };
      for await (const entry of listFiles({ ...subject, ...path, hubUrl: this.settings.endpoint, fetch: page })) {
        const parsed = entrySchema.safeParse(entry);
        if (!parsed.success || ++entries > MOST.entries) throw this.#strange(`no list of files of ${subject.repo}`);
        if (parsed.data !== undefined) files.push(parsed.data);
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
    const encoded = path.split("/").map(encodeURIComponent).join("/");
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
        downloadInfo: { size: bytes, etag, url: `${endpoint}/${subject.repo}/resolve/${subject.revision}/${encoded}` },
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
    await sleep(wait, undefined, { signal: this.signal }).catch(() => this.#unlessCancelled());
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
      const ask = this.#fetchFor(subject, undefined, wholeAnswer);
      return await call(ask);
    } catch (error) {
      this.#unlessCancelled();
      throw error instanceof HeadscopeError ? error : this.#strange("an answer that can't be read", error);
    }
  }

  /**
   * The library's fetch.
   * @param limit ends a request, which is then not tried again
   * @param take makes of an answer what the library gets; what it throws of the connection counts as a lost one
   */
  #fetchFor(subject: Subject, limit?: AbortSignal, take?: (answer: Response) => Promise<Response>): typeof fetch {
    return async (input, init) => {
      for (let attempt = 0; ; attempt++) {
        const first = await this.#once(String(input), init, limit ?? AbortSignal.timeout(this.#stallMs));
        const answer = first instanceof Response && first.ok && take ? await take(first).catch(lostOrThrown) : first;
        if (answer instanceof Response && answer.ok) return answer;
        this.#unlessCancelled();
        if (answer instanceof Response) await answer.body?.cancel();
        if (answer instanceof Response && !BUSY.includes(answer.status)) throw this.#refused(subject, answer);
        if (attempt === RETRIES || limit?.aborted) throw this.#unreachable(answer);
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
      cause,
    });
  }
}

/** An answer in JSON, read to its end; one that does not come to an end within the limit is given up. */
async function wholeAnswer(answer: Response): Promise<Response> {
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for await (const part of answer.body ?? []) {
    bytes += part.length;
    if (bytes > LONGEST_ANSWER)
      throw new HeadscopeError(
        "network",
        `${new URL(answer.url).origin} gives more than ${LONGEST_ANSWER} bytes of JSON`,
        { remedy: "check that HF_ENDPOINT is a Hugging Face hub or a mirror of one" },
      );
    parts.push(part);
  }
  return new Response(Buffer.concat(parts), { status: answer.status, headers: answer.headers });
}

/** A connection that was lost while an answer came, to try again; what was thrown on purpose is thrown on. */
function lostOrThrown(error: unknown): Error {
  if (error instanceof HeadscopeError) throw error;
  return error as Error;
}
