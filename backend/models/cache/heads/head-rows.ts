import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError } from "../../../common/errors.ts";
import { tf } from "../../../runtime/tf.ts";
import type { Window } from "../../transformer/attention.ts";
import { PAGE, rowsAllocated } from "../page-rows.ts";
import { type CachePage, type CacheStorage, type StoredBytes, type StoredRows, Table } from "../storage/storage.ts";
import { heldRuns, positionsOf, type Run, slotOf, slotsUsed, survives } from "../window.ts";
import { HeadPages } from "./head-pages.ts";
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
import { type Extent, extentsOf, type KeptSpans, spansOf } from "./spans.ts";

/** Positions that go at once without all others moving together: of many, runs of slots would be cut to pieces. */
const FEW = 8;

/** Keys and values as they are held, and their positions. */
export interface PositionedBytes extends StoredBytes {
  readonly positions: readonly number[];
}

/** A page that lies behind recent tokens, whole. */
export interface WholePage {
  /** Its number, from 0 on. */
  readonly number: number;
  readonly page: CachePage;
  /** Of its rows. */
  readonly positions: Int32Array;
}

/**
 * Keys and values of tokens of one KV head, in slots of pages: a full head fills one slot after the other, a streaming head its sinks
 * and a ring; after an eviction either holds what was left. Each method is told how many tokens the head has seen.
 */
export class HeadRows {
  readonly window: Window | undefined;
  readonly #storage: CacheStorage;
  readonly #pages: HeadPages;
  /** Runs that an eviction has left of the positions before `#end`, by ascending positions; together they fill the first slots. */
  #kept: readonly Run[];
  /** Positions in these. */
  #counted: { of: readonly Run[]; count: number } = { of: [], count: 0 };
  /** Their spans, while they and the pages that they lie in are the same. */
  #keptSpans: KeptSpans | undefined;
  #end: number;
  /** Positions below it have been given a place. */
  #placed: number;

  /** @param like shares its pages */
  constructor(storage: CacheStorage, window?: Window, like?: HeadRows) {
    this.window = window;
    this.#storage = storage;
    this.#pages = new HeadPages(storage, like ? like.#pages : undefined);
    this.#kept = like ? like.#kept : [];
    this.#end = like ? like.#end : 0;
    this.#placed = like ? like.#placed : 0;
  }

