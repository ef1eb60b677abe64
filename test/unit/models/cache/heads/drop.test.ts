import { afterEach, describe, expect, it } from "vitest";
import { Random } from "../../../../../backend/common/random.ts";
import { pageBytes } from "../../../../../backend/kernels/pages.ts";
import { HeadCache } from "../../../../../backend/models/cache/heads/head-cache.ts";
import { PAGE, rowsAllocated } from "../../../../../backend/models/cache/page-rows.ts";
import { PlainStorage } from "../../../../../backend/models/cache/storage/plain-storage.ts";
import { type CacheStorage, Table } from "../../../../../backend/models/cache/storage/storage.ts";
import { storageOf } from "../../../../../backend/models/cache/storage/storages.ts";
import { tf } from "../../../../../backend/runtime/tf.ts";
import { kernelsHere } from "../../../../helpers/kernels/here.ts";

await kernelsHere();
const WIDTH = 4;
const STORAGES: [string, () => CacheStorage][] = [
  ["plain tensors", () => new PlainStorage(WIDTH)],
  ["the kernels' pages", () => storageOf("f32", { d_head: WIDTH })],
];

/** A head, and what it is to hold: by position the number that its key begins with. */
interface Modelled {
  head: HeadCache;
  length: number;
  held: Map<number, number>;
}

let written = 0;
let made: HeadCache[] = [];
afterEach(() => {
  for (const head of made.splice(0)) head.dispose();
});

function append(one: Modelled, count: number): void {
  const positions = Array.from({ length: count }, (_, i) => one.length + i);
  one.head.rows.prepare(one.length, one.length + count);
  one.length += count;
  const rows = positions.map(() => [++written, written % 7, 1, 2]);
  const keys = tf.tensor2d(rows);
  const values = tf.neg(keys);
  one.head.write(one.length, positions, { keys, values });
  tf.dispose([keys, values]);
  positions.forEach((position, i) => void one.held.set(position, rows[i]![0]!));
}

function check({ head, length, held }: Modelled, storage: CacheStorage): void {
  const { keys, values, positions } = head.read(length);
  const [k, v] = [keys.arraySync() as number[][], values.arraySync() as number[][]];
  tf.dispose([keys, values]);
  const expected = [...held.keys()].sort((a, b) => a - b);
  expect(positions).toEqual(expected);
  expect(k.map(([x]) => x)).toEqual(expected.map((position) => held.get(position)));
  expect(v.map(([x]) => x)).toEqual(expected.map((position) => -held.get(position)!));
  const dumped = head.dump(length);
  expect(dumped.positions).toEqual(expected);
  const numbers = new Float32Array(Uint8Array.from(dumped.keys).buffer);
  expect(expected.map((_, i) => numbers[i * WIDTH])).toEqual(expected.map((position) => held.get(position)));
  if (!head.window) expect(head.bytes).toBeGreaterThanOrEqual(rowsAllocated(held.size) * storage.rowBytes);
}

/** As `append`, the way that a forward writes: keys that are pruned stay as they are. */
function appendWhole(storage: CacheStorage, one: Modelled, count: number): void {
  const { head, length } = one;
  head.rows.prepare(length, length + count);
  const slots = Array.from({ length: count }, (_, i) => head.rows.slotOf(length + i));
  const table = new Table(Int32Array.from(slots.flatMap((slot) => [head.rows.pageOf(slot).id, slot % PAGE])), [
    1,
    count,
    1,
    2,
  ]);
  const rows = slots.map(() => [++written, written % 7, 1, 2]);
  const k = tf.tensor3d(rows.flat(), [count, 1, WIDTH]);
  const v = tf.neg(k);
  storage.write({ k, v, layer: 0 }, table);
  tf.dispose([k, v]);
  table.dispose();
  rows.forEach(([x], i) => void one.held.set(length + i, x!));
  one.length += count;
}

function checkRead({ head, length, held }: Modelled): void {
  const { keys, values, positions } = head.read(length);
  const [k, v] = [keys.arraySync() as number[][], values.arraySync() as number[][]];
  tf.dispose([keys, values]);
  const expected = [...held.keys()].sort((a, b) => a - b);
  expect(positions).toEqual(expected);
  expect(k.map(([x]) => x)).toEqual(expected.map((position) => held.get(position)));
  expect(v.map(([x]) => x)).toEqual(expected.map((position) => -held.get(position)!));
}

