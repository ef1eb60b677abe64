import { type ChildProcess, spawn } from "node:child_process";
import { setPriority } from "node:os";
import type { Readable, Writable } from "node:stream";
import { HeadscopeError } from "../common/errors.ts";
import { builtFile } from "../paths.ts";
import { encodeFrame, FrameDecoder, type FromWorker, fromWire, modelIn, type ToWorker } from "./protocol.ts";

/** Options of a worker process: its start, and what it is watched for. */
export interface WorkerOptions {
  /** Module that exports `handlers`, in place of headscope's own. */
  readonly handlers?: string;
  /** Threads that TensorFlow and the kernels may use; default: all cores. */
  readonly threads?: number;
  /** Environment variables beside this process's own. */
  readonly environment?: Readonly<Record<string, string>>;
  /** Nice value of the process, -20 (first) to 19 (last), default this process's own. */
  readonly priority?: number;
  /** Milliseconds without a sign of life after which a busy worker counts as hung, default 120,000. */
  readonly silence?: number;
  /** Milliseconds that a cancelled request may take to end, default 60,000; then the worker is killed. */
  readonly grace?: number;
  /** Called when a process has died by itself or was killed for its silence or stubbornness, before its request fails. */
  readonly onDeath?: (crash: WorkerCrash) => void;
  /** Receives what libraries print in the worker. */
  readonly onOutput?: (text: string) => void;
}

/** Options of a request. */
export interface RequestOptions {
  /**
   * Called for every event, in order; the request ends after the last call has. When it throws, the request is
   * cancelled and fails with that error.
   */
  readonly onEvent?: (event: unknown, body: Uint8Array) => void | Promise<void>;
  /** Cancels the request: the handler may still end it well, with what it has. */
  readonly signal?: AbortSignal | undefined;
  /** Binary part of the request. */
  readonly body?: Uint8Array;
  /** Does not wait for what was asked before, but for what was asked aside: the worker does it between two steps of another. */
  readonly aside?: boolean;
}

/** A request's result. */
export interface WorkerAnswer<T> {
  readonly value: T;
  /** Binary part; empty for most. */
  readonly body: Uint8Array;
}

/** The worker process died, hung, or sent what cannot be read, while it did a request. */
export class WorkerCrash extends HeadscopeError {
  readonly signal: NodeJS.Signals | undefined;
  readonly code: number | undefined;
  /** The request that the process was doing; undefined where it had none or had not begun with it. */
  readonly request: Doing | undefined;

  constructor(
    message: string,
    {
      remedy,
      signal,
      code,
      request,
    }: { remedy: string; signal?: NodeJS.Signals | null; code?: number | null; request?: Doing | undefined },
  ) {
    super("crashed", message, { remedy });
    this.name = "WorkerCrash";
    this.signal = signal ?? undefined;
    this.code = code ?? undefined;
    this.request = request;
  }
}

/** The work of a worker. */
export interface Doing {
  /** Name of the handler. */
  readonly kind: string;
  /** The model that the request names, if it names one. */
  readonly model: string | undefined;
}

/** A request that the process is doing. */
interface Current {
  readonly id: number;
  readonly doing: Doing;
  /** Its number among those that the process has said to be at work on; 0 until it has. */
  begun: number;
  readonly onEvent: RequestOptions["onEvent"];
  readonly settle: (outcome: { value: unknown; body: Uint8Array } | { error: unknown }) => void;
  /** The calls of `onEvent` so far. */
  events: Promise<void>;
  /** The first error of `onEvent`. */
  failure: { error: unknown } | undefined;
  cancelled: boolean;
}

/** Bytes of a worker's output that are kept to explain its death. */
const KEPT_OUTPUT = 4_096;
/** Characters of a model's name in an error, the last ones: the folders of a path matter least. */
const LONGEST_NAME = 200;
/** The verdict on a process that its owner ended. */
const CLOSED = "the worker was closed";
/** Milliseconds after its end for which what a process wrote is waited for. */
const LAST_WORDS = 1_000;
/** A hung worker has missed this many looks in a row: a suspended machine misses one. */
const LOOKS = 10;

/** One life of a worker: a process, from its start to its end. */
export class WorkerProcess {
  readonly child: ChildProcess;
  /** True where it can take no more requests. */
  ended = false;
  readonly #input: Writable;
  readonly #decoder = new FrameDecoder();
  readonly #grace: number;
  readonly #silence: number;
  readonly #onDeath: WorkerOptions["onDeath"];
  readonly #gone: Promise<void>;
  /** Its requests, by id. */
  readonly #current = new Map<number, Current>();
  #begun = 0;
  #watch: NodeJS.Timeout | undefined;
  #missed = 0;
  /** Why we killed it. */
  #verdict: string | undefined;
  #output = "";

