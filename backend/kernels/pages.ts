import { HeadscopeError } from "../common/errors.ts";
import { checkOptions, oneOf, whole } from "../common/options.ts";
import { CACHE_KINDS, type CacheKind } from "../common/words.ts";
import { type Coding, codePage } from "./coding.ts";
import { kernelLibrary, loadKernels } from "./kernels.ts";

const padded = (d: number, step: number): number => Math.ceil(d / step) * step;

/**
 * Bytes of a row of keys or of values by the width of its head: float32, half precision, or codes with a scale for each 32 numbers,
 * filled up with zeros to 16 numbers or 32 codes.
 */
const ROW_BYTES: Readonly<Record<CacheKind, (d: number) => number>> = {
  f32: (d) => padded(d, 16) * 4,
  f16: (d) => padded(d, 16) * 2,
  q8: (d) => padded(d, 32) * (1 + 2 / 32),
  q4: (d) => padded(d, 32) * (1 / 2 + 4 / 32),
};

/** Bytes of a row of keys, or of values, of heads of this width. */
export function cacheRowBytes(kind: CacheKind, width: number): number {
  return ROW_BYTES[kind](width);
}

/** Bytes of a row of keys of so many of the channels of heads of this width: where these are not all, numbers are not filled up. */
export function keyRowBytes(kind: CacheKind, width: number, channels: number): number {
  if (channels === width || kind === "q8" || kind === "q4") return cacheRowBytes(kind, channels);
  return channels * (kind === "f32" ? 4 : 2);
}

/** Widest head that the kernels take. */
export const MOST_WIDTH = 1024;

const PLACE = whole(0, 2 ** 31 - 1);
const RULES = {
  kind: oneOf(CACHE_KINDS),
  width: whole(1, MOST_WIDTH),
  rows: whole(1, 2 ** 31 - 1),
};

/**
 * Memory of the kernels for rows of keys and as many of values of one KV head. It has holders, of whom the first is whoever made
 * it, and is freed when the last lets go.
 */
export class Page {
  /** Number by which places name it; a freed page's names none. */
  readonly id: number;
  /** "codes" of one that `coded` has made. */
  readonly kind: CacheKind | "codes";
  /** Width of a head. */
  readonly width: number;
  readonly rows: number;
  /** The channels of the keys that it holds, ascending, where these are not all: the others are read as 0. */
  readonly channels: readonly number[] | undefined;
  #holders = 1;
  readonly #codedBytes: number;

  private constructor(id: number, { kind, width, rows, channels }: Pick<Page, "kind" | "width" | "rows" | "channels">) {
    this.id = id;
    this.channels = channels;
    this.#codedBytes = kind === "codes" ? kernelLibrary().bytesOf(id) : 0;
    this.kind = kind;
    this.width = width;
    this.rows = rows;
  }

  /**
   * A page of zeros.
   * @param channels of the keys that it has room for, ascending; default all
   * @throws HeadscopeError (usage) for what cannot be, (unsupported) without kernels or memory
   */
  static make(kind: CacheKind, width: number, rows: number, channels?: readonly number[]): Page {
    checkOptions("Page.make", { kind, width, rows }, RULES);
    if (channels) checkChannels(channels, width);
    const some = channels && channels.length < width ? channels : undefined;
    const number = CACHE_KINDS.indexOf(kind); // as `CacheKind` of native/attention/cache.h counts them
    const id = withMemory(() => kernelLibrary().makePage(number, width, rows, Int32Array.from(some ?? [])));
    return new Page(id, { kind, width, rows, channels: some });
  }

  /** A page with the same rows in codes, which can be read and attended to, but not written. @throws HeadscopeError as `make` does */
  coded(coding: Coding, positions: Int32Array = new Int32Array(0)): Page {
    this.#insistHeld();
    const { width, rows } = this;
    return new Page(codePage(this.id, coding, positions), { kind: "codes", width, rows, channels: undefined });
  }

  /** True for one that `coded` has made. */
  get inCodes(): boolean {
    return this.kind === "codes";
  }

  /** Bytes that the page takes. */
  get bytes(): number {
    return this.kind === "codes" ? this.#codedBytes : this.rows * (this.keyBytes + this.rowBytes);
  }

