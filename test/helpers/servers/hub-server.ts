import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";

/** A repository that the stand-in hub holds. */
export interface HubRepo {
  /** Folder whose files it has. */
  readonly folder?: string;
  /** Further files, by path from the root. */
  readonly files?: Readonly<Record<string, string | Uint8Array>>;
  /** Names besides "main" and the commit. */
  readonly tags?: readonly string[];
  /** The token that may read it; absent for everybody. */
  readonly token?: string;
  /** Known to everybody, and closed to all. */
  readonly gated?: boolean;
}

/** Fault of requests whose path fits. */
export interface Fault {
  readonly path: RegExp;
  /** Number of times; default once. */
  times?: number;
  /** An answer of this status instead. */
  readonly status?: number;
  /** Seconds of its Retry-After. */
  readonly retryAfter?: number;
  /** The connection ends after so many bytes of the answer. */
  readonly cutAfter?: number;
  /** The answer stops after so many bytes, and the connection stays open. */
  readonly stallAfter?: number;
  /** One byte is another one. */
  readonly spoil?: boolean;
  /** The whole file, whatever range was asked for. */
  readonly ignoreRange?: boolean;
  /** This text instead of JSON. */
  readonly text?: string;
}

/** One request as the hub saw it. */
export interface HubRequest {
  readonly method: string;
  /** Path and query; that of the store of large files begins with /cdn/. */
  readonly url: string;
  readonly range: string | undefined;
  readonly authorization: string | undefined;
}

/** A stand-in for the hub on this machine. */
export interface HubServer {
  readonly endpoint: string;
  readonly requests: HubRequest[];
  readonly faults: Fault[];
  /** Commit of a repository. */
  commit(repo: string): string;
  close(): Promise<void>;
}

interface Entry {
  readonly content: Buffer;
  /** SHA-256 for large files, git's for the others. */
  readonly etag: string;
  readonly large: boolean;
}

interface Kept extends HubRepo {
  readonly entries: ReadonlyMap<string, Entry>;
  readonly commit: string;
}

const LARGE = /\.(safetensors|gguf|bin)$/;
const PAGE = 8;

/** Starts a hub that has these repositories. Large files come from another address, as those of the real one do. */
export async function startHub(repos: Readonly<Record<string, HubRepo>>): Promise<HubServer> {
  const hub = new StandIn(repos);
  await hub.start();
  return hub;
}

class StandIn implements HubServer {
  readonly requests: HubRequest[] = [];
  readonly faults: Fault[] = [];
  readonly #repos: ReadonlyMap<string, Kept>;
  readonly #main: Server;
  readonly #store: Server;

  constructor(repos: Readonly<Record<string, HubRepo>>) {
    this.#repos = new Map(Object.entries(repos).map(([name, repo]) => [name, keep(repo)]));
    this.#main = createServer((request, response) => this.#answer(request, response, ""));
    this.#store = createServer((request, response) => this.#answer(request, response, "/cdn"));
  }

