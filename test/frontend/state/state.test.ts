import { beforeEach, describe, expect, it, vi } from "vitest";
import { choice, flag, heads, json, list, number, sortHeads, text } from "../../../frontend/src/state/codecs.ts";
import { urlParam, view } from "../../../frontend/src/state/url.svelte.ts";

describe("codecs", () => {
  it.each([
    ["text", text("a"), "two words & more"],
    ["number", number(3), -0.125],
    ["flag", flag(), true],
    ["choice", choice(["a", "b"], "a"), "b"],
    ["list", list(), ["x", "y"]],
    ["heads", heads(), ["1.0", "1.2", "10.0"]],
    ["json", json<object>({}), { a: [1, null] }],
  ] as const)("%s comes back as it went", (_, codec, value) => {
    const same = codec as { encode(value: unknown): string; decode(text: string): unknown };
    expect(same.decode(same.encode(value))).toEqual(value);
  });

  it("refuse what says nothing", () => {
    expect(number(0).decode("")).toBeUndefined();
    expect(number(0).decode("1e400")).toBeUndefined();
    expect(number(0, { least: 1 }).decode("0.9")).toBeUndefined();
    expect(number(0, { most: 1 }).decode("1.1")).toBeUndefined();
    expect(number(0, { whole: true }).decode("1.5")).toBeUndefined();
    expect(choice(["a", "b"], "a").decode("c")).toBeUndefined();
    expect(json({}).decode("{")).toBeUndefined();
  });

  it("order heads by layer, then head, each once, and drop what is none", () => {
    expect(sortHeads(["10.0", "2.11", "2.3", "10.0"])).toEqual(["2.3", "2.11", "10.0"]);
    expect(heads().decode("3.1,x,0.2,3.1,-1.0,3")).toEqual(["0.2", "3.1"]);
  });
});

describe("the view", () => {
  const top = urlParam("top", number(8, { least: 0, whole: true }));
  const words = urlParam("words", text());

  beforeEach(() => {
    vi.useFakeTimers();
    while (view.canUndo) view.undo();
    history.replaceState(null, "", "/");
    view.follow();
  });

  /** Longer than what counts as one step of undo. */
  const wait = () => vi.advanceTimersByTime(1_000);

  it("writes what is not at its default into the URL, sorted, and nothing else", () => {
    words.value = "a b&c";
    top.value = 3;
    expect(location.search).toBe("?top=3&words=a+b%26c");
    top.value = 8;
    expect(location.search).toBe("?words=a+b%26c");
    words.value = "";
    expect(location.pathname + location.search).toBe("/");
  });

  it("counts a value that cannot be read as the default", () => {
    history.replaceState(null, "", "/heads?top=-4");
    view.follow();
    expect(view.page).toBe("heads");
    expect(top.value).toBe(8);
  });

  it("undoes and redoes one change at a time, in the URL too", () => {
    top.value = 1;
    wait();
    top.value = 2;
    wait();
    view.change({}, "heads");
    expect(location.pathname + location.search).toBe("/heads?top=2");
    view.undo();
    expect(location.pathname + location.search).toBe("/?top=2");
    view.undo();
    expect(top.value).toBe(1);
    view.redo();
    expect(top.value).toBe(2);
    view.redo();
    expect(view.page).toBe("heads");
    expect(view.canRedo).toBe(false);
  });

  it("takes quick changes of one view as one step", () => {
    top.value = 1;
    wait();
    for (const value of [2, 3, 4]) top.value = value;
    expect(top.value).toBe(4);
    wait();
    for (const value of [5, 6]) {
      top.value = value;
      vi.advanceTimersByTime(50);
    }
    view.undo();
    expect(top.value).toBe(4);
    view.undo();
    expect(top.value).toBe(1);
  });

  it("forgets what was undone once something else is done", () => {
    top.value = 1;
    wait();
    view.undo();
    expect(view.canRedo).toBe(true);
    words.value = "new";
    expect(view.canRedo).toBe(false);
  });

  it("makes no step of a change that changes nothing", () => {
    const before = history.length;
    top.value = 8;
    view.change({}, view.page);
    expect(view.canUndo).toBe(false);
    expect(history.length).toBe(before);
  });

  it("follows the browser's own back, and links", () => {
    top.value = 1;
    history.replaceState(null, "", "/training?top=5");
    view.follow();
    expect([view.page, top.value]).toEqual(["training", 5]);
    wait();
    view.visit(new URL(view.href("heads", top.to(6)), location.href));
    expect([view.page, top.value]).toEqual(["heads", 6]);
    view.undo();
    expect([view.page, top.value]).toEqual(["training", 5]);
  });

  it("keeps a decoded value's identity while its text stays", () => {
    const some = urlParam("some", list());
    some.value = ["a", "b"];
    const first = some.value;
    top.value = 2;
    expect(some.value).toBe(first);
  });
});
