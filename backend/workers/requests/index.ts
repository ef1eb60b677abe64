/** What a handler may use of its worker. */
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

/** Does one kind of request. What it returns is the result; a `Reply` adds a binary part. */
export type Handler = (payload: unknown, context: HandlerContext) => Promise<unknown>;

/** A result with a binary part. */
export class Reply {
  readonly value: unknown;
  readonly body: Uint8Array;

  constructor(value: unknown, body: Uint8Array) {
    this.value = value;
    this.body = body;
  }
}

/** Handlers by the kind of request that they do, loaded when first asked for. */
export type Handlers = Readonly<Record<string, () => Promise<{ readonly handle: Handler }>>>;

/** What a worker of headscope can do: what a person waits for, then jobs. */
export const handlers: Handlers = {
  describe: () => import("./describe.ts"),
  count: () => import("./count.ts"),
  prompt: () => import("./prompt.ts"),
  activations: () => import("./activations.ts"),
  patterns: () => import("./patterns.ts"),
  ablate: () => import("./ablate.ts"),
  intervene: () => import("./intervene.ts"),
  pairs: () => import("./pairs.ts"),
  patch: () => import("./patch.ts"),
  generate: () => import("./generate.ts"),
  export: () => import("./export.ts"),
  import: () => import("./import.ts"),
  train: () => import("./train.ts"),
  probe: () => import("./probe.ts"),
  history: () => import("./history.ts"),
  needle: () => import("./needle.ts"),
  "mask-search": () => import("./mask-search.ts"),
  experiment: () => import("./experiment.ts"),
  pull: () => import("./pull.ts"),
};
