// A worker: a process that does what its parent asks for over the pipes 3 (in) and 4 (out), and ends with its parent.

import { Socket } from "node:net";
import { pathToFileURL } from "node:url";
import { HeadscopeError } from "../common/errors.ts";
import { endWithParent } from "../jobs/parent.ts";
import { encodeFrame, type Frame, type FromWorker, type ToWorker, toWire } from "../jobs/protocol.ts";
import { pause } from "../runtime/turn.ts";
import { fileError } from "../store/file-error.ts";
import { answer, type Handler, type Handlers, handlerIn, type Idle, Reply } from "./handler.ts";
import { attentiveController, Inbox } from "./inbox.ts";

/** Milliseconds between signs of life. */
const HEARTBEAT = 1_000;
/** Milliseconds without a request after which work for idle times begins. */
const QUIET = 250;

// Ctrl-C reaches every process of the terminal; the parent decides what becomes of the work.
process.on("SIGINT", () => {});

const input = new Socket({ fd: 3, readable: true, writable: false });
const output = new Socket({ fd: 4, readable: false, writable: true });
const inbox = new Inbox(input, 3, receive);
const running = new Map<number, AbortController>();
let last: Promise<void> = Promise.resolve();
/** Requests that may be done between two steps of another, in the order of their coming. */
const aside: Request[] = [];
/** Whether one of them is being done so. */
let between = false;
/** What the last request left for when nobody waits, and what ends it once it has begun. */
let idle: Idle | undefined;
let resting: AbortController | undefined;

/** Finds a handler, of another module when its path is given: for tests, and for programs with kinds of their own. */
async function handlerOf(kind: string): Promise<Handler> {
  const [, , path] = process.argv;
  if (path === undefined) return (await import("./requests/index.ts")).ownHandler(kind);
  return handlerIn(((await import(pathToFileURL(path).href)) as { handlers: Handlers }).handlers, kind);
}

function send(header: FromWorker, body?: Uint8Array): Promise<void> {
  return new Promise((resolve) => {
    const parts = encodeFrame(header, body);
    output.cork();
    parts.forEach((part, i) => {
      output.write(part, i === parts.length - 1 ? () => resolve() : undefined);
    });
    output.uncork();
  });
}

type Request = Frame<ToWorker & { type: "request" }>;

async function perform({ header, body }: Request): Promise<void> {
  const { id, kind, payload } = header;
  const { signal } = running.get(id)!;
  try {
    void send({ id, type: "begun" });
    signal.throwIfAborted();
    const result = await answer(kind, await handlerOf(kind), payload, {
      emit: (event, eventBody) => send({ id, type: "event", event }, eventBody),
      later: (work) => {
        idle = work;
      },
      turn: (hold) => turn(signal, hold),
      signal,
      body,
    });
    if (result instanceof Reply) await send({ id, type: "result", value: result.value }, result.body);
    else await send({ id, type: "result", value: result });
  } catch (error) {
    const { path } = error as NodeJS.ErrnoException;
    const told = path === undefined ? error : fileError(error, `${path} cannot be written`);
    await send({ id, type: "error", error: toWire(told) });
  } finally {
    running.delete(id);
  }
}

/** Does the requests that may be done aside, so that none of them waits for the end of a long one. */
async function doAside(): Promise<void> {
  for (let next = aside.shift(); next !== undefined; next = aside.shift()) await perform(next);
}

/** Lets the event loop run, and requests aside be done, between two steps of one. */
async function turn(signal: AbortSignal, hold?: () => () => void): Promise<void> {
  await pause();
  signal.throwIfAborted();
  if (aside.length === 0 || between) return;
  between = true;
  const release = hold?.();
  try {
    await doAside();
  } finally {
    release?.();
    between = false;
  }
  signal.throwIfAborted();
}

/** Does what the last request left for later, after a while without another. */
function rest(): void {
  if (idle === undefined || running.size > 0) return;
  setTimeout(() => {
    if (running.size > 0) return;
    last = last.then(async () => {
      const work = idle;
      idle = undefined;
      resting = attentiveController(inbox);
      // It is no part of any answer: what fails here fails again, and is told, where it is asked for.
      await work?.(resting.signal).catch(() => {});
      resting = undefined;
    });
  }, QUIET);
}

function receive(frame: Frame): void {
  const header = frame.header as ToWorker;
  if (header.type === "cancel") {
    running.get(header.id)?.abort(new HeadscopeError("cancelled", "interrupted"));
  } else if (header.type === "request") {
    resting?.abort();
    idle = undefined;
    running.set(header.id, attentiveController(inbox));
    // One at a time, but for those aside: handlers share the accelerator's memory and interleave only where one lets others in.
    const request = frame as Request;
    if (header.aside) aside.push(request);
    last = last.then(() => (header.aside ? doAside() : perform(request))).then(rest);
  }
}

endWithParent();

// The parent has gone: nobody waits for a result any more.
const leave = (): never => process.exit(0);
input.on("end", leave).on("close", leave).on("error", leave);
output.on("error", leave);
setInterval(() => void send({ id: 0, type: "heartbeat" }), HEARTBEAT);
void send({ id: 0, type: "heartbeat" });