describe.each(STORAGES)("a head that lets single positions go, in %s", (_, storageHere) => {
  it.each([1, 2, 3, 4])("holds what a plain list holds, whatever happens to it and its forks (seed %i)", (seed) => {
    const storage = storageHere();
    const [tensors, pages] = [tf.memory().numTensors, pageBytes()];
    const random = new Random(seed);
    let all: Modelled[] = [{ head: new HeadCache(storage), length: 0, held: new Map() }];
    append(all[0]!, 200);
    for (let i = 0; i < 72; i++) {
      const one = all[random.integer(0, all.length)]!;
      const positions = [...one.held.keys()];
      const some = (count: number): number[] =>
        Array.from({ length: Math.min(count, positions.length) }, () =>
          positions.splice(random.integer(0, positions.length), 1),
        ).flat();
      const action = random.integer(0, 7);
      if (action === 0) append(one, random.integer(1, 30));
      if (action <= 2) append(one, 1);
      if (action === 3 && all.length < 4) {
        const head = new HeadCache(storage, undefined, one.head);
        all.push({ head, length: one.length, held: new Map(one.held) });
      }
      if (action === 4) {
        const to = Math.max(0, one.length - random.integer(1, 25));
        one.head.truncate(one.length, to);
        one.length = to;
        for (const position of [...one.held.keys()]) if (position >= to) one.held.delete(position);
      } else if (action === 5) {
        const gone = new Set(some(random.integer(1, 20)));
        one.head.evict(one.length, [...one.held.keys()].filter((position) => !gone.has(position))); // biome-ignore format: one call
        for (const position of gone) one.held.delete(position);
      } else {
        const gone = some(action === 6 ? random.integer(1, 40) : 1);
        one.head.drop(one.length, gone);
        for (const position of gone) one.held.delete(position);
        expect(one.head.bytes).toBe(rowsAllocated(one.held.size) * storage.rowBytes);
      }
      for (const each of i % 8 === 7 ? all : [one]) check(each, storage);
    }
    for (const { head } of all) head.dispose();
    all = [];
    expect([tf.memory().numTensors, pageBytes()]).toEqual([tensors, pages]);
  });

  it.each([1, 2, 3])("holds the same where its keys were pruned (seed %i)", (seed) => {
    const storage = storageHere();
    const [tensors, pages] = [tf.memory().numTensors, pageBytes()];
    const random = new Random(seed);
    const one: Modelled = { head: new HeadCache(storage), length: 0, held: new Map() };
    append(one, 150 + seed);
    const fork = new HeadCache(storage, undefined, one.head);
    one.head.prune(one.length, [0, 2]); // what is checked, and another
    expect(one.head.bytes).toBe(rowsAllocated(one.length) * storage.ofChannels([0, 2]).rowBytes);
    const whole = new HeadCache(storage);
    expect(whole.restore(one.length, one.head.dump(one.length))).toBe(true);
    checkRead({ ...one, head: whole });
    expect(whole.bytes).toBe(one.head.bytes);
    whole.dispose();
    for (let i = 0; i < 60; i++) {
      const positions = [...one.held.keys()];
      const some = (count: number): number[] =>
        Array.from({ length: Math.min(count, positions.length) }, () =>
          positions.splice(random.integer(0, positions.length), 1),
        ).flat();
      const action = random.integer(0, 5);
      if (action === 0) appendWhole(storage, one, random.integer(1, 30));
      if (action === 1 && i % 4 === 0) {
        const to = Math.max(0, one.length - random.integer(1, 60));
        one.head.truncate(one.length, to);
        one.length = to;
        for (const position of [...one.held.keys()]) if (position >= to) one.held.delete(position);
      } else if (action === 2) {
        const gone = some(random.integer(1, 20));
        one.head.evict(one.length, [...one.held.keys()].filter((position) => !gone.includes(position))); // biome-ignore format: one call
        for (const position of gone) one.held.delete(position);
      } else {
        const gone = some(action === 3 ? random.integer(1, 12) : 1);
        one.head.drop(one.length, gone);
        for (const position of gone) one.held.delete(position);
      }
      checkRead(one);
      const again = new HeadCache(storage);
      expect(again.restore(one.length, one.head.dump(one.length))).toBe(true);
      checkRead({ ...one, head: again });
      again.dispose();
    }
    one.head.dispose();
    fork.dispose();
    expect([tf.memory().numTensors, pageBytes()]).toEqual([tensors, pages]);
  });

  it("moves one row for one that goes, and refuses positions that it does not hold", () => {
    const storage = storageHere();
    const one: Modelled = { head: new HeadCache(storage), length: 0, held: new Map() };
    made = [one.head];
    append(one, 300);
    let copied = 0;
    const { copyRows } = storage;
    storage.copyRows = (from, to, rows) => {
      copied += rows.count;
      copyRows.call(storage, from, to, rows);
    };
    one.head.drop(300, [17]);
    one.held.delete(17);
    expect(copied).toBe(1);
    check(one, storage);
    expect(() => one.head.drop(300, [17])).toThrow("position 17 can't be dropped");
    expect(() => one.head.drop(300, [300])).toThrow("position 300 can't be dropped");
    check(one, storage);
  });
});

describe("a streaming head", () => {
  it("lets positions go too", () => {
    const storage = storageOf("f32", { d_head: WIDTH });
    const one: Modelled = { head: new HeadCache(storage, { sink: 2, recent: 6 }), length: 0, held: new Map() };
    made = [one.head];
    append(one, 8);
    one.head.drop(8, [1, 5]);
    one.held.delete(1);
    one.held.delete(5);
    check(one, storage);
  });
});