  constructor({
    handlers,
    threads,
    environment,
    grace = 60_000,
    silence = 120_000,
    priority,
    onDeath,
    onOutput,
  }: WorkerOptions) {
    this.#onDeath = onDeath;
    this.#grace = grace;
    this.#silence = silence;
    const pool = threads === undefined ? {} : threadsEnvironment(threads);
    this.child = spawn(process.execPath, [workerFile(), ...(handlers === undefined ? [] : [handlers])], {
      // Standard input and output are left to libraries: what they print must not break the messages.
      stdio: ["ignore", "pipe", "pipe", "pipe", "pipe"],
      env: { ...process.env, ...pool, ...environment },
    });
    // Where no file descriptor is to spare there are no pipes; an "error" says the same once more.
    if ((this.child.stdio as unknown) === undefined) {
      this.child.on("error", () => {});
      throw new WorkerCrash("the worker cannot be started: too many files are open", {
        remedy: "close connections or other programs, or raise the limit (ulimit -n), then run again",
      });
    }
    if (priority !== undefined) lower(this.child, priority);
    this.#input = this.child.stdio[3] as Writable;
    this.#input.on("error", () => {}); // the pipe breaks when the process dies, which `close` tells
    for (const stream of [this.child.stdout!, this.child.stderr!])
      stream.setEncoding("utf8").on("data", (text: string) => {
        this.#output = (this.#output + text).slice(-KEPT_OUTPUT);
        onOutput?.(text);
      });
    const output = this.child.stdio[4] as Readable;
    output.on("error", () => {});
    output.on("data", (chunk: Uint8Array) => this.#receive(chunk));
    this.#gone = new Promise((resolve) => {
      this.child.on("error", (error) => {
        this.#die(`the worker cannot be started: ${error.message}`, null, null);
        resolve();
      });
      // "close" comes after all that it wrote has been read, which never ends where a process that it left behind holds its pipes.
      let lastWords: NodeJS.Timeout | undefined;
      this.child.on("exit", () => {
        lastWords = setTimeout(() => {
          for (const stream of this.child.stdio) stream?.destroy();
        }, LAST_WORDS);
      });
      this.child.on("close", (code, signal) => {
        clearTimeout(lastWords);
        this.#die(this.#verdict ?? this.#obituary(code, signal), code, signal);
        resolve();
      });
    });
  }

  async perform(
    header: ToWorker & { type: "request" },
    body: Uint8Array | undefined,
    onEvent: RequestOptions["onEvent"],
    signal: AbortSignal | undefined,
  ): Promise<WorkerAnswer<unknown>> {
    const { promise, resolve } = withResolvers<{ value: unknown; body: Uint8Array } | { error: unknown }>();
    const current: Current = {
      id: header.id,
      doing: { kind: header.kind, model: modelIn(header.payload) },
      begun: 0,
      onEvent,
      settle: resolve,
      events: Promise.resolve(),
      failure: undefined,
      cancelled: false,
    };
    const stop = () => this.#cancel(current);
    try {
      this.#missed = 0;
      this.#current.set(current.id, current);
      // The child keeps this process alive, not the look at it.
      this.#watch ??= setInterval(() => this.#look(), this.#silence / LOOKS).unref();
      this.#send(header, body);
      signal?.addEventListener("abort", stop, { once: true });
      const outcome = await promise;
      await current.events;
      if (current.failure !== undefined) throw current.failure.error;
      if (!("error" in outcome)) return outcome;
      throw signal?.aborted === true && outcome.error instanceof WorkerCrash ? cancelled(signal) : outcome.error;
    } finally {
      signal?.removeEventListener("abort", stop);
      this.#current.delete(current.id);
      if (this.#current.size === 0) {
        clearInterval(this.#watch);
        this.#watch = undefined;
      }
    }
  }

  /** Ends the process, by force when it takes longer than `patience` milliseconds. */
  async close(patience = 5_000): Promise<void> {
    const force = setTimeout(() => this.child.kill("SIGKILL"), patience);
    this.#verdict ??= CLOSED;
    this.ended = true;
    this.#input.destroy();
    await this.#gone;
    clearTimeout(force);
  }

  #send(header: ToWorker, body?: Uint8Array): void {
    for (const part of encodeFrame(header, body)) this.#input.write(part);
  }

  #receive(chunk: Uint8Array): void {
    this.#missed = 0;
    if (this.#verdict !== undefined) return;
    try {
      for (const { header, body } of this.#decoder.push(chunk)) this.#handle(header as FromWorker, body);
    } catch (error) {
      this.#kill((error as Error).message);
    }
  }

  #handle(header: FromWorker, body: Uint8Array): void {
    const current = this.#current.get(header.id);
    if (current === undefined) return;
    if (current.begun === 0) current.begun = ++this.#begun;
    if (header.type === "result") current.settle({ value: header.value, body });
    else if (header.type === "error") current.settle({ error: fromWire(header.error) });
    else if (header.type === "event" && current.onEvent !== undefined) {
      const { onEvent } = current;
      current.events = current.events
        .then(() => (current.failure === undefined ? onEvent(header.event, body) : undefined))
        .catch((error: unknown) => {
          current.failure = { error };
          this.#cancel(current);
        });
    }
  }

  #cancel(current: Current): void {
    if (current.cancelled || !this.#current.has(current.id)) return;
    current.cancelled = true;
    this.#send({ id: current.id, type: "cancel" });
    const force = setTimeout(() => {
      if (this.#current.has(current.id)) this.#kill(`the worker did not stop within ${this.#grace / 1000} s`);
    }, this.#grace);
    force.unref();
  }

  #look(): void {
    this.#missed++;
    if (this.#missed > LOOKS) this.#kill(`the worker gave no sign of life for ${this.#silence / 1000} s`);
  }

  #kill(verdict: string): void {
    this.#verdict ??= verdict;
    this.ended = true;
    this.child.kill("SIGKILL");
  }

  #die(what: string, code: number | null, signal: NodeJS.Signals | null): void {
    this.ended = true;
    // Of two it is the one that it began with last: that one is done between two steps of the other.
    const [culprit] = [...this.#current.values()].filter(({ begun }) => begun > 0).sort((a, b) => b.begun - a.begun);
    const remedy =
      signal === "SIGKILL" && this.#verdict === undefined
        ? "the system may be out of memory: close other programs or ask for less, then run again"
        : "run again";
    const crashOf = (request: Doing | undefined): WorkerCrash => {
      const doing = request === undefined ? "" : ` while doing ${nameOf(request)}`;
      return new WorkerCrash(what + doing, { remedy, signal, code, request });
    };
    const closed = this.#verdict === CLOSED;
    if (!closed) this.#onDeath?.(crashOf(culprit?.doing));
    for (const { begun, doing, settle } of this.#current.values()) {
      // One that it had not begun with can be asked again.
      const died = closed ? doing : begun > 0 ? culprit?.doing : undefined;
      settle({ error: crashOf(died) });
    }
  }

  #obituary(code: number | null, signal: NodeJS.Signals | null): string {
    const how = signal === null ? `with exit code ${code}` : `by ${signal}`;
    const said = /^\s*(?:\w*Error|terminate called|.*(?:Check failed|panicked)).*$/m.exec(this.#output)?.[0]?.trim();
    return `the worker ended ${how}${said === undefined ? "" : ` (${said})`}`;
  }
}

