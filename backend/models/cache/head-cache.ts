import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError } from "../../common/errors.ts";
import { tf } from "../../runtime/tf.ts";
import type { Window } from "../transformer/attention.ts";
import { PAGE, rowsAllocated } from "./page-rows.ts";
import {
  countIn,
  freeSlots,
  overlap,
  positionsBySlot,
  settled,
  toRuns,
  withoutPositions,
  withPositions,
} from "./runs.ts";
import { type Extent, extentsOf, type KeptSpans, spansFrom, spansOf } from "./spans.ts";
import {
  type CachePage,
  type CacheStorage,
  concatenated,
  type StoredBytes,
  type StoredRows,
  Table,
} from "./storage/storage.ts";
import { heldRuns, positionsOf, type Run, slotOf, slotsUsed, survives } from "./window.ts";

/** Positions that go at once without all others moving together: of many, runs of slots would be cut to pieces. */
const FEW = 8;

/** Keys and values as they are held, and their positions. */
interface PositionedBytes extends StoredBytes {
  readonly positions: readonly number[];
}

/** Keys and values of one KV head as they are held. */
export interface HeldBytes extends PositionedBytes {
  /** Channels that are left of pruned keys, ascending. */
  readonly channels?: readonly number[] | undefined;
  /** Those whose keys are held in these channels alone: before the others. */
  readonly pruned?: PositionedBytes | undefined;
  /** By position, the token that it was before positions were numbered anew; of the first ones, or of none. */
  readonly origins?: readonly number[] | undefined;
}

/** A row that stands for tokens before all queries: each sees it, and its score is the larger by the logarithm of their number. */
export interface Summary {
  /** [1, 1, d_head], as the value. */
  readonly key: Tensor;
  readonly value: Tensor;
  /** Number of the tokens, at least 1. */
  readonly weight: number;
}

/** A page of a head that lies behind its recent tokens, whole. */
export interface WholePage {
  /** Its number in the head, from 0 on. */
  readonly number: number;
  readonly page: CachePage;
  /** Of its rows. */
  readonly positions: Int32Array;
}

/**
 * Keys and values of one KV head of one row, in pages of slots: slot s is row s % 128 of page floor(s / 128). A full head fills one
 * slot after the other, a streaming head its sinks and a ring; after an eviction either holds what was left. Tokens whose keys were
 * pruned to some channels lie in pages of their own, before the others. How many tokens it has seen the cache knows.
 */
export class HeadCache {
  readonly window: Window | undefined;
  readonly #storage: CacheStorage;
  readonly #pages: CachePage[];
  /** Runs that an eviction has left of the positions before `#end`, by ascending positions; together they fill the first slots. */
  #kept: readonly Run[];
  /** Positions in these. */
  #counted: { of: readonly Run[]; count: number } = { of: [], count: 0 };
  /** Their spans, while they and the pages that they lie in are the same. */
  #keptSpans: KeptSpans | undefined;
  #end: number;
  /** Positions below it have been given a place. */
  #placed: number;
  #summary: { readonly page: CachePage; readonly weight: number } | undefined;
  /** By position, the token that it was before positions were numbered anew. */
  #origins: readonly number[];
  /** Tokens with keys of some channels alone: the positions before its `#end`, which none of its own are. */
  #pruned: HeadCache | undefined;
  #channels: readonly number[] | undefined;

  constructor(storage: CacheStorage, window?: Window, like?: HeadCache) {
    this.window = window;
    this.#storage = storage;
    this.#pages = like ? like.#sharedPages() : [];
    this.#kept = like ? like.#kept : [];
    this.#end = like ? like.#end : 0;
    this.#placed = like ? like.#placed : 0;
    const summary = like ? like.#summary : undefined;
    this.#summary = summary && { ...summary, page: summary.page.retain() };
    this.#origins = like ? like.#origins : [];
    const pruned = like ? like.#pruned : undefined;
    this.#pruned = pruned && new HeadCache(pruned.#storage, undefined, pruned);
    this.#channels = like ? like.#channels : undefined;
  }