  /** The same rows, of shared pages. */
  fork(): HeadRows {
    return new HeadRows(this.#storage, this.window, this);
  }

  /** Rows of a full head as those of a streaming one, which has a copy of what it keeps. */
  streaming(length: number, window: Window): HeadRows {
    const rows = new HeadRows(this.#storage, window);
    const held = this.#slotByPosition(length);
    rows.prepare(0, length);
    // A position that an eviction has taken leaves its slot as it is.
    rows.#pages.fill(
      this.#pages.list,
      positionsOf(heldRuns(length, window)).map((position) => held.get(position)),
    );
    rows.#kept = this.#kept;
    rows.#end = this.#end;
    return rows;
  }

  /** Copies rows of other pages into slots one after the other, being empty. @param extents by ascending positions */
  copy(extents: readonly Extent[], length: number): void {
    this.#pages.append(extents);
    this.keep(toRuns(positionsIn(extents)), length);
    this.#placed = length;
  }

  /** Bytes of its pages. */
  get bytes(): number {
    return this.#pages.bytes;
  }

  /** Positions before it are those that an eviction has left. */
  get end(): number {
    return this.#end;
  }

  /** Positions below it have been given a place. */
  get placed(): number {
    return this.#placed;
  }

  /** The slots in use after `length` tokens, and their positions. */
  runs(length: number): Run[] {
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

  /** The same by ascending positions. */
  ascending(length: number): Run[] {
    const runs = this.runs(length);
    return this.window ? runs.sort((a, b) => a.position - b.position) : runs;
  }

  /** The same as rows of pages. @throws HeadscopeError (usage) where no forward has given some of them a place */
  extents(length: number): Extent[] {
    this.insistPlaced(length);
    return extentsOf(this.runs(length), this.#pages.list);
  }

  /** The same as spans, one list after the other. @throws as `extents` @returns lists [n, 4] that nobody may write */
  spans(length: number): Int32Array[] {
    this.insistPlaced(length);
    if (this.window || this.#end === 0 || length < this.#end) return [spansOf(this.runs(length), this.#pages.list)];
    const fresh = { slot: this.#used, position: this.#end, count: length - this.#end };
    return [this.#spansOfKept(), spansOf([fresh], this.#pages.list)];
  }

  #spansOfKept(): Int32Array {
    const known = this.#keptSpans;
    const { list } = this.#pages;
    if (known?.runs === this.#kept && known.pages.every((page, i) => page === list[i])) return known.spans;
    const pages = list.slice(0, Math.ceil(this.#used / PAGE));
    const spans = spansOf(this.#kept, pages);
    this.#keptSpans = { runs: this.#kept, pages, spans };
    return spans;
  }

  /** @throws HeadscopeError (usage) where no forward has given some of the tokens a place */
  insistPlaced(length: number): void {
    if (length <= this.#placed) return;
    throw new HeadscopeError(
      "usage",
      `a KV head of the cache holds ${this.#placed} of ${length} tokens: its layer has not run on the others`,
      { remedy: "run every forward over a cache through the same layers" },
    );
  }

  /** The slot that a new position takes. */
  slotOf(position: number): number {
    return this.window ? slotOf(position, this.window) : this.#used + position - this.#end;
  }

  /** The page of a slot; its row there is slot % 128. */
  pageOf(slot: number): CachePage {
    return this.#pages.page(slot);
  }

  /**
   * Makes room for the positions from `start` to `end`, in pages of its own.
   * @throws HeadscopeError (usage) where those before have none
   */
  prepare(start: number, end: number): void {
    if (end <= start) return;
    this.insistPlaced(start);
    const { window } = this;
    if (window) this.#pages.makeRoom(0, rowsAllocated(end, window));
    else this.#pages.makeRoom(this.slotOf(start), rowsAllocated(this.slotOf(end - 1) + 1));
    this.#placed = end;
  }

  /**
   * Makes room for positions among those of `length` tokens, of a full head that holds none of them: in the slots behind its others, in
   * the order of the positions.
   * @param positions ascending
   * @throws HeadscopeError (usage) for a position that it holds, and a streaming head
   */
  admit(length: number, positions: readonly number[]): void {
    const before = this.ascending(this.#placed);
    const used = countIn(before);
    const { runs, present } = withPositions(before, positions, used);
    if (this.window || present !== undefined) {
      const head = this.window ? "a streaming head" : `a head that holds position ${present}`;
      throw new HeadscopeError("usage", `${head} can't take it among its others`, {
        remedy: "give full heads positions that they don't hold",
      });
    }
    this.#pages.makeRoom(used, rowsAllocated(used + positions.length));
    this.keep(runs, length);
    this.#placed = length;
  }

  /** Holds, of the positions before `end`, those of runs that lie in its first slots. */
  keep(runs: readonly Run[], end: number): void {
    this.#kept = runs;
    this.#end = end;
  }

  /** Pages that are whole, not in codes yet, and lie before the last `recent` tokens that it holds; none of a streaming head. */
  wholePages(length: number, recent: number): WholePage[] {
    if (this.window) return [];
    const whole = Math.floor((this.slotOf(length) - recent) / PAGE);
    const { list } = this.#pages;
    if (!list.slice(0, Math.max(0, whole)).some((page) => !page.inCodes)) return [];
    const positions = positionsBySlot(this.runs(length), this.slotOf(length));
    return list.slice(0, whole).flatMap((page, number) => {
      const own = positions.slice(number * PAGE, (number + 1) * PAGE);
      return page.inCodes || page.rows < PAGE ? [] : [{ number, page, positions: own }];
    });
  }

  /** Puts a page of codes in the place of a whole one, which is freed. */
  replace({ number }: WholePage, coded: CachePage): void {
    this.#pages.replace(number, coded);
  }

  /** Keys and values as they are held, positions ascending. */
  dump(length: number): PositionedBytes {
    const extents = this.extents(length).sort((a, b) => a.position - b.position);
    const parts = extents.map(({ page, row, count }) => this.#storage.dump(page, row, count));
    return {
      keys: Buffer.concat(parts.map(({ keys }) => keys)),
      values: Buffer.concat(parts.map(({ values }) => values)),
      positions: positionsIn(extents),
    };
  }

  /** Tells whether it would hold positions after `length` tokens: ascending ones from `first` on that its window leaves. */
  wouldHold(positions: readonly number[], length: number, first = 0): boolean {
    return positions.every(
      (p, i) => p > (positions[i - 1] ?? first - 1) && p < length && survives(p, length, this.window),
    );
  }

  /** Takes what `dump` gave of rows with the same window after `length` tokens. @param held of positions that it would hold */
  restore(length: number, { keys, values, positions }: PositionedBytes): void {
    const { window } = this;
    if (positions.length < slotsUsed(length, window)) this.keep(toRuns(positions), length);
    this.#pages.allocate(window ? rowsAllocated(length, window) : rowsAllocated(positions.length));
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
  }

  /** Tells whether the slot of a position lies so many behind that of another. */
  #follows(positions: readonly number[], i: number, count: number): boolean {
    const { window } = this;
    return !window || slotOf(positions[i + count]!, window) === slotOf(positions[i]!, window) + count;
  }

  /** @throws HeadscopeError (usage) for positions that it does not hold @param verb what can't be done with them */
  insistHeld(length: number, positions: readonly number[], verb: string): void {
    const held = this.#slotByPosition(length);
    const absent = positions.find((position) => !held.has(position));
    if (absent !== undefined) throw notHeld(absent, verb);
  }

  /**
   * Forgets all positions but those given; a full head's rows move together, so that its memory falls.
   * @param positions ascending, each once
   * @throws HeadscopeError (usage) for positions that it does not hold
   */
  evict(length: number, positions: readonly number[]): void {
    const held = this.#slotByPosition(length);
    const slots = positions.map((position) => {
      const slot = held.get(position);
      if (slot === undefined) throw notHeld(position, "kept");
      return slot;
    });
    if (!this.window) this.#pages.compact(slots);
    this.keep(toRuns(positions), length);
  }

  /**
   * Forgets some positions. Of a full head the last rows take the slots of a few, so that no others move; else as `evict`.
   * @param positions ascending, each once
   * @throws HeadscopeError (usage) for positions that it does not hold
   */
  drop(length: number, positions: readonly number[]): void {
    this.insistPlaced(length);
    const { runs, freed, absent } = withoutPositions(this.ascending(length), positions);
    if (absent !== undefined) throw notHeld(absent, "dropped");
    if (positions.length === 0) return;
    if (positions.length > FEW || this.window || this.#pages.list.some(({ inCodes }) => inCodes)) {
      this.evict(length, positionsOf(runs));
      return;
    }
    const used = countIn(runs);
    const free = freed.filter((slot) => slot < used);
    this.#settle(runs, free);
    this.#end = length;
    this.#pages.shrink(used);
  }

  /** Keeps runs of a full head, in slots without gaps. @param free slots between theirs */
  #settle(runs: readonly Run[], free: readonly number[]): void {
    const { runs: kept, moves } = settled(runs, free);
    this.#pages.move(moves);
    this.#kept = kept;
  }

  /**
   * Puts keys and values in the place of those of positions that it holds, in pages of its own.
   * @param positions ascending @param rows [positions, d_head]
   * @throws HeadscopeError (usage) for positions that it does not hold
   */
  write(length: number, positions: readonly number[], { keys, values }: StoredRows): void {
    const held = this.#slotByPosition(length);
    const numbers = new Int32Array(2 * positions.length);
    positions.forEach((position, i) => {
      const slot = held.get(position);
      if (slot === undefined) throw notHeld(position, "written");
      numbers.set([this.#pages.writable(slot).id, slot % PAGE], 2 * i);
    });
    const slots = new Table(numbers, [1, positions.length, 1, 2]);
    tf.tidy(() => {
      const [k, v] = [keys, values].map((t) => tf.reshape(t, [positions.length, 1, -1])) as [Tensor, Tensor];
      this.#storage.write({ k, v, layer: 0 }, slots);
    });
    slots.dispose();
  }

  /** Numbers what it holds after `length` tokens anew, from 0 on without gaps. */
  renumber(length: number): void {
    const count = countIn(this.runs(length));
    const inOrder = this.#kept.every(({ slot }, i) => i === 0 || slot > this.#kept[i - 1]!.slot);
    if (!inOrder) this.#pages.compact([...this.#slotByPosition(length).values()]);
    this.keep([], 0);
    this.#placed = count;
  }

  /** Leaves the positions up to `end` empty behind those that were placed. @param first position of its first slot */
  countOn(first: number, end: number): void {
    const held = this.#placed;
    this.keep(held > first ? [{ slot: 0, position: first, count: held - first }] : [], end);
    this.#placed = end;
  }

  /** Forgets the positions from `to` on, of a ring those that it still holds. */
  truncate(length: number, to: number): void {
    if (to >= length) return;
    const kept = this.#kept.flatMap((run) => overlap(run, 0, to));
    if (this.window || to >= this.#end) this.#kept = kept;
    else this.#settle(kept, freeSlots(kept, countIn(kept)));
    this.#end = Math.min(this.#end, to);
    this.#placed = Math.min(this.#placed, to);
    this.#pages.cut(this.window ? slotsUsed(to, this.window) : this.slotOf(to));
  }

  /** Holds nothing of the first `length` tokens. */
  clear(length: number): void {
    this.dispose();
    this.keep([], length);
    this.#placed = length;
  }

  /** Lets go of its pages. */
  dispose(): void {
    this.#pages.cut(0);
  }

  /** Slots that an eviction has left in use; the next position goes behind them. */
  get #used(): number {
    if (this.#counted.of !== this.#kept) this.#counted = { of: this.#kept, count: countIn(this.#kept) };
    return this.#counted.count;
  }

  #slotByPosition(length: number): Map<number, number> {
    const slots = this.runs(length).flatMap(({ slot, position, count }) =>
      Array.from({ length: count }, (_, i) => [position + i, slot + i] as const),
    );
    return new Map(slots);
  }
}

function positionsIn(extents: readonly Extent[]): number[] {
  return extents.flatMap(({ position, count }) => Array.from({ length: count }, (_, i) => position + i));
}

function notHeld(position: number, verb: string): HeadscopeError {
  return new HeadscopeError("usage", `position ${position} can't be ${verb}: the head does not hold it`, {
    remedy: "give positions among those that `read` shows",
  });
}
