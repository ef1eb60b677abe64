import type { z } from "zod";
import { HeadscopeError, unknownName } from "../common/errors.ts";

/** The means of a handler in its worker. */
export interface HandlerContext {
  /**
   * Tells the parent of something on the way.
   * @param body binary part, such as a safetensors file
   * @returns when the bytes are on their way: await it after big bodies, so that they do not pile up
   */
  emit(event: unknown, body?: Uint8Array): Promise<void>;
  /**
   * Leaves work for when nobody waits, such as compiling what the next request is likely to need. It begins a moment after the
   * answer and is aborted when a request arrives; the latest of a worker counts.
   */
  later(work: Idle): void;
  /**
   * Lets short requests be answered between two steps of this one; nothing may be left to a tidy meanwhile.
   * @param hold called where there are some; keeps what this handler works with until the function that it returns is called
   * @throws what the request was given up with
   */
  turn(hold?: () => () => void): Promise<void>;
  /**
   * Aborted when the parent asks for the end: stop at the next good point and return, or throw. `throwIfAborted` also hears of
   * it while native work holds the event loop.
   */
  readonly signal: AbortSignal;
  /** Binary part of the request; empty for most. */
  readonly body: Uint8Array;
}

/** Work for when nobody waits; it must leave everything as it was when it is aborted between two steps. */
export type Idle = (signal: AbortSignal) => Promise<void>;

/** A result with a binary part. */
export class Reply<V = unknown> {
  readonly value: V;
  readonly body: Uint8Array;

  constructor(value: V, body: Uint8Array) {
    this.value = value;
    this.body = body;
  }
}

/** One kind of work of a worker: what it takes, and what does it. */
export interface Handler<S extends z.ZodType = z.ZodType, R = unknown> {
  /** Form of what comes through the pipe. Limits are the sender's; what depends on the model is checked by `run`. */
  readonly payload: S;
  /** @returns the result; a `Reply` adds a binary part */
  run(payload: z.output<S>, context: HandlerContext): Promise<R>;
}

/** Handlers by the kind of work, loaded when first asked for. */
export type Handlers = Readonly<Record<string, () => Promise<{ readonly request: Handler }>>>;

/** Keeps the types of a handler's parts together. */
export function handler<S extends z.ZodType, R>(definition: Handler<S, R>): Handler<S, R> {
  return definition;
}

/** Loads the handler of a name. @throws HeadscopeError `usage` that lists the nearest names */
export async function handlerIn(handlers: Handlers, name: string): Promise<Handler> {
  if (!Object.hasOwn(handlers, name)) throw unknownName("kind of job", name, Object.keys(handlers));
  return (await handlers[name]!()).request;
}

/**
 * Has a handler do its work.
 * @param kind name of the handler, for errors
 * @param payload as it came
 * @throws HeadscopeError `usage` for a payload of another form; what the handler throws
 */
export async function answer(kind: string, { payload: form, run }: Handler, payload: unknown, context: HandlerContext) {
  const parsed = form.safeParse(payload);
  if (parsed.success) return run(parsed.data, context);
  const { path, message } = parsed.error.issues[0]!;
  throw new HeadscopeError("usage", `a request "${kind}" cannot be used: ${[...path, message].join(" ")}`, {
    remedy: "it comes from another version of headscope: end that, then run again",
  });
}

/** Tells the parent how far a handler is: what jobs keep and requests stream. */
export function progressTo(emit: HandlerContext["emit"]): (done: number, total: number, label: string) => void {
  return (done, total, label) => void emit({ event: "progress", done, total, label });
}
