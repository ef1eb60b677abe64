import { expect, it } from "vitest";
import { Recent } from "../../../backend/runtime/recent.ts";

const named = (name: string, bytes = 1) => ({ name, bytes });

function store(room: { entries?: number; bytes?: number }) {
  const freed: string[] = [];
  const recent = new Recent<{ name: string; bytes: number }>({
    ...room,
    size: ({ bytes }) => bytes,
    free: ({ name }) => freed.push(name),
  });
  const names = () => recent.values().map(({ name }) => name);
  return { recent, freed, names };
}

it("lets the value used least recently make room", () => {
  const { recent, freed, names } = store({ entries: 2 });
  recent.set("a", named("a"));
  recent.set("b", named("b"));
  recent.get("a");
  recent.set("c", named("c"));
  expect(freed).toEqual(["b"]);
  expect(names()).toEqual(["a", "c"]);
});

it("counts bytes, and keeps the value used last whatever it takes", () => {
  const { recent, freed } = store({ bytes: 10 });
  recent.set("a", named("a", 4));
  recent.set("b", named("b", 6));
  expect(recent.bytes).toBe(10);
  recent.set("c", named("c", 20));
  expect(freed).toEqual(["a", "b"]);
  expect(recent.bytes).toBe(20);
});

it("keeps held values while others come, and makes room for them when the last holder lets go", () => {
  const { recent, freed, names } = store({ entries: 1 });
  recent.set("a", named("a"));
  const first = recent.hold();
  const second = recent.hold();
  recent.set("b", named("b"));
  expect(names()).toEqual(["a", "b"]);
  first();
  recent.set("c", named("c"));
  expect(freed).toEqual(["b"]);
  second();
  expect(names()).toEqual(["a"]);
  expect(freed).toEqual(["b", "c"]);
});

it("does not bring back a held value that was removed", () => {
  const { recent, names } = store({ entries: 3 });
  recent.set("a", named("a"));
  const release = recent.hold();
  recent.clear();
  release();
  expect(names()).toEqual([]);
});

it("frees the value that another of the same key replaces, and only then", () => {
  const { recent, freed } = store({ bytes: 10 });
  const a = recent.set("k", named("a", 3));
  recent.set("k", a);
  expect(freed).toEqual([]);
  recent.set("k", named("b", 5));
  expect(freed).toEqual(["a"]);
  expect(recent.bytes).toBe(5);
});

it("frees all values, or those whose key has a prefix", () => {
  const { recent, freed, names } = store({});
  for (const key of ["x/1", "y/1", "x/2"]) recent.obtain(key, () => named(key));
  recent.clear("x/");
  expect(freed).toEqual(["x/1", "x/2"]);
  expect(names()).toEqual(["y/1"]);
  recent.clear();
  expect(recent.size + recent.bytes).toBe(0);
});
