import { brief, HeadscopeError } from "../common/errors.ts";

/**
 * Messages between a process and its worker, over pipes of their own: per frame the length of the header and the
 * length of the body (two unsigned 32-bit integers, little-endian), the header as JSON in UTF-8, then the body.
 */
export interface Frame<H extends Header = Header> {
  readonly header: H;
  /** Binary part, such as a safetensors file; empty for most. */
  readonly body: Uint8Array;
}

/** Fields of every frame's header: the request that it belongs to (0: none), and its type. */
export interface Header {
  readonly id: number;
  readonly type: string;
}

/** Header of one type with fields of its own. */
type Message<T extends string, F extends object = object> = Header & { readonly type: T } & Readonly<F>;

/** Orders to a worker: do this, where `aside` between two steps of another request; stop doing it. */
export type ToWorker = Message<"request", { kind: string; payload: unknown; aside?: true }> | Message<"cancel">;

/**
 * Words of a worker: it lives; it has begun with a request, and nothing of an earlier one is still at work; something happened
 * on the way; it is done; it failed.
 */
export type FromWorker =
  | Message<"heartbeat">
  | Message<"begun">
  | Message<"event", { event: unknown }>
  | Message<"result", { value: unknown }>
  | Message<"error", { error: WireError }>;

const LENGTHS = 8;

/** Longest header and body that a decoder takes, in bytes. */
export interface FrameLimits {
  /** Default 16 MiB. */
  readonly header?: number;
  /** Default 2 GiB. */
  readonly body?: number;
}

const DEFAULT_LIMITS = { header: 2 ** 24, body: 2 ** 31 };
const NOTHING = new Uint8Array(0);

/**
 * A frame as parts to be written one after the other; the body is not copied.
 * @throws HeadscopeError `input` for a header or body that a decoder would refuse
 */
export function encodeFrame(header: Header, body: Uint8Array = NOTHING): Uint8Array[] {
  const text = Buffer.from(JSON.stringify(header), "utf8");
  if (text.length > DEFAULT_LIMITS.header || body.length > DEFAULT_LIMITS.body)
    throw new HeadscopeError("input", `a message of ${text.length} + ${body.length} bytes is too long for a worker`, {
      remedy: `send at most ${DEFAULT_LIMITS.header} bytes of JSON and ${DEFAULT_LIMITS.body} of tensors`,
    });
  const start = Buffer.alloc(LENGTHS);
  start.writeUInt32LE(text.length, 0);
  start.writeUInt32LE(body.length, 4);
  // One part for the small pieces: one system call for most frames.
  const head = Buffer.concat([start, text]);
  return body.length === 0 ? [head] : [head, body];
}

/** Cuts a stream of bytes, however it arrives, into frames. */
export class FrameDecoder {
  readonly #limits: Required<FrameLimits>;
  #chunks: Uint8Array[] = [];
  #length = 0;
  #lengths: { header: number; body: number } | undefined;

  constructor(limits: FrameLimits = {}) {
    this.#limits = { ...DEFAULT_LIMITS, ...limits };
  }

  /** Bytes that wait for the rest of their frame. */
  get pending(): number {
    return this.#length;
  }

  /**
   * Takes the next bytes.
   * @returns the frames that they complete; each has a body of its own
   * @throws HeadscopeError `corrupt` for a frame that is too long, or whose header is not JSON of the expected form;
   *   the stream cannot be read on after that
   */
  push(chunk: Uint8Array): Frame[] {
    this.#chunks.push(chunk);
    this.#length += chunk.length;
    const frames: Frame[] = [];
    for (;;) {
      if (this.#lengths === undefined) {
        if (this.#length < LENGTHS) return frames;
        this.#lengths = this.#readLengths();
      }
      const { header, body } = this.#lengths;
      if (this.#length < header + body) return frames;
      const parsed = parseHeader(this.#take(header));
      frames.push({ header: parsed, body: this.#take(body) });
      this.#lengths = undefined;
    }
  }

  #readLengths(): { header: number; body: number } {
    const view = Buffer.from(this.#take(LENGTHS));
    const lengths = { header: view.readUInt32LE(0), body: view.readUInt32LE(4) };
    for (const part of ["header", "body"] as const) {
      if (lengths[part] > this.#limits[part])
        throw corrupt(`a ${part} of ${lengths[part]} bytes is announced; the limit is ${this.#limits[part]}`);
    }
    return lengths;
  }

  /** The first bytes that wait, in memory of their own, so that typed arrays over them are aligned. */
  #take(count: number): Uint8Array {
    const taken = new Uint8Array(count);
    let filled = 0;
    let used = 0;
    while (filled < count) {
      const chunk = this.#chunks[used]!;
      const part = chunk.subarray(0, count - filled);
      taken.set(part, filled);
      filled += part.length;
      if (part.length === chunk.length) used++;
      else this.#chunks[used] = chunk.subarray(part.length);
    }
    this.#chunks.splice(0, used);
    this.#length -= count;
    return taken;
  }
}

function parseHeader(bytes: Uint8Array): Header {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw corrupt("a header is not JSON");
  }
  if (typeof value !== "object" || value === null) throw corrupt("a header is no object");
  const { id, type } = value as Partial<Header>;
  if (!Number.isSafeInteger(id) || id! < 0 || typeof type !== "string")
    throw corrupt("a header lacks the id or the type of its message");
  return value as Header;
}

function corrupt(why: string): HeadscopeError {
  return new HeadscopeError("corrupt", `the messages of a worker cannot be read: ${why}`, {
    remedy: "the worker is started anew: run again",
  });
}

/** An error on its way through a pipe. */
export interface WireError {
  readonly message: string;
  readonly name?: string;
  readonly stack?: string;
  /** Of a HeadscopeError. */
  readonly kind?: HeadscopeError["kind"];
  readonly remedy?: string | undefined;
  readonly field?: string | readonly string[] | undefined;
  readonly subject?: string | undefined;
  /** Of a system error. */
  readonly code?: string;
  readonly path?: string;
}

/** Most characters of each text of an error on its way: an error that were too long for a frame could not be told. */
const WIRE_TEXT = 8_192;

/** An error as data, long texts cut. */
export function toWire(error: unknown): WireError {
  const text = (value: unknown): string => brief(String(value), WIRE_TEXT);
  if (!(error instanceof Error)) return { message: text(error) };
  const { message, name, stack } = error;
  const { code, path } = error as NodeJS.ErrnoException;
  return {
    message: text(message),
    name: text(name),
    ...(stack === undefined ? {} : { stack: text(stack) }),
    ...(error instanceof HeadscopeError ? headscopeParts(error) : {}),
    ...(typeof code === "string" ? { code: text(code) } : {}),
    ...(typeof path === "string" ? { path: text(path) } : {}),
  };
}

function headscopeParts({ kind, remedy, field, subject }: HeadscopeError): Partial<WireError> {
  return { kind, remedy, field, subject };
}

/** The error that `toWire` took apart, with the worker's stack. */
export function fromWire(wire: WireError): Error {
  const { message, kind, stack, code, path } = wire;
  const error = kind === undefined ? new Error(message) : new HeadscopeError(kind, message, wire);
  if (stack !== undefined) error.stack = stack;
  return Object.assign(error, code === undefined ? {} : { code }, path === undefined ? {} : { path });
}

/** The model that a request or a job is about, by the name that all kinds give it. */
export function modelIn(payload: unknown): string | undefined {
  const model = (payload as { model?: unknown } | null)?.model;
  return typeof model === "string" ? model : undefined;
}
