import type { Turn } from "../runtime/turn.ts";

/** The way in which long work is given up (`onLayer` throws) and lets others in. */
export interface Interrupts {
  readonly onLayer: () => void;
  readonly turn: Turn | undefined;
}

/** Tokens that go through a block together. */
const BATCH_TOKENS = 2048;

/** Consecutive items that run together. */
export interface EvenBatch {
  readonly first: number;
  /** Items of it. */
  readonly count: number;
  /** Items of a full batch: where the last is filled up to it, all run the same captured functions. */
  readonly size: number;
}

/** Batches of bounded size, as even as they go, so that they share their functions. @param positions tokens of an item */
export function evenBatches(items: number, positions: number): EvenBatch[] {
  const most = Math.max(1, Math.floor(BATCH_TOKENS / positions));
  const batches = Math.ceil(items / most);
  const size = Math.ceil(items / batches);
  return Array.from({ length: batches }, (_, b) => ({
    first: b * size,
    count: Math.min(size, items - b * size),
    size,
  })).filter(({ count }) => count > 0);
}