  /** The number of holders: one may write, several must copy first. */
  get holders(): number {
    return this.#holders;
  }

  /** Adds a holder. @throws HeadscopeError (usage) for a freed page */
  retain(): this {
    this.#insistHeld();
    this.#holders++;
    return this;
  }

  /** Takes a holder away. @throws HeadscopeError (usage) for a freed page */
  release(): void {
    this.#insistHeld();
    if (--this.#holders === 0) kernelLibrary().freePage(this.id);
  }

  /** A page of its own with the same rows, or (not of codes) the first of them, or room behind them. @throws HeadscopeError as `make` does */
  copy(rows = this.rows): Page {
    this.#insistHeld();
    checkOptions("Page.copy", { rows }, { rows: this.kind === "codes" ? whole(this.rows, this.rows) : RULES.rows });
    const { kind, width, channels } = this;
    return new Page(
      withMemory(() => kernelLibrary().copyPage(this.id, rows)),
      { kind, width, rows, channels },
    );
  }

  /** Bytes of a row of keys; 0 of codes. */
  get keyBytes(): number {
    return this.kind === "codes" ? 0 : keyRowBytes(this.kind, this.width, this.channels?.length ?? this.width);
  }

  /** Bytes of a row of values; 0 of codes, which do not lie in rows. */
  get rowBytes(): number {
    return this.kind === "codes" ? 0 : cacheRowBytes(this.kind, this.width);
  }

  /** Copies rows as they are held: bytes of the keys, then of the values. @throws HeadscopeError (usage) for rows that there are not */
  read(row: number, count: number): Uint8Array {
    this.#insistHeld();
    checkOptions("Page.read", { row, count }, { row: PLACE, count: PLACE });
    return asRefusal(() => kernelLibrary().readPage(this.id, row, count));
  }

  /** Puts rows in the place of others. @param bytes as `read` gives them @throws HeadscopeError (usage) where they do not fit */
  fill(row: number, bytes: Uint8Array): void {
    this.#insistHeld();
    checkOptions("Page.fill", { row }, { row: PLACE });
    asRefusal(() => kernelLibrary().fillPage(this.id, row, bytes));
  }

  /** Copies rows of another page of its kind and width to rows of this one, as they are held, or what codes and fewer channels stand for. @throws HeadscopeError (usage) where they do not fit */
  copyRows(from: Page, rows: { from: number; to: number; count: number }): void {
    this.#insistHeld();
    from.#insistHeld();
    try {
      kernelLibrary().copyRows(from.id, rows.from, this.id, rows.to, rows.count);
    } catch (cause) {
      throw new HeadscopeError("usage", cause instanceof Error ? cause.message : String(cause), { cause });
    }
  }

  #insistHeld(): void {
    if (this.#holders > 0) return;
    throw new HeadscopeError("usage", `page ${this.id} was freed`, { remedy: "keep a hold on it with retain()" });
  }
}

/** @throws HeadscopeError (usage) for channels that a head of this width has not, or that don't ascend */
function checkChannels(channels: readonly number[], width: number): void {
  const ascending = channels.every((c, i) => Number.isInteger(c) && c > (channels[i - 1] ?? -1) && c < width);
  if (channels.length > 0 && ascending) return;
  throw new HeadscopeError("usage", `a page can't hold the channels ${channels.join(", ")} of a head of ${width}`, {
    remedy: "give some of them, ascending, each once",
    field: "channels",
  });
}

/** Bytes of all pages of this process; 0 without kernels. */
export function pageBytes(): number {
  return loadKernels().ready ? kernelLibrary().pageBytes() : 0;
}

function asRefusal<T>(call: () => T): T {
  try {
    return call();
  } catch (cause) {
    if (cause instanceof HeadscopeError) throw cause;
    const message = cause instanceof Error ? cause.message : String(cause);
    throw new HeadscopeError("usage", message, { remedy: "give whole rows that the page has", cause });
  }
}

function withMemory(make: () => number): number {
  try {
    return make();
  } catch (cause) {
    if (cause instanceof HeadscopeError) throw cause;
    const message = cause instanceof Error ? cause.message : String(cause);
    throw new HeadscopeError("unsupported", message, { remedy: "hold fewer tokens, or in fewer bits", cause });
  }
}