  async start(): Promise<void> {
    for (const server of [this.#main, this.#store])
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  }

  get endpoint(): string {
    return addressOf(this.#main);
  }

  commit(repo: string): string {
    return this.#repos.get(repo)!.commit;
  }

  async close(): Promise<void> {
    for (const server of [this.#main, this.#store]) {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  }

  #answer(request: IncomingMessage, response: ServerResponse, prefix: string): void {
    const { method = "", headers } = request;
    const url = `${prefix}${request.url}`;
    this.requests.push({ method, url, range: headers.range, authorization: headers.authorization });
    const fault = this.#faultFor(url);
    if (fault?.status !== undefined) {
      const wait = fault.retryAfter === undefined ? {} : { "retry-after": String(fault.retryAfter) };
      response.writeHead(fault.status, wait).end("not now");
    } else if (fault?.text !== undefined)
      response.writeHead(200, { "content-type": "application/json" }).end(fault.text);
    else if (prefix) this.#large(request, response, fault);
    else this.#asked(request, response, fault);
  }

  #faultFor(url: string): Fault | undefined {
    const fault = this.faults.find(({ path, times = 1 }) => times > 0 && path.test(url));
    if (fault) fault.times = (fault.times ?? 1) - 1;
    return fault;
  }

  #asked(request: IncomingMessage, response: ServerResponse, fault: Fault | undefined): void {
    const { pathname, searchParams } = new URL(request.url!, this.endpoint);
    const api = /^\/api\/models\/(.+?)\/(revision|tree)\/([^/]+)(?:\/(.+))?$/.exec(pathname);
    const file = /^\/(.+?)\/resolve\/([^/]+)\/(.+)$/.exec(pathname);
    const [name, revision] = api ? [api[1]!, api[3]!] : file ? [file[1]!, file[2]!] : ["", ""];
    const repo = this.#repos.get(name);
    const token = /^Bearer (.*)$/.exec(request.headers.authorization ?? "")?.[1];
    const revisions = ["main", repo?.commit, ...(repo?.tags ?? [])];
    const entry = file ? repo?.entries.get(decodeURIComponent(file[3]!)) : undefined;
    if (!repo || (repo.token !== undefined && repo.token !== token)) refuse(response, 401, "RepoNotFound");
    else if (repo.gated) refuse(response, 403, "GatedRepo");
    else if (!revisions.includes(decodeURIComponent(revision))) refuse(response, 404, "RevisionNotFound");
    else if (api?.[2] === "revision") json(response, { _id: "1", id: name, sha: repo.commit, lastModified: 0 });
    else if (api) this.#tree(response, repo, api[4] ?? "", pathname, Number(searchParams.get("cursor") ?? 0));
    else if (!entry) refuse(response, 404, "EntryNotFound");
    else this.#file(request, response, repo, entry, fault);
  }

  #file(request: IncomingMessage, response: ServerResponse, { commit }: Kept, entry: Entry, fault?: Fault): void {
    const { etag, content } = entry;
    const headers = { "x-repo-commit": commit, etag: `"${etag}"` };
    if (!entry.large) send(request, response, content, fault, headers);
    else {
      const linked = { "x-linked-etag": `"${etag}"`, "x-linked-size": content.length };
      response.writeHead(302, { ...headers, ...linked, location: `${addressOf(this.#store)}/${etag}` }).end();
    }
  }

  /** One page of a folder's entries. */
  #tree(response: ServerResponse, repo: Kept, folder: string, path: string, cursor: number): void {
    const below = folder ? `${folder}/` : "";
    const entries = new Map<string, object>();
    for (const [name, { content, etag, large }] of repo.entries) {
      if (!name.startsWith(below)) continue;
      const [first, ...rest] = name.slice(below.length).split("/");
      const size = content.length;
      const lfs = large ? { lfs: { oid: etag, size, pointerSize: 134 } } : {};
      const oid = large ? gitHash(Buffer.from(etag)) : etag;
      const entry = rest.length ? { type: "directory", oid, size: 0 } : { type: "file", oid, size, ...lfs };
      entries.set(`${below}${first}`, { ...entry, path: `${below}${first}` });
    }
    const page = [...entries.values()].slice(cursor, cursor + PAGE);
    const next = cursor + PAGE < entries.size ? `<${this.endpoint}${path}?cursor=${cursor + PAGE}>; rel="next"` : "";
    json(response, page, next ? { link: next } : {});
  }

  #large(request: IncomingMessage, response: ServerResponse, fault: Fault | undefined): void {
    const etag = request.url!.slice(1);
    const entry = [...this.#repos.values()]
      .flatMap((repo) => [...repo.entries.values()])
      .find((each) => each.etag === etag);
    if (entry) send(request, response, entry.content, fault, { etag: `"${etag}"` });
    else refuse(response, 404, "EntryNotFound");
  }
}

function keep(repo: HubRepo): Kept {
  const entries = new Map<string, Entry>();
  const add = (path: string, content: Buffer) => {
    const large = LARGE.test(path);
    entries.set(path, { content, large, etag: large ? hex("sha256", content) : gitHash(content) });
  };
  for (const path of repo.folder ? readdirSync(repo.folder) : []) add(path, readFileSync(join(repo.folder!, path)));
  for (const [path, content] of Object.entries(repo.files ?? {})) add(path, Buffer.from(content as string));
  const commit = hex("sha1", Buffer.from([...entries].map(([path, { etag }]) => `${path} ${etag}`).join("\n")));
  return { ...repo, entries, commit };
}

function send(
  request: IncomingMessage,
  response: ServerResponse,
  content: Buffer,
  { cutAfter, stallAfter, spoil, ignoreRange }: Omit<Fault, "path"> = {},
  headers: Record<string, string>,
): void {
  const range = ignoreRange ? undefined : /^bytes=(\d+)-(\d+)?$/.exec(request.headers.range ?? "");
  const [from, to] = range
    ? [Number(range[1]), Math.min(Number(range[2] ?? Infinity), content.length - 1)]
    : [0, content.length - 1];
  let part = content.subarray(from, to + 1);
  if (spoil && part.length > 0) {
    part = Buffer.from(part);
    part[part.length >> 1]! ^= 1;
  }
  const about = range ? { "content-range": `bytes ${from}-${to}/${content.length}` } : {};
  response.writeHead(range ? 206 : 200, {
    ...headers,
    ...about,
    "content-length": part.length,
    "accept-ranges": "bytes",
  });
  if (request.method === "HEAD") response.end();
  else if (cutAfter !== undefined) response.write(part.subarray(0, cutAfter), () => response.destroy());
  else if (stallAfter !== undefined) response.write(part.subarray(0, stallAfter));
  else response.end(part);
}

function refuse(response: ServerResponse, status: number, code: string): void {
  response
    .writeHead(status, { "x-error-code": code, "content-type": "application/json" })
    .end(JSON.stringify({ error: code }));
}

function json(response: ServerResponse, body: unknown, headers: Record<string, string> = {}): void {
  response.writeHead(200, { "content-type": "application/json", ...headers }).end(JSON.stringify(body));
}

function addressOf(server: Server): string {
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function hex(kind: "sha1" | "sha256", content: Buffer): string {
  return createHash(kind).update(content).digest("hex");
}

/** The hash by which git names a file's content. */
function gitHash(content: Buffer): string {
  return hex("sha1", Buffer.concat([Buffer.from(`blob ${content.length}\0`), content]));
}
