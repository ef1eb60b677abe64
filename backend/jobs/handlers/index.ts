/** What a handler may use of its worker. */
export interface HandlerContext {
  /**
   * Tells the parent of something on the way.
   * @param body binary part, such as a safetensors file
   * @returns when the bytes are on their way: await it after big bodies, so that they do not pile up
   */
  emit(event: unknown, body?: Uint8Array): Promise<void>;
  /** Aborted when the parent asks for the end: stop at the next good point and return, or throw. */
  readonly signal: AbortSignal;
  /** Binary part of the request; empty for most. */
  readonly body: Uint8Array;
}

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

/** What a worker of headscope can do. */
export const handlers: Handlers = { train: () => import("./train.ts") };
