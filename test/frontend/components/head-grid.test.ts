/// <reference lib="dom" />
import { type ComponentProps, flushSync, mount, unmount } from "svelte";
import { afterEach, describe, expect, it, vi } from "vitest";
import HeadGrid from "../../../frontend/src/components/head-grid/HeadGrid.svelte";

type Props = ComponentProps<typeof HeadGrid>;

/** Made-up values that all differ. */
function table(layers: number, heads: number): number[][] {
  return Array.from({ length: layers }, (_, l) =>
    Array.from({ length: heads }, (_, h) => (l * heads + h) / (layers * heads)),
  );
}

let mounted: Record<string, unknown> | undefined;

function show(props: Partial<Props> & Pick<Props, "values">): HTMLElement {
  const target = document.createElement("div");
  document.body.append(target);
  mounted = mount(HeadGrid, { target, props: { label: "scores", ...props } });
  flushSync();
  return target;
}

afterEach(() => {
  if (mounted !== undefined) unmount(mounted);
  mounted = undefined;
  document.body.replaceChildren();
});

const cell = (root: HTMLElement, head: string): HTMLElement =>
  root.querySelector<HTMLElement>(`[data-head="${head}"]`)!;

function pointer(target: Element | Window, type: string, keys: PointerEventInit = {}): void {
  target.dispatchEvent(new PointerEvent(type, { bubbles: true, button: 0, ...keys }));
  flushSync();
}

function click(target: Element, keys: PointerEventInit = {}): void {
  pointer(target, "pointerdown", keys);
  pointer(target, "pointerup", keys);
}

function press(target: Element, key: string, keys: KeyboardEventInit = {}): void {
  target.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, ...keys }));
  flushSync();
}

describe("the grid of heads", () => {
  it.each([
    [30, 9, 3],
    [32, 32, 4],
    [2, 4, 1],
  ])("has a cell for every head of %i layers of %i, each with its own words", (layers, heads, groups) => {
    const root = show({ values: table(layers, heads), groups });
    const cells = [...root.querySelectorAll("[role=gridcell]")];
    expect(cells).toHaveLength(layers * heads);
    expect(new Set(cells.map((each) => each.getAttribute("aria-label"))).size).toBe(layers * heads);
    expect(root.querySelectorAll("[role=row]")).toHaveLength(layers);
    expect(root.querySelectorAll(".group")).toHaveLength(groups > 1 ? heads / groups : 0);
  });

  it("says head, value and rank of a cell, and shows them on hover without touching any cell", () => {
    const root = show({ values: table(2, 4) });
    expect(cell(root, "1.3").getAttribute("aria-label")).toBe("head 1.3: 0.875, rank 1 of 8");
    const before = root.querySelector(".grid")!.outerHTML;
    pointer(cell(root, "0.1"), "pointerover");
    expect(root.querySelector(".tip")?.textContent?.replace(/\s+/g, " ").trim()).toBe("0.1 0.125 rank 7 of 8");
    expect(root.querySelector(".grid")!.outerHTML).toBe(before);
  });

  it("names a cell by the text that it shows, also where that is 0 for a value that is hardly more", () => {
    const root = show({ values: [[0, 6.14e-6, 0.25]] });
    const names = ["0.0", "0.1", "0.2"].map((head) => cell(root, head).getAttribute("aria-label"));
    expect(names).toEqual([
      "head 0.0: 0, rank 3 of 3",
      "head 0.1: 0 (6.14e-6), rank 2 of 3",
      "head 0.2: 0.250, rank 1 of 3",
    ]);
    expect(cell(root, "0.1").textContent.trim()).toBe("0");
  });

  it("opens a head by a click, and selects by Ctrl and click", () => {
    const onopen = vi.fn();
    const onselect = vi.fn();
    const root = show({ values: table(2, 4), onopen, onselect });
    click(cell(root, "1.2"));
    expect(onopen.mock.calls).toEqual([["1.2"]]);
    click(cell(root, "1.2"), { ctrlKey: true });
    expect(onselect.mock.calls).toEqual([[["1.2"], "toggle"]]);
  });

  it("toggles by a click where nothing opens", () => {
    const onselect = vi.fn();
    const root = show({ values: table(2, 4), onselect });
    click(cell(root, "0.3"));
    expect(onselect.mock.calls).toEqual([[["0.3"], "toggle"]]);
  });

  it("selects the rectangle that is dragged", () => {
    const onopen = vi.fn();
    const onselect = vi.fn();
    const root = show({ values: table(3, 4), onopen, onselect });
    pointer(cell(root, "0.1"), "pointerdown");
    pointer(cell(root, "1.2"), "pointerover");
    expect(root.querySelector(".drag")).not.toBeNull();
    pointer(window, "pointerup");
    expect(onselect.mock.calls).toEqual([[["0.1", "0.2", "1.1", "1.2"], "replace"]]);
    expect(onopen).not.toHaveBeenCalled();
    expect(root.querySelector(".drag")).toBeNull();
    press(cell(root, "1.2"), "ArrowDown", { shiftKey: true });
    expect(onselect.mock.lastCall).toEqual([["0.1", "0.2", "1.1", "1.2", "2.1", "2.2"], "replace"]);
  });

  it("has one tab stop, which the arrows move", () => {
    const root = show({ values: table(2, 4) });
    const stops = (): (string | undefined)[] =>
      [...root.querySelectorAll<HTMLElement>('[role=gridcell][tabindex="0"]')].map((each) => each.dataset["head"]);
    expect(stops()).toEqual(["0.0"]);
    press(cell(root, "0.0"), "ArrowRight");
    press(cell(root, "0.1"), "ArrowDown");
    expect(stops()).toEqual(["1.1"]);
    expect((document.activeElement as HTMLElement).dataset["head"]).toBe("1.1");
  });

  it("opens with Enter, toggles with Space, extends with Shift and takes back what Shift went over", () => {
    const onopen = vi.fn();
    const onselect = vi.fn();
    const root = show({ values: table(2, 4), selected: ["1.3"], onopen, onselect });
    press(cell(root, "0.0"), "Enter");
    expect(onopen.mock.calls).toEqual([["0.0"]]);
    press(cell(root, "0.0"), " ");
    expect(onselect.mock.lastCall).toEqual([["0.0"], "toggle"]);
    press(cell(root, "0.0"), "ArrowRight", { shiftKey: true });
    press(cell(root, "0.1"), "ArrowRight", { shiftKey: true });
    expect(onselect.mock.lastCall).toEqual([["1.3", "0.0", "0.1", "0.2"], "replace"]);
    press(cell(root, "0.2"), "ArrowLeft", { shiftKey: true });
    expect(onselect.mock.lastCall).toEqual([["1.3", "0.0", "0.1"], "replace"]);
  });

  it("tells screen readers what is selected and what a mask keeps", () => {
    const root = show({
      values: table(2, 4),
      selected: ["0.2"],
      marked: (head: string) => (head === "0.2" ? "streaming" : undefined),
      onselect: () => {},
    });
    expect(cell(root, "0.2").getAttribute("aria-selected")).toBe("true");
    expect(cell(root, "0.2").getAttribute("aria-label")).toContain("streams");
    expect(cell(root, "0.1").getAttribute("aria-selected")).toBe("false");
    expect(root.querySelector("[role=grid]")!.getAttribute("aria-multiselectable")).toBe("true");
  });

  it("gives no colour to what is no number", () => {
    const root = show({ values: [[Number.NaN, 1]] });
    expect(cell(root, "0.0").style.backgroundColor).toBe("");
    expect(cell(root, "0.1").style.backgroundColor).not.toBe("");
  });
});
