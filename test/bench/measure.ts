/** A figure and what it is held against. */
export interface Bench {
  name: string;
  unit: string;
  rival: string;
  /** Largest ratio to the rival that meets the promise. */
  goal?: number;
  /** Most that the ratio to a prediction may be away from 1, up or down: 0.2 for a fifth more, or 1 / 1.2. */
  within?: number;
  /** Largest value that meets the promise, whatever the rival's is. */
  atMost?: number;
  /** Most pairs that are measured: for what takes long. */
  most?: number;
  /** Left out unless --only asks for it. */
  onRequest?: boolean;
  /** Once is enough: it takes minutes, in processes of its own that warm up by themselves. */
  once?: boolean;
  ours(): number | Promise<number>;
  theirs(): number | undefined | Promise<number | undefined>;
}

/** What was measured: medians, and the median of the pairs' ratios. */
export interface Row {
  name: string;
  value: number;
  unit: string;
  rival: string;
  rivalValue: number | null;
  ratio: number | null;
  goal?: number;
  within?: number;
  atMost?: number;
  met: boolean | null;
}

/** Milliseconds between two measurements, in which both sides' worker threads stop spinning: they would take the other's cores. */
const REST = 300;

/** Measures pairs in turn. The first run of each side, which captures, compiles and fills caches, does not count. */
export async function measure(bench: Bench, repeats: number): Promise<Row> {
  const count = bench.once ? 1 : Math.min(repeats, bench.most ?? repeats);
  if (!bench.once) {
    await bench.ours();
    await bench.theirs();
  }
  const pairs: [number, number | undefined][] = [];
  for (let i = 0; i < count; i++) pairs.push([await rested(bench.ours), await rested(bench.theirs)]);
  const value = median(pairs.map(([ours]) => ours));
  const known = pairs.filter((pair): pair is [number, number] => pair[1] !== undefined);
  const rivalValue = known.length > 0 ? median(known.map(([, theirs]) => theirs)) : null;
  const ratio = known.length > 0 ? median(known.map(([ours, theirs]) => ours / theirs)) : null;
  const { name, unit, rival, goal, within, atMost } = bench;
  const met = verdictOf(bench, value, ratio);
  const promise = {
    ...(goal === undefined ? {} : { goal }),
    ...(within === undefined ? {} : { within }),
    ...(atMost === undefined ? {} : { atMost }),
  };
  return { name, value, unit, rival, rivalValue, ratio, ...promise, met };
}

function verdictOf({ goal, within, atMost }: Bench, value: number, ratio: number | null): boolean | null {
  if (atMost !== undefined) return value <= atMost;
  if (ratio === null) return null;
  if (within !== undefined) return Math.max(ratio, 1 / ratio) <= 1 + within;
  return goal === undefined ? null : ratio <= goal;
}

async function rested<T>(run: () => T | Promise<T>): Promise<T> {
  await new Promise((resolve) => setTimeout(resolve, REST));
  return run();
}

function median(values: number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1]!;
}

/** A row as people read it. */
export function line(row: Row): string {
  const figure = (value: number): string => value.toFixed(value < 10 ? 2 : 1);
  const rival = row.rivalValue === null ? "no rival here" : `${figure(row.rivalValue)} ${row.rival}`;
  const within = row.within === undefined ? undefined : `1 within ${100 * row.within} %`;
  const goal = row.atMost !== undefined ? `at most ${row.atMost}` : (within ?? row.goal?.toFixed(2));
  const verdict = [
    row.ratio === null ? "" : `ratio ${row.ratio.toFixed(2)}`,
    goal === undefined ? "" : `(goal ${goal})`,
    row.met === null ? "" : row.met ? "met" : "missed",
  ];
  const columns = [row.name.padEnd(58), figure(row.value).padStart(8), row.unit.padEnd(9), rival.padEnd(44)];
  return [...columns, ...verdict].join(" ").trimEnd();
}
