import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { resolve } from "node:path";
import express, { type ErrorRequestHandler, type Express } from "express";
import { HeadscopeError } from "../common/errors.ts";
import { kinds } from "../jobs/kinds/index.ts";
import { Queue } from "../jobs/queue.ts";
import type { WorkerOptions } from "../jobs/worker-process.ts";
import { dataDir } from "../paths.ts";
import { report } from "../setup/terminal.mjs";
import { openStore } from "../store/store.ts";
import type { ServerContext } from "./context.ts";
import { EventHub } from "./events/hub.ts";
import { Watcher } from "./events/watcher.ts";
import { keepRoom } from "./http/connections.ts";
import { checkToken, type Guard, guard, isLoopback } from "./http/guard.ts";
import { LIMITS, type Limits } from "./http/limits.ts";
import { openApi } from "./http/openapi.ts";
import { answerOf, notFound } from "./http/problems.ts";
import { mount } from "./http/route.ts";
import { environmentToken, serverToken } from "./http/token.ts";
import { compress, pages, securityHeaders, webFolder } from "./http/web.ts";
import { Interactive } from "./interactive/interactive.ts";
import { filesVersion } from "./interactive/model-version.ts";
import { Prompts } from "./interactive/prompts.ts";
import { JobRunner } from "./jobs/runner.ts";
import { Library } from "./library/library.ts";
import { Models } from "./library/models.ts";
import { Roots } from "./library/roots.ts";
import { routes } from "./routes/index.ts";

const DEFAULT_HOST = "127.0.0.1";
const DEFAULT_PORT = 4747;

/** Options of a server. */
export interface ServerOptions {
  /** Default 127.0.0.1; any that is not this machine's own needs `token` or HEADSCOPE_TOKEN. */
  readonly host?: string;
  /** Default 4747; 0 takes a free one. */
  readonly port?: number;
  /** Data folder, default `dataDir()`. */
  readonly folder?: string;
  /** Folders that may be named besides the data folder. */
  readonly roots?: readonly string[] | undefined;
  /**
   * Secret that everybody must show, default that of the data folder (`serverToken`). False asks for none: then every user and
   * process of this machine is let in, and the host can only be this machine's own.
   */
  readonly token?: string | false | undefined;
  /** Folder of the pages, default the built ones. */
  readonly web?: string;
  readonly limits?: Partial<Limits>;
  /** Start of worker processes. */
  readonly worker?: WorkerOptions;
}

/** A server that listens. */
export interface RunningServer {
  /** With a slash at the end. */
  readonly url: string;
  /** The address that lets a browser in: `url` with the token. */
  readonly entry: string;
  /** Secret that programs send as Authorization: Bearer; undefined where none is asked for. */
  readonly token: string | undefined;
  readonly host: string;
  readonly port: number;
  readonly context: ServerContext;
  /** Has the worker open the model of the main job, where there was one, before somebody asks for it. */
  warm(): Promise<void>;
  /** Ends connections, workers and jobs; those at work stay in the queue. */
  close(): Promise<void>;
}

/** Nice value of the processes that do jobs: what a person waits for comes first. */
const JOB_PRIORITY = 10;
/** Milliseconds between two looks at connections for requests that do not come: Node's own half a minute is as long as their limits. */
const LOOK = 1_000;

/**
 * Opens the workbench: the API and the pages. It computes nothing itself; that is done by worker processes.
 * @throws HeadscopeError `usage` for a host that needs a token, `input` for a port in use or a token that others could know
 */
export async function startServer(options: ServerOptions = {}): Promise<RunningServer> {
  const { host = DEFAULT_HOST, port = DEFAULT_PORT, folder = dataDir(), web = webFolder() } = options;
  const token = await tokenFor(host, resolve(folder), options.token);
  const limits = { ...LIMITS, ...options.limits };
  let handle: RequestListener = () => {};
  const timing = { maxHeaderSize: limits.headerBytes, connectionsCheckingInterval: LOOK };
  const server = createServer(timing, (request, response) => handle(request, response));
  Object.assign(server, {
    headersTimeout: limits.headersMs,
    requestTimeout: limits.receiveMs,
    maxConnections: limits.connections,
  });
  keepRoom(server, limits.connections);
  answerBroken(server);
  await listen(server, host, port);
  let opened: ReturnType<typeof openContext>;
  try {
    opened = openContext(resolve(folder), limits, options);
  } catch (error) {
    server.close();
    throw error;
  }
  const { context, close } = opened;
  const bound = (server.address() as AddressInfo).port;
  handle = application(context, guard({ host, port: bound, token, limits }), web);
  const name = host === "0.0.0.0" || host === "::" ? DEFAULT_HOST : host;
  const url = `http://${name.includes(":") ? `[${name}]` : name}:${bound}/`;
  return {
    url,
    entry: token === undefined ? url : `${url}?token=${encodeURIComponent(token)}`,
    token,
    host,
    port: bound,
    context,
    warm: () => warm(context),
    async close() {
      const ended = new Promise((done) => server.close(done));
      server.closeAllConnections();
      await Promise.all([ended, close()]);
    },
  };
}

