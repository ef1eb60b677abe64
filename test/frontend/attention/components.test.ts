import { flushSync, mount, unmount } from "svelte";
import { afterEach, describe, expect, it, vi } from "vitest";
import AttentionTokens from "../../../frontend/src/components/attention-tokens/AttentionTokens.svelte";
import PatternMatrix from "../../../frontend/src/components/matrix/PatternMatrix.svelte";

const TOKENS = ["<s>", " the", "\n"];
const PATTERN = Float32Array.of(1, 0, 0, 0.25, 0.75, 0, 0, 0.4, 0.6);

let mounted: object | undefined;

function target(): HTMLElement {
  const element = document.createElement("div");
  document.body.append(element);
  return element;
}

afterEach(() => {
  if (mounted !== undefined) unmount(mounted);
  mounted = undefined;
  document.body.replaceChildren();
});

function press(element: Element, key: string): void {
  element.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
  flushSync();
}

describe("the strip of tokens", () => {
  function strip(onfocused = vi.fn()): { list: HTMLElement; text: () => string; onfocused: typeof onfocused } {
    const root = target();
    const props = { pattern: PATTERN, tokens: TOKENS, ids: [0, 11, 22], loss: [1.5, 2.25], onfocused };
    mounted = mount(AttentionTokens, { target: root, props });
    flushSync();
    return { list: root.querySelector<HTMLElement>("[role=listbox]")!, text: () => root.textContent ?? "", onfocused };
  }

  it("makes white space visible", () => {
    const options = [...strip().list.querySelectorAll("[role=option]")].map(({ textContent }) => textContent);
    expect(options).toEqual(["<s>", "·the", "↵"]);
  });

  it("arrows focus a token and say its numbers, Enter keeps it, Escape lets it go", () => {
    const { list, text, onfocused } = strip();
    press(list, "ArrowRight");
    press(list, "ArrowRight");
    expect(list.dataset["focused"]).toBe("1");
    expect(onfocused).toHaveBeenLastCalledWith(1);
    expect(text()).toContain("id 11");
    expect(text()).toContain("loss 1.50 nats");
    expect(text()).toContain("0.750");
    press(list, "Enter");
    expect(list.querySelector("[aria-selected=true]")?.textContent).toBe("·the");
    press(list, "End");
    expect(list.dataset["focused"]).toBe("2");
    expect(text()).toContain("looks at"); // the kept token and this one
    press(list, "Escape");
    expect(list.dataset["focused"]).toBeUndefined();
    expect(list.querySelector("[aria-selected=true]")).toBeNull();
  });
});

describe("the matrix", () => {
  it("reads cells by keyboard, says which are masked, and keeps one", () => {
    const onhover = vi.fn();
    const root = target();
    mounted = mount(PatternMatrix, {
      target: root,
      props: { pattern: PATTERN, queries: 3, keys: 3, tokens: TOKENS, ids: [0, 11, 22], onhover },
    });
    flushSync();
    const matrix = root.querySelector("[role=application]")!;
    press(matrix, "ArrowDown");
    const words = (): string => root.querySelector("[aria-live]")!.textContent!.replace(/\s+/g, " ");
    const { query, key } = onhover.mock.lastCall![0] as { query: number; key: number };
    for (let i = query; i < 2; i++) press(matrix, "ArrowDown");
    for (let i = key; i < 1; i++) press(matrix, "ArrowRight");
    expect(onhover).toHaveBeenLastCalledWith({ query: 2, key: 1 });
    expect(words()).toContain("2 ↵ looks at 1 ·the 0.400");
    press(matrix, "Enter");
    press(matrix, "ArrowUp");
    press(matrix, "ArrowRight");
    expect(words()).toContain("masked");
    matrix.dispatchEvent(new Event("pointerleave"));
    flushSync();
    expect(words()).toContain("2 ↵ looks at 1 ·the 0.400 kept");
  });
});
