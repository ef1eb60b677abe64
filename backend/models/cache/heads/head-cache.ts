import { HeadscopeError } from "../../../common/errors.ts";
import type { Window } from "../../transformer/attention.ts";
import { type CacheStorage, concatenated, type StoredRows } from "../storage/storage.ts";
import { positionsOf } from "../window.ts";
import { HeadRows, type PositionedBytes } from "./head-rows.ts";
import { toRuns } from "./runs.ts";
import { type Extent, spansFrom } from "./spans.ts";
import { type Summary, type SummaryRow, summaryRow, summarySpan } from "./summary-row.ts";

/** Keys and values of one KV head as they are held. */
export interface HeldBytes extends PositionedBytes {
  /** Channels that are left of pruned keys, ascending. */
  readonly channels?: readonly number[] | undefined;
  /** Those whose keys are held in these channels alone: before the others. */
  readonly pruned?: PositionedBytes | undefined;
  /** By position, the token that it was before positions were numbered anew; of the first ones, or of none. */
  readonly origins?: readonly number[] | undefined;
}

/**
 * Keys and values of one KV head of one row of a cache: rows of all channels, before them those of tokens whose keys were pruned to
 * some channels, in pages of their own, and a row that stands for tokens that were let go. How many tokens it has seen the cache knows.
 */
export class HeadCache {
  readonly #storage: CacheStorage;
  #rows: HeadRows;
  /** Tokens with keys of some channels alone: the positions before its end, which none of the other rows are. */
  #pruned: HeadRows | undefined;
  #channels: readonly number[] | undefined;
  #summary: SummaryRow | undefined;
  /** By position, the token that it was before positions were numbered anew. */
  #origins: readonly number[];

  /** @param like shares its pages */
  constructor(storage: CacheStorage, window?: Window, like?: HeadCache) {
    this.#storage = storage;
    this.#rows = new HeadRows(storage, window, like ? like.#rows : undefined);
    const pruned = like ? like.#pruned : undefined;
    this.#pruned = pruned?.fork();
    this.#channels = like ? like.#channels : undefined;
    const summary = like ? like.#summary : undefined;
    this.#summary = summary && { ...summary, page: summary.page.retain() };
    this.#origins = like ? like.#origins : [];
  }