/** A request for people: "describe" of smollm2-135m. */
function nameOf({ kind, model }: Doing): string {
  return model === undefined ? `"${kind}"` : `"${kind}" of ${model.slice(-LONGEST_NAME)}`;
}

/** Sets a process's priority before it has started threads, which inherit it. */
function lower({ pid }: ChildProcess, priority: number): void {
  try {
    if (pid !== undefined) setPriority(pid, priority);
  } catch {
    // It has ended already, or may not be lowered further: the work is done all the same.
  }
}

/** Variables by which TensorFlow, its libraries and headscope's kernels size their pools; a count that the user gave the kernels stays. */
function threadsEnvironment(threads: number): Record<string, string> {
  const count = String(threads);
  const kernels = process.env["HEADSCOPE_THREADS"] || count;
  return {
    TF_NUM_INTRAOP_THREADS: count,
    TF_NUM_INTEROP_THREADS: count,
    OMP_NUM_THREADS: count,
    HEADSCOPE_THREADS: kernels,
  };
}

/** The bundled worker. */
function workerFile(): string {
  const file = builtFile("worker.js");
  if (file !== undefined) return file;
  throw new HeadscopeError("missing", "the worker of headscope is not built", {
    remedy: "run npm start (sets everything up) or npm run build",
  });
}

/** The error of what was aborted. */
export function cancelled(signal: AbortSignal): HeadscopeError {
  return signal.reason instanceof HeadscopeError && signal.reason.kind === "cancelled"
    ? signal.reason
    : new HeadscopeError("cancelled", "cancelled", { remedy: "run it again when you like" });
}

/** Promise.withResolvers, which Node 20 lacks. */
function withResolvers<T>(): { promise: Promise<T>; resolve: (value: T) => void } {
  let resolve!: (value: T) => void;
  const promise = new Promise<T>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}