  /** A full head that holds `length` tokens as a streaming one, which has a copy of what it keeps. */
  static streaming(full: HeadCache, length: number, window: Window): HeadCache {
    if (full.#pruned) {
      const whole = new HeadCache(full.#storage, undefined, full);
      whole.#widen(length);
      const head = HeadCache.streaming(whole, length, window);
      whole.dispose();
      return head;
    }
    const head = new HeadCache(full.#storage, window);
    const held = full.#slotByPosition(length);
    head.prepare(0, length);
    const runs = heldRuns(length, window);
    // A position that an eviction has taken leaves its slot as it is.
    head.#fill(
      full.#pages,
      positionsOf(runs).map((position) => held.get(position)),
    );
    head.#kept = full.#kept;
    head.#end = full.#end;
    head.#origins = full.#origins;
    head.#channels = full.#channels;
    return head;
  }

  /** Bytes of its pages. */
  get bytes(): number {
    const others = (this.#summary?.page.bytes ?? 0) + (this.#pruned?.bytes ?? 0);
    return this.#pages.reduce((sum, { bytes }) => sum + bytes, others);
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
    const pruned = new HeadCache(this.#storage.ofChannels(channels));
    pruned.#copy(this, length);
    this.#clear(length);
    this.#pruned = pruned;
    this.#channels = channels;
  }

  /** Puts pruned keys back into rows of all channels, of which those that were dropped are 0. */
  #widen(length: number): void {
    if (!this.#pruned) return;
    const whole = new HeadCache(this.#storage);
    whole.#copy(this, length);
    this.#clear(length);
    this.#pages.push(...whole.#pages);
    this.#kept = whole.#kept;
  }

  /** Copies all that another full head holds into slots one after the other, being empty. */
  #copy(other: HeadCache, length: number): void {
    const extents = other.extents(length).sort((a, b) => a.position - b.position);
    const positions = extents.flatMap(({ position, count }) => Array.from({ length: count }, (_, i) => position + i));
    this.#allocate(rowsAllocated(positions.length));
    let slot = 0;
    for (const { page, row, count } of extents)
      for (let done = 0; done < count; ) {
        const now = Math.min(count - done, PAGE - (slot % PAGE));
        this.#storage.copyRows(page, this.pageOf(slot), { from: row + done, to: slot % PAGE, count: now });
        slot += now;
        done += now;
      }
    this.#kept = toRuns(positions);
    this.#end = length;
    this.#placed = length;
  }

  /** Holds nothing of the tokens so far. */
  #clear(length: number): void {
    for (const page of this.#pages.splice(0)) page.release();
    this.#pruned?.dispose();
    this.#pruned = undefined;
    this.#kept = [];
    this.#end = length;
    this.#placed = length;
  }

  #allocate(rows: number): void {
    for (let first = 0; first < rows; first += PAGE) this.#pages.push(this.#storage.page(Math.min(PAGE, rows - first)));
  }

  /** Tokens that its summary stands for; 0 without one. */
  get summarised(): number {
    return this.#summary?.weight ?? 0;
  }

  /**
   * The spans of all that it holds after `length` tokens, one list after the other, as tables of places have them: its summary's
   * position is -weight.
   * @returns lists [n, 4] that nobody may write
   */
  spans(length: number): Int32Array[] {
    const summary = this.#summary && Int32Array.of(this.#summary.page.id, 0, -this.#summary.weight, 1);
    return [...this.rowSpans(length), ...(summary ? [summary] : [])];
  }

  /** The same without its summary. @param first row whose span is wanted */
  rowSpans(length: number, first = 0): Int32Array[] {
    const all = this.#allRowSpans(length);
    return first === 0 ? all : [spansFrom(concatenated(all), first)];
  }

  #allRowSpans(length: number): Int32Array[] {
    this.#insistPlaced(length);
    const pruned = this.#pruned?.rowSpans(this.#before) ?? [];
    if (this.window || this.#end === 0 || length < this.#end)
      return [...pruned, spansOf(this.#runs(length), this.#pages)];
    const fresh = { slot: this.#used, position: this.#end, count: length - this.#end };
    return [...pruned, this.#spansOfKept(), spansOf([fresh], this.#pages)];
  }

  #spansOfKept(): Int32Array {
    const known = this.#keptSpans;
    if (known?.runs === this.#kept && known.pages.every((page, i) => page === this.#pages[i])) return known.spans;
    const pages = this.#pages.slice(0, Math.ceil(this.#used / PAGE));
    const spans = spansOf(this.#kept, pages);
    this.#keptSpans = { runs: this.#kept, pages, spans };
    return spans;
  }

  /**
   * Puts a row that stands for tokens which the head has let go in the place of the one before; it is among neither `read` nor `positions`.
   * @param summary undefined for none @throws HeadscopeError (usage) for a weight that can't be
   */
  setSummary(summary: Summary | undefined): void {
    if (summary && !(Number.isInteger(summary.weight) && summary.weight >= 1 && summary.weight < 2 ** 31))
      throw new HeadscopeError("usage", `a row can't stand for ${summary.weight} tokens`, {
        remedy: "give a whole number from 1 on",
        field: "weight",
      });
    const page = summary && this.#storage.page(1);
    if (page) {
      const slots = new Table(Int32Array.of(page.id, 0), [1, 1, 1, 2]);
      this.#storage.write({ k: summary.key, v: summary.value, layer: 0 }, slots);
      slots.dispose();
    }
    this.#summary?.page.release();
    this.#summary = page && { page, weight: summary.weight };
  }

  /** Pages that are whole, not in codes yet, and lie before the last `recent` tokens that it holds; none of a streaming head. */
  wholePages(length: number, recent: number): WholePage[] {
    if (this.window) return [];
    const whole = Math.floor((this.slotOf(length) - recent) / PAGE);
    if (!this.#pages.slice(0, Math.max(0, whole)).some((page) => !page.inCodes)) return [];
    const positions = positionsBySlot(this.#runs(length), this.slotOf(length));
    return this.#pages.slice(0, whole).flatMap((page, number) => {
      const own = positions.slice(number * PAGE, (number + 1) * PAGE);
      return page.inCodes || page.rows < PAGE ? [] : [{ number, page, positions: own }];
    });
  }

  /** Puts a page of codes in the place of a whole one, which is freed. */
  replace({ number }: WholePage, coded: CachePage): void {
    this.#pages[number]!.release();
    this.#pages[number] = coded;
  }

  /** The positions held after `length` tokens, ascending: of pruned keys (undefined where none are held so), and of keys of all channels. */
  positionsByForm(length: number): { pruned: number[] | undefined; whole: number[] } {
    const whole = positionsOf(this.#runs(length)).sort((a, b) => a - b);
    return { pruned: this.#pruned ? positionsOf(this.#pruned.#kept) : undefined, whole };
  }

  /** The slots in use of its own pages after `length` tokens, and their positions. */
  #runs(length: number): Run[] {
    const end = Math.min(this.#end, length);
    if (end === 0) return heldRuns(length, this.window);
    if (!this.window) {
      const fresh = { slot: this.#used, position: end, count: length - end };
      return [...this.#kept, ...(fresh.count > 0 ? [fresh] : [])];
    }
    const regular = heldRuns(length, this.window);
    return [
      ...regular.flatMap((run) =>
        this.#kept.flatMap((kept) => overlap(run, kept.position, kept.position + kept.count)),
      ),
      ...regular.flatMap((run) => overlap(run, end, length)),
    ];
  }

  /** The same as rows of pages. @throws HeadscopeError (usage) where no forward has given some of them a place */
  extents(length: number): Extent[] {
    this.#insistPlaced(length);
    const pruned = this.#pruned?.extents(this.#before) ?? [];
    return [...pruned, ...extentsOf(this.#runs(length), this.#pages)];
  }

  /** The slot that a new position takes. */
  slotOf(position: number): number {
    return this.window ? slotOf(position, this.window) : this.#used + position - this.#end;
  }

  /** The page of a slot; its row there is slot % 128. */
  pageOf(slot: number): CachePage {
    return this.#pages[Math.floor(slot / PAGE)]!;
  }

  /**
   * Makes room for the positions from `start` to `end`, in pages of its own.
   * @throws HeadscopeError (usage) where those before have none
   */
  prepare(start: number, end: number): void {
    if (end <= start) return;
    this.#insistPlaced(start);
    const { window } = this;
    if (window) this.#makeRoom(0, rowsAllocated(end, window));
    else this.#makeRoom(this.slotOf(start), rowsAllocated(this.slotOf(end - 1) + 1));
    this.#placed = end;
  }

  /**
   * Makes room for positions among those of `length` tokens, of a full head that holds none of them: in the slots behind its others, in
   * the order of the positions.
   * @param positions ascending
   * @throws HeadscopeError (usage) for a position that it holds, and a streaming head
   */
  admit(length: number, positions: readonly number[]): void {
    this.#widen(this.#placed);
    const before = this.#ascending(this.#placed);
    const used = countIn(before);
    const { runs, present } = withPositions(before, positions, used);
    if (this.window || present !== undefined) {
      const head = this.window ? "a streaming head" : `a head that holds position ${present}`;
      throw new HeadscopeError("usage", `${head} can't take it among its others`, {
        remedy: "give full heads positions that they don't hold",
      });
    }
    this.#makeRoom(used, rowsAllocated(used + positions.length));
    this.#kept = runs;
    this.#end = length;
    this.#placed = length;
  }

  /** Allocates pages from that of a slot on, and copies those that are not its own. */
  #makeRoom(slot: number, rows: number): void {
    for (let i = Math.floor(slot / PAGE); i * PAGE < rows; i++) {
      const wanted = Math.min(PAGE, rows - i * PAGE);
      const page = this.#pages[i];
      if (!page) this.#pages[i] = this.#storage.page(wanted);
      else if (page.holders > 1 || page.rows < wanted || page.inCodes)
        this.#replace(i, Math.max(wanted, page.rows), page.rows);
    }
  }

  /** The positions that it holds after `length` tokens, ascending. */
  positions(length: number): number[] {
    const before = this.#pruned ? positionsOf(this.#pruned.#kept) : [];
    return [...before, ...positionsOf(this.#ascending(length))];
  }

  /** Keys and values of what it holds after `length` tokens, and the positions. @returns tensors of the caller's */
  read(length: number): StoredRows & { positions: number[] } {
    const before = this.#pruned ? positionsOf(this.#pruned.#kept) : [];
    const positions = [...before, ...positionsOf(this.#runs(length))];
    return { ...this.#storage.read(concatenated(this.rowSpans(length))), positions };
  }

  /** The same as it is held, positions ascending. */
  dump(length: number): HeldBytes {
    const pruned = this.#pruned?.dump(this.#before);
    const before = this.#before;
    const extents = this.extents(length)
      .filter(({ position }) => position >= before)
      .sort((a, b) => a.position - b.position);
    const parts = extents.map(({ page, row, count }) => this.#storage.dump(page, row, count));
    return {
      keys: Buffer.concat(parts.map(({ keys }) => keys)),
      values: Buffer.concat(parts.map(({ values }) => values)),
      positions: extents.flatMap(({ position, count }) => Array.from({ length: count }, (_, i) => position + i)),
      channels: this.#channels,
      pruned,
    };
  }

  /**
   * Takes what `dump` gave of a head with the same window after `length` tokens.
   * @returns false for positions that it would not hold; nothing is taken then
   */
  restore(length: number, { keys, values, positions, origins = [], channels, pruned }: HeldBytes): boolean {
    const { window } = this;
    const before = pruned ? (pruned.positions.at(-1) ?? -1) + 1 : 0;
    const ascending = positions.every(
      (p, i) => p > (positions[i - 1] ?? before - 1) && p < length && survives(p, length, window),
    );
    if (!ascending || origins.length > length) return false;
    if (pruned) {
      const head = new HeadCache(this.#storage.ofChannels(channels ?? []));
      if (window || before > length || !head.restore(before, pruned)) return false;
      head.#kept = toRuns(pruned.positions);
      head.#end = before;
      this.#pruned = head;
    }
    this.#channels = channels;
    this.#origins = origins;
    if (positions.length < slotsUsed(length, window)) {
      this.#kept = toRuns(positions);
      this.#end = length;
    }
    const rows = window ? rowsAllocated(length, window) : rowsAllocated(positions.length);
    this.#allocate(rows);
    this.#placed = length;
    const bytes = this.#storage.heldBytes;
    for (let i = 0; i < positions.length; ) {
      const slot = window ? slotOf(positions[i]!, window) : i;
      let count = 1;
      while (i + count < positions.length && (slot + count) % PAGE !== 0 && this.#follows(positions, i, count)) count++;
      const part = (of: Uint8Array, row: number): Uint8Array => of.slice(i * row, (i + count) * row);
      const rows = { keys: part(keys, bytes.keys), values: part(values, bytes.values) };
      this.#storage.restore(this.pageOf(slot), slot % PAGE, rows);
      i += count;
    }
    return true;
  }

  /** Tells whether the slot of a position lies so many behind that of another. */
  #follows(positions: readonly number[], i: number, count: number): boolean {
    const { window } = this;
    return !window || slotOf(positions[i + count]!, window) === slotOf(positions[i]!, window) + count;
  }

  /**
   * Forgets all positions but those given; a full head's rows move together, so that its memory falls.
   * @throws HeadscopeError (usage) for positions that it does not hold
   */
  evict(length: number, positions: readonly number[]): void {
    const all = [...new Set(positions)].sort((a, b) => a - b);
    const [before, kept] = this.#apart(all);
    const held = this.#slotByPosition(length);
    const absent = kept.find((position) => !held.has(position));
    if (absent !== undefined) throw notHeld(absent, "kept");
    this.#pruned?.evict(this.#before, before);
    const runs = toRuns(kept);
    if (!this.window) this.#compact(kept.map((position) => held.get(position)!));
    this.#kept = runs;
    this.#end = length;
  }

  /**
   * Forgets some positions. Of a full head the last rows take the slots of a few, so that no others move; else as `evict`.
   * @throws HeadscopeError (usage) for positions that it does not hold
   */
  drop(length: number, positions: readonly number[]): void {
    this.#insistPlaced(length);
    const [before, gone] = this.#apart([...new Set(positions)].sort((a, b) => a - b));
    const { runs, freed, absent } = withoutPositions(this.#ascending(length), gone);
    if (absent !== undefined) throw notHeld(absent, "dropped");
    if (before.length > 0) this.#pruned!.drop(this.#before, before);
    if (gone.length === 0) return;
    if (gone.length > FEW || this.window || this.#pages.some(({ inCodes }) => inCodes)) {
      this.evict(length, [...(this.#pruned ? positionsOf(this.#pruned.#kept) : []), ...positionsOf(runs)]);
      return;
    }
    const used = countIn(runs);
    const free = freed.filter((slot) => slot < used);
    this.#settle(runs, free);
    this.#end = length;
    this.#shrink(used);
  }

  /** The first position whose key is not pruned. */
  get #before(): number {
    return this.#pruned ? this.#pruned.#end : 0;
  }

  /** Positions of tokens whose keys are pruned, and the others. */
  #apart(positions: readonly number[]): [number[], number[]] {
    const end = this.#before;
    return [positions.filter((position) => position < end), positions.filter((position) => position >= end)];
  }

  /** The runs by ascending positions. */
  #ascending(length: number): Run[] {
    const runs = this.#runs(length);
    return this.window ? runs.sort((a, b) => a.position - b.position) : runs;
  }

  /** Keeps runs of a full head, in slots without gaps. @param free slots between theirs */
  #settle(runs: readonly Run[], free: readonly number[]): void {
    const { runs: kept, moves } = settled(runs, free);
    for (const { from, to } of moves) {
      const page = Math.floor(to / PAGE);
      const { holders, rows, inCodes } = this.#pages[page]!;
      if (holders > 1 || inCodes) this.#replace(page, rows, rows);
      const moved = { from: from % PAGE, to: to % PAGE, count: 1 };
      this.#storage.copyRows(this.pageOf(from), this.#pages[page]!, moved);
    }
    this.#kept = kept;
  }

  /** Frees pages behind so many slots in use, and what the last has too much. */
  #shrink(used: number): void {
    const rows = rowsAllocated(used);
    for (const page of this.#pages.splice(Math.ceil(rows / PAGE))) page.release();
    const last = this.#pages.length - 1;
    const wanted = rows - last * PAGE;
    if (last >= 0 && this.#pages[last]!.rows > wanted) this.#replace(last, wanted, wanted);
  }

  /**
   * Puts keys and values in the place of those of positions that it holds, in pages of its own.
   * @param positions ascending @param rows [positions, d_head]
   */
  write(length: number, positions: readonly number[], { keys, values }: StoredRows): void {
    this.#widen(length);
    const held = this.#slotByPosition(length);
    const numbers = new Int32Array(2 * positions.length);
    positions.forEach((position, i) => {
      const slot = held.get(position);
      if (slot === undefined) throw notHeld(position, "written");
      const page = Math.floor(slot / PAGE);
      const { holders, rows, inCodes } = this.#pages[page]!;
      if (holders > 1 || inCodes) this.#replace(page, rows, rows);
      numbers.set([this.#pages[page]!.id, slot % PAGE], 2 * i);
    });
    const slots = new Table(numbers, [1, positions.length, 1, 2]);
    tf.tidy(() => {
      const [k, v] = [keys, values].map((t) => tf.reshape(t, [positions.length, 1, -1])) as [Tensor, Tensor];
      this.#storage.write({ k, v, layer: 0 }, slots);
    });
    slots.dispose();
  }

  /**
   * Numbers what it holds after `length` tokens anew, from 0 on without gaps; `origins` goes on to name the tokens.
   * @param skipped tokens that earlier numberings have left out
   */
  renumber(length: number, skipped: number): void {
    this.#widen(length);
    this.#origins = this.origins(length, skipped);
    const inOrder = this.#kept.every(({ slot }, i) => i === 0 || slot > this.#kept[i - 1]!.slot);
    if (!inOrder) this.#compact([...this.#slotByPosition(length).values()]);
    this.#kept = [];
    this.#end = 0;
    this.#placed = this.#origins.length;
  }

  /** Says by position which tokens those so far are. */
  standFor(tokens: readonly number[]): void {
    this.#origins = tokens;
  }

  /** By position, the token that it was, of those that were numbered anew. */
  get renumbered(): readonly number[] {
    return this.#origins;
  }

  /** The position behind those of the first `tokens`. @param skipped tokens left out by a new numbering */
  endOf(tokens: number, skipped: number): number {
    const end = this.#origins.findIndex((token) => token >= tokens);
    return end >= 0 ? end : tokens - skipped;
  }

  /** Leaves the positions up to `end` empty, behind what a truncation has left of positions that were numbered anew. */
  countOn(end: number): void {
    const [held, before] = [this.#placed, this.#before];
    this.#kept = held > before ? [{ slot: 0, position: before, count: held - before }] : [];
    this.#end = end;
    this.#placed = end;
  }

  /** The tokens that it holds, ascending: positions where none were numbered anew. @param skipped tokens left out by that */
  origins(length: number, skipped: number): number[] {
    return this.positions(length).map((position) => this.#origins[position] ?? position + skipped);
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
    const kept = this.#kept.flatMap((run) => overlap(run, 0, to));
    if (this.window || to >= this.#end) this.#kept = kept;
    else this.#settle(kept, freeSlots(kept, countIn(kept)));
    this.#end = Math.min(this.#end, to);
    this.#placed = Math.min(this.#placed, to);
    const slots = this.window ? slotsUsed(to, this.window) : this.slotOf(to);
    for (const page of this.#pages.splice(Math.ceil(slots / PAGE))) page.release();
  }

  /** @throws as `truncate` */
  checkTruncation(length: number): void {
    if (!this.window || length <= this.window.sink + this.window.recent) return;
    throw new HeadscopeError("unsupported", "a streaming head that has let positions go can't be taken back", {
      remedy: "fork the cache while it is short, and go on from the fork",
    });
  }

  dispose(): void {
    for (const page of this.#pages.splice(0)) page.release();
    this.#pruned?.dispose();
    this.#pruned = undefined;
    this.setSummary(undefined);
  }

  #insistPlaced(length: number): void {
    if (length <= this.#placed) return;
    throw new HeadscopeError(
      "usage",
      `a KV head of the cache holds ${this.#placed} of ${length} tokens: its layer has not run on the others`,
      { remedy: "run every forward over a cache through the same layers" },
    );
  }

  /** Slots that an eviction has left in use; the next position goes behind them. */
  get #used(): number {
    if (this.#counted.of !== this.#kept) this.#counted = { of: this.#kept, count: countIn(this.#kept) };
    return this.#counted.count;
  }

  /** Puts a copy in a page's place. @param held rows that are copied */
  #replace(i: number, rows: number, held: number): void {
    const [old, page] = [this.#pages[i]!, this.#storage.page(rows)];
    this.#storage.copyRows(old, page, { from: 0, to: 0, count: held });
    old.release();
    this.#pages[i] = page;
  }

  #slotByPosition(length: number): Map<number, number> {
    const slots = this.#runs(length).flatMap(({ slot, position, count }) =>
      Array.from({ length: count }, (_, i) => [position + i, slot + i] as const),
    );
    return new Map(slots);
  }

  #sharedPages(): CachePage[] {
    return this.#pages.map((page) => page.retain());
  }

  /** Moves slots together into new pages. @param slots ascending */
  #compact(slots: readonly number[]): void {
    const old = this.#pages.splice(0);
    this.#allocate(rowsAllocated(slots.length));
    this.#fill(old, slots);
    for (const page of old) page.release();
  }

  /** Copies slots of other pages into its own, one after the other. @param slots undefined where nothing is copied */
  #fill(from: readonly CachePage[], slots: readonly (number | undefined)[]): void {
    for (let i = 0, count = 1; i < slots.length; i += count) {
      const [slot, row] = [slots[i], i % PAGE];
      count = 1;
      if (slot === undefined) continue;
      const most = Math.min(PAGE - row, PAGE - (slot % PAGE), slots.length - i);
      while (count < most && slots[i + count] === slot + count) count++;
      const page = from[Math.floor(slot / PAGE)]!;
      this.#storage.copyRows(page, this.pageOf(i), { from: slot % PAGE, to: row, count });
    }
  }
}

function notHeld(position: number, verb: string): HeadscopeError {
  return new HeadscopeError("usage", `position ${position} can't be ${verb}: the head does not hold it`, {
    remedy: "give positions among those that `read` shows",
  });
}