/** @returns undefined for none */
async function tokenFor(host: string, folder: string, option: string | false | undefined): Promise<string | undefined> {
  const token = option ?? environmentToken();
  checkToken(host, token);
  return token === false ? undefined : (token ?? serverToken(folder));
}

/** The API and the pages, behind what guards them. What is API is decided once: by what the application routes to its router. */
function application(context: ServerContext, guarded: Guard, web: string): Express {
  const app = express();
  app.disable("x-powered-by");
  app.enable("case sensitive routing");
  app.enable("strict routing");
  app.use(securityHeaders(), guarded.everywhere, compress());
  const api = express.Router({ caseSensitive: true, strict: true });
  api.use(guarded.api);
  api.use((_, response, next) => {
    response.setHeader("cache-control", "private, no-cache");
    next();
  });
  mount(api, routes, context);
  let document: object | undefined;
  api.get("/openapi.json", (_, response) => {
    document ??= openApi(routes, context.limits);
    response.json(document);
  });
  api.use(({ originalUrl }) => {
    throw notFound(`there is no ${originalUrl.split("?")[0]}`, "see /api/openapi.json for what there is");
  });
  app.use("/api", api);
  app.use(guarded.lookalikes, guarded.entry, pages(web));
  app.use(answerErrors);
  return app;
}

async function warm({ library, models }: ServerContext): Promise<void> {
  const start = await library.start();
  // Where it cannot be opened, whoever asks for it is told why.
  if (start?.model !== undefined) await models.describe(start.model, new AbortController().signal).catch(() => {});
}

async function listen(server: Server, host: string, port: number): Promise<void> {
  await new Promise<void>((done, fail) => {
    server.once("error", (error) => fail(listenError(error, host, port)));
    server.listen({ host, port }, () => {
      server.removeAllListeners("error");
      done();
    });
  });
}

function listenError(error: NodeJS.ErrnoException, host: string, port: number): HeadscopeError {
  const [what, remedy] =
    error.code === "EADDRINUSE"
      ? [
          `port ${port} of ${host} is in use`,
          `end what uses it, or choose another: --port ${port < 65_535 ? port + 1 : port - 1}`,
        ]
      : error.code === "EACCES"
        ? [`port ${port} needs more rights than this user has`, "choose one from 1024: --port 4747"]
        : [`${host} is no address of this machine (${error.code})`, "leave --host out, or give one of its addresses"];
  return new HeadscopeError("input", what, { remedy, cause: error });
}

function openContext(folder: string, limits: Limits, { roots = [], worker = {}, host = DEFAULT_HOST }: ServerOptions) {
  const store = openStore({ folder, waiting: limits.queuedJobs });
  const environment = { ...worker.environment, HEADSCOPE_HOME: folder };
  const interactive = new Interactive(limits, { ...worker, environment }, (ref) => filesVersion(ref, folder));
  const queue = new Queue(store, {
    kinds,
    worker: { grace: limits.graceMs, ...worker, environment, priority: JOB_PRIORITY },
  });
  const events = new EventHub(limits.keptEvents);
  const library = new Library(folder);
  const watcher: Watcher = new Watcher(store, library, events, () => jobs);
  const jobs = new JobRunner(store, queue, watcher.changed);
  const allowed = new Roots([folder, ...roots.map((root) => resolve(root))], isLoopback(host));
  const context: ServerContext = {
    folder,
    roots: allowed,
    limits,
    store,
    queue,
    jobs,
    interactive,
    models: new Models(store, interactive, allowed),
    prompts: new Prompts(limits.prompts),
    library,
    events,
    watcher,
  };
  async function close(): Promise<void> {
    watcher.close();
    await Promise.all([interactive.close(), jobs.close()]);
    store.close();
  }
  return { context, close };
}

const answerErrors: ErrorRequestHandler = (error, request, response, _next) => {
  if (response.headersSent || response.destroyed) return void response.destroy();
  const { problem, headers, defect } = answerOf(error);
  if (problem.status === 499) return void response.destroy(); // nobody is there to be told
  if (defect) report(`headscope: ${request.method} ${request.path}:`, error);
  response.status(problem.status).set(headers).type("application/problem+json").send(JSON.stringify(problem));
};

/** Answers what is no HTTP, is too slow or has too many headers: it never gets to Express. */
function answerBroken(server: Server): void {
  server.on("clientError", (error: NodeJS.ErrnoException, socket) => {
    if (!socket.writable || error.code === "ECONNRESET") return void socket.destroy();
    const status = { HPE_HEADER_OVERFLOW: 431, ERR_HTTP_REQUEST_TIMEOUT: 408 }[error.code ?? ""] ?? 400;
    const title = { 431: "Headers too large", 408: "Too slow", 400: "Malformed" }[status];
    const detail = {
      431: "the headers are too large",
      408: "the request came too slowly",
      400: "this is no HTTP request",
    }[status];
    const body = JSON.stringify({ type: "/problems/limit", title, status, detail, kind: "limit" });
    const head = `HTTP/1.1 ${status} ${title}\r\ncontent-type: application/problem+json\r\nconnection: close\r\n`;
    socket.end(`${head}content-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`);
  });
}
