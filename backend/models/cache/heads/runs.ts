import type { Run } from "../window.ts";

/** A row's move from one slot to another. */
export interface SlotMove {
  readonly from: number;
  readonly to: number;
}

/** Positions that runs hold. */
export function countIn(runs: readonly Run[]): number {
  let count = 0;
  for (const run of runs) count += run.count;
  return count;
}

/**
 * Runs without some positions.
 * @param runs by ascending positions
 * @param gone ascending, each once
 * @returns with the slots that they leave; `absent` is the first of them that no run holds
 */
export function withoutPositions(
  runs: readonly Run[],
  gone: readonly number[],
): { runs: Run[]; freed: number[]; absent?: number } {
  const [left, freed]: [Run[], number[]] = [[], []];
  let next = 0;
  for (const run of runs) {
    const { slot, position, count } = run;
    const end = position + count;
    if (next === gone.length || gone[next]! >= end) {
      left.push(run);
      continue;
    }
    let first = position;
    for (; next < gone.length && gone[next]! < end; next++) {
      const at = gone[next]!;
      if (at < position) return { runs: left, freed, absent: at };
      if (at > first) left.push({ slot: slot + first - position, position: first, count: at - first });
      freed.push(slot + at - position);
      first = at + 1;
    }
    if (first < end) left.push({ slot: slot + first - position, position: first, count: end - first });
  }
  return next < gone.length ? { runs: left, freed, absent: gone[next]! } : { runs: left, freed };
}

/**
 * Runs with more positions, in slots one after the other.
 * @param runs by ascending positions
 * @param positions ascending, each once
 * @param slot of the first of them
 * @returns by ascending positions; `present` is the first of them that a run holds already
 */
export function withPositions(
  runs: readonly Run[],
  positions: readonly number[],
  slot: number,
): { runs: Run[]; present?: number } {
  const joined: { slot: number; position: number; count: number }[] = [];
  const add = (run: Run): void => {
    const last = joined.at(-1);
    const follows = last && last.position + last.count === run.position && last.slot + last.count === run.slot;
    if (follows) last.count += run.count;
    else joined.push({ ...run });
  };
  let next = 0;
  const addBelow = (end: number): void => {
    for (; next < positions.length && positions[next]! < end; next++)
      add({ slot: slot + next, position: positions[next]!, count: 1 });
  };
  for (const run of runs) {
    addBelow(run.position);
    const present = positions[next];
    if (present !== undefined && present < run.position + run.count) return { runs: joined, present };
    add(run);
  }
  addBelow(Number.POSITIVE_INFINITY);
  return { runs: joined };
}

/** Slots below a number that no run uses. */
export function freeSlots(runs: readonly Run[], below: number): number[] {
  const used = new Uint8Array(below);
  for (const { slot, count } of runs) used.fill(1, Math.min(slot, below), Math.min(slot + count, below));
  const free: number[] = [];
  for (let slot = 0; slot < below; slot++) if (used[slot] === 0) free.push(slot);
  return free;
}

/**
 * Runs in the slots below their number: those behind move to free slots, one by one.
 * @param free as many slots below that number as lie behind it in use
 */
export function settled(runs: readonly Run[], free: readonly number[]): { runs: readonly Run[]; moves: SlotMove[] } {
  if (free.length === 0) return { runs, moves: [] };
  const below = countIn(runs);
  const [moved, moves]: [Run[], SlotMove[]] = [[], []];
  for (const run of runs) {
    const stay = Math.min(run.count, Math.max(0, below - run.slot));
    if (stay === run.count) {
      moved.push(run);
      continue;
    }
    if (stay > 0) moved.push({ ...run, count: stay });
    for (let i = stay; i < run.count; i++) {
      const to = free[moves.length]!;
      moves.push({ from: run.slot + i, to });
      moved.push({ slot: to, position: run.position + i, count: 1 });
    }
  }
  return { runs: moved, moves };
}

/** The positions that runs hold, by slot. @param slots below which their slots lie */
export function positionsBySlot(runs: readonly Run[], slots: number): Int32Array {
  const positions = new Int32Array(slots);
  for (const { slot, position, count } of runs) for (let i = 0; i < count; i++) positions[slot + i] = position + i;
  return positions;
}

/** The part of a run whose positions lie from `first` to before `end`. */
export function overlap({ slot, position, count }: Run, first: number, end: number): Run[] {
  const [from, to] = [Math.max(position, first), Math.min(position + count, end)];
  return to > from ? [{ slot: slot + from - position, position: from, count: to - from }] : [];
}

/** Ascending positions in slots one after the other, as runs. */
export function toRuns(positions: readonly number[]): Run[] {
  const runs: { slot: number; position: number; count: number }[] = [];
  positions.forEach((position, slot) => {
    const last = runs.at(-1);
    if (last && last.position + last.count === position) last.count++;
    else runs.push({ slot, position, count: 1 });
  });
  return runs;
}
