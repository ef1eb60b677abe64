/** A queue that gives the smallest number first. */
class SmallestFirst {
  readonly #heap: number[] = [];

  push(value: number): void {
    const heap = this.#heap;
    let at = heap.push(value) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (heap[parent]! <= value) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = value;
  }

  pop(): number | undefined {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return first;
    let at = 0;
    for (let child = 1; child < heap.length; child = 2 * at + 1) {
      if (child + 1 < heap.length && heap[child + 1]! < heap[child]!) child++;
      if (heap[child]! >= last) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
    return first;
  }
}

/** Places in a text that ranks are kept with: rank · PLACES + place stays exact. */
const PLACES = 2 ** 27;

/** Symbols in a row that are merged by twos. */
export interface Merging {
  /** Rank of joining the symbols at two places, lower first; -1 where they don't join. */
  rank(left: number, right: number): number;
  /** Joins them: the symbol at `left` becomes the whole. */
  join(left: number, right: number): void;
}

/**
 * Byte-pair encoding (Sennrich et al. 2016): of all neighbours that join, those of the lowest rank are joined, the left ones of
 * equals, until none join. Near linear in the number of symbols.
 * @param length number of symbols, at places 0 to length - 1
 * @returns the places that are left, in order
 */
export function mergeAll(length: number, merging: Merging): number[] {
  const next = Int32Array.from({ length }, (_, place) => place + 1);
  const previous = Int32Array.from({ length }, (_, place) => place - 1);
  /** Rank of joining a place with the one behind it: what the queue holds beside is out of date. */
  const ranks = new Int32Array(length).fill(-1);
  const queue = new SmallestFirst();
  const look = (place: number): void => {
    const right = next[place]!;
    const rank = right < length ? merging.rank(place, right) : -1;
    ranks[place] = rank;
    if (rank >= 0) queue.push(rank * PLACES + place);
  };
  for (let place = 0; place + 1 < length; place++) look(place);
  for (let entry = queue.pop(); entry !== undefined; entry = queue.pop()) {
    const place = entry % PLACES;
    if (ranks[place] !== (entry - place) / PLACES) continue;
    const right = next[place]!;
    merging.join(place, right);
    const behind = next[right]!;
    next[place] = behind;
    ranks[right] = -1;
    if (behind < length) previous[behind] = place;
    look(place);
    if (previous[place]! >= 0) look(previous[place]!);
  }
  const left: number[] = [];
  for (let place = 0; place < length; place = next[place]!) left.push(place);
  return left;
}