  /** A full head that holds `length` tokens as a streaming one, which has a copy of what it keeps. */
  static streaming(full: HeadCache, length: number, window: Window): HeadCache {
    const head = new HeadCache(full.#storage, window);
    const whole = full.#pruned && full.#widened(length);
    head.#rows = (whole ?? full.#rows).streaming(length, window);
    whole?.dispose();
    head.#origins = full.#origins;
    head.#channels = full.#channels;
    return head;
  }

  /** Window of a streaming head. */
  get window(): Window | undefined {
    return this.#rows.window;
  }

  /** Rows of keys of all channels, where new tokens go. */
  get rows(): HeadRows {
    return this.#rows;
  }

  /** Bytes of its pages. */
  get bytes(): number {
    return this.#rows.bytes + (this.#summary?.page.bytes ?? 0) + (this.#pruned?.bytes ?? 0);
  }

  /** Channels that were left of its keys when they were last pruned, ascending; undefined where nobody has. */
  get channels(): readonly number[] | undefined {
    return this.#channels;
  }

  /** Notes that the other channels of the keys that it holds are 0. */
  noteChannels(channels: readonly number[]): void {
    this.#channels = channels;
  }

  /** Holds the keys so far of a full head in some of their channels alone; those of later tokens have all, as ever. @param channels ascending */
  prune(length: number, channels: readonly number[]): void {
    const pruned = new HeadRows(this.#storage.ofChannels(channels));
    pruned.copy(this.#inOrder(length), length);
    this.#rows.clear(length);
    this.#pruned?.dispose();
    this.#pruned = pruned;
    this.#channels = channels;
  }

  /** Puts pruned keys back into rows of all channels, of which those that were dropped are 0. */
  #widen(length: number): void {
    if (!this.#pruned) return;
    const whole = this.#widened(length);
    this.#rows.dispose();
    this.#rows = whole;
    this.#pruned.dispose();
    this.#pruned = undefined;
  }

  /** A copy of all rows, with keys of all channels. */
  #widened(length: number): HeadRows {
    const whole = new HeadRows(this.#storage);
    whole.copy(this.#inOrder(length), length);
    return whole;
  }

  #inOrder(length: number): Extent[] {
    return this.extents(length).sort((a, b) => a.position - b.position);
  }

  /** Tokens that its summary stands for; 0 without one. */
  get summarised(): number {
    return this.#summary?.weight ?? 0;
  }

  /**
   * Puts a row that stands for tokens which the head has let go in the place of the one before; it is among neither `read` nor `positions`.
   * @param summary undefined for none @throws HeadscopeError (usage) for a weight that can't be
   */
  setSummary(summary: Summary | undefined): void {
    const row = summary && summaryRow(this.#storage, summary);
    this.#summary?.page.release();
    this.#summary = row;
  }

  /**
   * The spans of all that it holds after `length` tokens, one list after the other, as tables of places have them: its summary's
   * position is -weight.
   * @returns lists [n, 4] that nobody may write
   */
  spans(length: number): Int32Array[] {
    return [...this.rowSpans(length), ...(this.#summary ? [summarySpan(this.#summary)] : [])];
  }

  /** The same without its summary. @param first row whose span is wanted */
  rowSpans(length: number, first = 0): Int32Array[] {
    const all = [...(this.#pruned?.spans(this.#before) ?? []), ...this.#rows.spans(length)];
    return first === 0 ? all : [spansFrom(concatenated(all), first)];
  }

  /** The same as rows of pages. @throws HeadscopeError (usage) where no forward has given some of them a place */
  extents(length: number): Extent[] {
    return [...(this.#pruned?.extents(this.#before) ?? []), ...this.#rows.extents(length)];
  }

  /** The positions held after `length` tokens, ascending: of pruned keys (undefined where none are held so), and of keys of all channels. */
  positionsByForm(length: number): { pruned: number[] | undefined; whole: number[] } {
    const pruned = this.#pruned && positionsOf(this.#pruned.runs(this.#before));
    return { pruned, whole: positionsOf(this.#rows.ascending(length)) };
  }

  /** The positions that it holds after `length` tokens, ascending. */
  positions(length: number): number[] {
    const { pruned = [], whole } = this.positionsByForm(length);
    return [...pruned, ...whole];
  }

  /** Keys and values of what it holds after `length` tokens, and the positions. @returns tensors of the caller's */
  read(length: number): StoredRows & { positions: number[] } {
    const { pruned = [] } = this.positionsByForm(length);
    const positions = [...pruned, ...positionsOf(this.#rows.runs(length))];
    return { ...this.#storage.read(concatenated(this.rowSpans(length))), positions };
  }

  /** The same as it is held, positions ascending. */
  dump(length: number): HeldBytes {
    const pruned = this.#pruned?.dump(this.#before);
    return { ...this.#rows.dump(length), channels: this.#channels, pruned };
  }

  /**
   * Takes what `dump` gave of a head with the same window after `length` tokens.
   * @returns false for positions that it would not hold; nothing is taken then
   */
  restore(length: number, { origins = [], channels, pruned, ...held }: HeldBytes): boolean {
    const before = pruned ? (pruned.positions.at(-1) ?? -1) + 1 : 0;
    if (!this.#rows.wouldHold(held.positions, length, before) || origins.length > length) return false;
    if (pruned) {
      const rows = new HeadRows(this.#storage.ofChannels(channels ?? []));
      if (this.window || before > length || !rows.wouldHold(pruned.positions, before)) return false;
      rows.restore(before, pruned);
      rows.keep(toRuns(pruned.positions), before);
      this.#pruned = rows;
    }
    this.#channels = channels;
    this.#origins = origins;
    this.#rows.restore(length, held);
    return true;
  }

  /** Makes room for positions among those of `length` tokens, as `HeadRows.admit`. @throws as that */
  admit(length: number, positions: readonly number[]): void {
    this.#widen(this.#rows.placed);
    this.#rows.admit(length, positions);
  }

  /**
   * Forgets all positions but those given; a full head's rows move together, so that its memory falls.
   * @throws HeadscopeError (usage) for positions that it does not hold
   */
  evict(length: number, positions: readonly number[]): void {
    const [before, kept] = this.#apart(positions);
    if (this.#pruned) {
      this.#rows.insistHeld(length, kept, "kept");
      this.#pruned.evict(this.#before, before);
    }
    this.#rows.evict(length, kept);
  }

  /**
   * Forgets some positions. Of a full head the last rows take the slots of a few, so that no others move; else as `evict`.
   * @throws HeadscopeError (usage) for positions that it does not hold
   */
  drop(length: number, positions: readonly number[]): void {
    this.#rows.insistPlaced(length);
    const [before, gone] = this.#apart(positions);
    if (this.#pruned && before.length > 0) {
      this.#rows.insistHeld(length, gone, "dropped");
      this.#pruned.drop(this.#before, before);
    }
    this.#rows.drop(length, gone);
  }

  /** The first position whose key is not pruned. */
  get #before(): number {
    return this.#pruned ? this.#pruned.end : 0;
  }

  /** Positions of tokens whose keys are pruned, and the others, both ascending and each once. */
  #apart(positions: readonly number[]): [number[], number[]] {
    const all = [...new Set(positions)].sort((a, b) => a - b);
    const end = this.#before;
    return [all.filter((position) => position < end), all.filter((position) => position >= end)];
  }

  /**
   * Puts keys and values in the place of those of positions that it holds, in pages of its own.
   * @param positions ascending @param rows [positions, d_head]
   * @throws HeadscopeError (usage) for positions that it does not hold
   */
  write(length: number, positions: readonly number[], rows: StoredRows): void {
    this.#widen(length);
    this.#rows.write(length, positions, rows);
  }

  /**
   * Numbers what it holds after `length` tokens anew, from 0 on without gaps; `origins` goes on to name the tokens.
   * @param skipped tokens that earlier numberings have left out
   */
  renumber(length: number, skipped: number): void {
    this.#widen(length);
    this.#origins = this.origins(length, skipped);
    this.#rows.renumber(length);
  }

  /** Says by position which tokens those so far are. */
  standFor(tokens: readonly number[]): void {
    this.#origins = tokens;
  }

  /** By position, the token that it was, of those that were numbered anew. */
  get renumbered(): readonly number[] {
    return this.#origins;
  }

  /** The tokens that it holds, ascending: positions where none were numbered anew. @param skipped tokens left out by that */
  origins(length: number, skipped: number): number[] {
    return this.positions(length).map((position) => this.#origins[position] ?? position + skipped);
  }

  /** The position behind those of the first `tokens`. @param skipped tokens left out by a new numbering */
  endOf(tokens: number, skipped: number): number {
    const end = this.#origins.findIndex((token) => token >= tokens);
    return end >= 0 ? end : tokens - skipped;
  }

  /** Leaves the positions up to `end` empty, behind what a truncation has left of positions that were numbered anew. */
  countOn(end: number): void {
    this.#rows.countOn(this.#before, end);
  }

  /**
   * Forgets the positions from `to` on.
   * @throws HeadscopeError (unsupported) where the ring has let go of what it would hold then
   */
  truncate(length: number, to: number): void {
    if (to >= length) return;
    this.checkTruncation(length);
    this.#origins = this.#origins.slice(0, to);
    this.#pruned?.truncate(this.#before, to);
    this.#rows.truncate(length, to);
  }

  /** @throws as `truncate` */
  checkTruncation(length: number): void {
    const { window } = this;
    if (!window || length <= window.sink + window.recent) return;
    throw new HeadscopeError("unsupported", "a streaming head that has let positions go can't be taken back", {
      remedy: "fork the cache while it is short, and go on from the fork",
    });
  }

  dispose(): void {
    this.#rows.dispose();
    this.#pruned?.dispose();
    this.#pruned = undefined;
    this.setSummary(undefined);
  }
}
