import { PAGE, rowsAllocated } from "../page-rows.ts";
import type { CachePage, CacheStorage } from "../storage/storage.ts";
import type { SlotMove } from "./runs.ts";
import type { Extent } from "./spans.ts";

/**
 * Pages of slots: slot s is row s % 128 of page floor(s / 128). Pages may be shared with forks and be in codes: whatever writes makes
 * a page its own before. What lies in the slots its owner knows.
 */
export class HeadPages {
  readonly #storage: CacheStorage;
  readonly #list: CachePage[];

  /** @param like shares its pages */
  constructor(storage: CacheStorage, like?: HeadPages) {
    this.#storage = storage;
    this.#list = like ? like.#list.map((page) => page.retain()) : [];
  }

  /** The pages, in the order of their slots. */
  get list(): readonly CachePage[] {
    return this.#list;
  }

  get bytes(): number {
    return this.#list.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** The page of a slot. */
  page(slot: number): CachePage {
    return this.#list[Math.floor(slot / PAGE)]!;
  }

  /** The page of a slot, that may be written: a copy takes its place where others hold it, or it is in codes. */
  writable(slot: number): CachePage {
    const i = Math.floor(slot / PAGE);
    const { holders, rows, inCodes } = this.#list[i]!;
    if (holders > 1 || inCodes) this.#copy(i, rows, rows);
    return this.#list[i]!;
  }

  /** Adds pages behind the others, for so many rows. */
  allocate(rows: number): void {
    for (let first = 0; first < rows; first += PAGE) this.#list.push(this.#storage.page(Math.min(PAGE, rows - first)));
  }

  /** Allocates pages from that of a slot on, up to a number of rows in all, and copies those that can't be written or are too short. */
  makeRoom(slot: number, rows: number): void {
    for (let i = Math.floor(slot / PAGE); i * PAGE < rows; i++) {
      const wanted = Math.min(PAGE, rows - i * PAGE);
      const page = this.#list[i];
      if (!page) this.#list[i] = this.#storage.page(wanted);
      else if (page.holders > 1 || page.rows < wanted || page.inCodes)
        this.#copy(i, Math.max(wanted, page.rows), page.rows);
    }
  }

  /** Puts a page, such as one of codes, in the place of another, which is freed. @param i number of the page */
  replace(i: number, page: CachePage): void {
    this.#list[i]!.release();
    this.#list[i] = page;
  }

  /** Moves single rows, one after the other. */
  move(moves: readonly SlotMove[]): void {
    for (const { from, to } of moves) {
      const target = this.writable(to);
      this.#storage.copyRows(this.page(from), target, { from: from % PAGE, to: to % PAGE, count: 1 });
    }
  }

  /** Moves slots together into new pages. @param slots in the order in which they lie then */
  compact(slots: readonly number[]): void {
    const old = this.#list.splice(0);
    this.allocate(rowsAllocated(slots.length));
    this.fill(old, slots);
    for (const page of old) page.release();
  }

  /** Copies slots of other pages into its own, one after the other. @param slots undefined where nothing is copied */
  fill(from: readonly CachePage[], slots: readonly (number | undefined)[]): void {
    for (let i = 0, count = 1; i < slots.length; i += count) {
      const [slot, row] = [slots[i], i % PAGE];
      count = 1;
      if (slot === undefined) continue;
      const most = Math.min(PAGE - row, PAGE - (slot % PAGE), slots.length - i);
      while (count < most && slots[i + count] === slot + count) count++;
      const page = from[Math.floor(slot / PAGE)]!;
      this.#storage.copyRows(page, this.page(i), { from: slot % PAGE, to: row, count });
    }
  }

  /** Copies rows of other pages, also of other channels, into new pages, one after the other. */
  append(extents: readonly Extent[]): void {
    this.allocate(rowsAllocated(extents.reduce((sum, { count }) => sum + count, 0)));
    let slot = 0;
    for (const { page, row, count } of extents)
      for (let done = 0; done < count; ) {
        const now = Math.min(count - done, PAGE - (slot % PAGE));
        this.#storage.copyRows(page, this.page(slot), { from: row + done, to: slot % PAGE, count: now });
        slot += now;
        done += now;
      }
  }

  /** Frees the pages behind so many slots. */
  cut(slots: number): void {
    for (const page of this.#list.splice(Math.ceil(slots / PAGE))) page.release();
  }

  /** Frees the pages behind so many slots in use, and what the last has too much. */
  shrink(used: number): void {
    const rows = rowsAllocated(used);
    this.cut(rows);
    const last = this.#list.length - 1;
    const wanted = rows - last * PAGE;
    if (last >= 0 && this.#list[last]!.rows > wanted) this.#copy(last, wanted, wanted);
  }

  /** Puts a copy in a page's place. @param held rows that are copied */
  #copy(i: number, rows: number, held: number): void {
    const [old, page] = [this.#list[i]!, this.#storage.page(rows)];
    this.#storage.copyRows(old, page, { from: 0, to: 0, count: held });
    old.release();
    this.#list[i] = page;
  }
}
