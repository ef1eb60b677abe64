import { type Component, createRawSnippet, flushSync, mount, unmount } from "svelte";
import { afterEach, describe, expect, it, vi } from "vitest";
import type { Flag } from "../../../backend/common/definitions/definition.ts";
import { ApiError } from "../../../frontend/src/api/client.ts";
import Card from "../../../frontend/src/components/card/Card.svelte";
import { SUBJECT } from "../../../frontend/src/components/card/subject.ts";
import Form from "../../../frontend/src/components/controls/Form.svelte";
import { choicesOf, flagProblem } from "../../../frontend/src/components/controls/flags.ts";
import Slider from "../../../frontend/src/components/controls/Slider.svelte";
import Tabs from "../../../frontend/src/components/controls/Tabs.svelte";
import TextArea from "../../../frontend/src/components/controls/TextArea.svelte";
import State from "../../../frontend/src/components/notes/State.svelte";
import NextTokens from "../../../frontend/src/components/tokens/NextTokens.svelte";
import TokenStrip from "../../../frontend/src/components/tokens/TokenStrip.svelte";
import { duration, figure, percent, size, visible } from "../../../frontend/src/format.ts";
import { type Ask, Reading } from "../../../frontend/src/state/answer.svelte.ts";

// happy-dom has no popovers yet.
HTMLElement.prototype.hidePopover ??= () => {};

let close: (() => void) | undefined;
afterEach(() => close?.());

/** Puts a component on the page. */
function show<P extends Record<string, unknown>>(
  component: Component<P>,
  props: P,
  context = new Map<unknown, unknown>(),
): HTMLElement {
  const target = document.createElement("div");
  document.body.append(target);
  const shown = mount(component, { target, props, context });
  flushSync();
  close = () => {
    unmount(shown);
    target.remove();
    close = undefined;
  };
  return target;
}

function text(words: string) {
  return createRawSnippet(() => ({ render: () => `<p class="content">${words}</p>` }));
}

function press(target: Element, key: string, options: KeyboardEventInit = {}): void {
  target.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...options }));
  flushSync();
}

function button(root: ParentNode, label: string): HTMLButtonElement {
  const found = [...root.querySelectorAll("button")].find((each) => each.textContent.trim().startsWith(label));
  if (found === undefined) throw new Error(`there is no button ${label}`);
  return found;
}

describe("Slider", () => {
  it("shows the number while it moves, and tells the end of it", () => {
    const [oninput, onchange] = [vi.fn(), vi.fn()];
    const root = show(Slider, {
      label: "Top",
      min: 0,
      max: 10,
      value: 4,
      format: (n: number) => `${n} heads`,
      oninput,
      onchange,
    });
    const input = root.querySelector("input")!;
    expect(root.querySelector(".thumb")?.textContent).toBe("4 heads");
    expect(input.getAttribute("aria-valuetext")).toBe("4 heads");
    input.value = "7";
    input.dispatchEvent(new Event("input", { bubbles: true }));
    flushSync();
    expect(root.querySelector(".thumb")?.textContent).toBe("7 heads");
    expect(oninput.mock.calls).toEqual([[7]]);
    expect(onchange).not.toHaveBeenCalled();
    input.dispatchEvent(new Event("change", { bubbles: true }));
    expect(onchange.mock.calls).toEqual([[7]]);
  });
});

describe("Form", () => {
  const flags: Flag[] = [
    { name: "rows", type: "integer", default: 4, description: "rows of tokens", range: "from 1 to 64" },
    { name: "kind", type: "a | b", default: "a", description: "which", range: "" },
    { name: "depths", type: "list of numbers", default: [0.1, 0.5], description: "shares", range: "from 0 to 1" },
  ];

  it("shows defaults, and says beside a field what is wrong before it is sent", () => {
    const onchange = vi.fn();
    const root = show(Form, { flags, values: { rows: "65" }, onchange, problems: { depths: "too many" } });
    const rows = root.querySelector<HTMLInputElement>("input")!;
    expect(rows.getAttribute("aria-invalid")).toBe("true");
    expect(document.getElementById(rows.getAttribute("aria-describedby")!)?.textContent).toContain("Give from 1 to 64");
    const depths = root.querySelectorAll<HTMLInputElement>("input")[1]!;
    expect(depths.placeholder).toBe("0.1,0.5");
    expect(document.getElementById(depths.getAttribute("aria-describedby")!)?.textContent).toContain("too many");
    expect(root.querySelector("option")?.textContent).toBe("a");
    rows.value = "12";
    rows.dispatchEvent(new Event("input", { bubbles: true }));
    expect(onchange).toHaveBeenLastCalledWith({ rows: "12" });
    rows.value = "";
    rows.dispatchEvent(new Event("input", { bubbles: true }));
    expect(onchange).toHaveBeenLastCalledWith({});
  });

  it.each([
    ["integer", "at least 2", "1", "at least 2"],
    ["integer", "", "1.5", "a whole number"],
    ["number", "above 0, below 1", "0", "above 0, below 1"],
    ["number", "above 0, below 1", "0.5", undefined],
    ["number", "from 0 to 1", "1e-3", undefined],
    ["number", "at most -1", "0", "at most -1"],
    ["number", "", "abc", "a number"],
    ["true or false", "", "maybe", "one of true, false"],
    ["list of integers", "at least 1, at most 5 of them", "1,2,x", "x in the list: a whole number"],
    ["list of integers", "at least 8, 2 to 4 of them", "8,7", "7 in the list: at least 8"],
    ["list of integers", "at most 2 of them", "1,9", undefined],
    ["list of integers", "at most 2 of them", "1,9,3", "at most 2 of them"],
    ["list of integers", "at least 8, 2 to 3 of them", "8", "2 to 3 of them"],
    ["text", "", "anything", undefined],
    ["integer or text", "", "x", undefined],
  ])("of type %s, %s, %s: %s", (type, range, given, problem) => {
    expect(flagProblem({ type, range }, given)).toBe(problem);
  });

  it("offers the choices of a type that names them", () => {
    expect(choicesOf({ type: "zero | mean | resample" })).toEqual(["zero", "mean", "resample"]);
    expect(choicesOf({ type: "true or false" })).toEqual(["true", "false"]);
    expect(choicesOf({ type: "a | b or integer" })).toBeUndefined();
  });
});

describe("TokenStrip", () => {
  const tokens = ["<s>", " The", "\n", "end"];

  it("moves by arrows, locks by Enter, unlocks by Escape", () => {
    const [onhover, onlock] = [vi.fn(), vi.fn()];
    const root = show(TokenStrip, { tokens, locked: 1, onhover, onlock });
    const strip = root.querySelector("[role=listbox]")!;
    press(strip, "ArrowRight");
    expect(onhover).toHaveBeenLastCalledWith(2);
    expect(document.getElementById(strip.getAttribute("aria-activedescendant")!)?.textContent).toBe("↵");
    press(strip, "End");
    press(strip, "ArrowRight");
    expect(onhover).toHaveBeenLastCalledWith(3);
    press(strip, "Enter");
    expect(onlock).toHaveBeenLastCalledWith(3);
    press(strip, "Escape");
    expect(onlock).toHaveBeenLastCalledWith(undefined);
  });

  it("locks what is clicked, unlocks what is locked, and follows the pointer", () => {
    const [onhover, onlock] = [vi.fn(), vi.fn()];
    const root = show(TokenStrip, { tokens, locked: 1, onhover, onlock });
    const options = [...root.querySelectorAll<HTMLElement>("[role=option]")];
    options[2]!.dispatchEvent(new Event("pointerover", { bubbles: true }));
    expect(onhover).toHaveBeenLastCalledWith(2);
    options[2]!.click();
    options[1]!.click();
    expect(onlock.mock.calls).toEqual([[2], [undefined]]);
  });

  it("makes whitespace visible", () => {
    expect(tokens.map(visible)).toEqual(["<s>", "·The", "↵", "end"]);
    expect(visible("\t")).toBe("⇥");
  });
});

describe("Card", () => {
  it("has a menu of what is given, and shows the command and the JSON", () => {
    const root = show(Card, {
      title: "Scores",
      command: () => "npx headscope probe induction",
      json: () => ({ a: [1] }),
      children: text("x"),
    });
    expect([...root.querySelectorAll("ul button")].map((each) => each.textContent.trim().split(" ")[0])).toEqual([
      "Command",
      "JSON",
    ]);
    button(root, "Command").click();
    flushSync();
    expect(root.querySelector("dialog pre")?.textContent).toBe("npx headscope probe induction");
    button(root.querySelector("dialog")!, "Close").click();
    flushSync();
    expect(root.querySelector("dialog")).toBeNull();
    button(root, "JSON").click();
    flushSync();
    const { provenance, ...data } = JSON.parse(root.querySelector("dialog pre")!.textContent);
    expect(data).toEqual({ a: [1] });
    expect(provenance).toMatchObject({ title: "Scores", command: "npx headscope probe induction" });
  });

  it("shows a text also while the one before is closing, after a download too", async () => {
    // Browsers close a dialog at once, and tell of it in a later task.
    const closing = vi.spyOn(HTMLDialogElement.prototype, "close").mockImplementation(function (
      this: HTMLDialogElement,
    ) {
      this.removeAttribute("open");
      setTimeout(() => this.dispatchEvent(new Event("close")));
    });
    const blobs = vi.spyOn(URL, "createObjectURL").mockReturnValue("blob:of-a-table");
    const table = () => ({ columns: ["head"], rows: [["1.0"]] });
    const root = show(Card, {
      title: "Scores",
      command: "npx headscope",
      json: () => [1],
      csv: table,
      children: text("x"),
    });
    const open = () => [...root.querySelectorAll("dialog[open] pre")].map(({ textContent }) => textContent);
    const choose = (entry: string) => {
      button(root.querySelector("ul")!, entry).click();
      flushSync();
    };
    const leave = () => root.querySelector<HTMLDialogElement>("dialog[open]")!.close();
    const settle = async () => {
      await new Promise((resolve) => setTimeout(resolve, 5));
      flushSync();
    };
    choose("Command");
    leave();
    choose("CSV");
    choose("JSON");
    await settle();
    expect(open()).toEqual([expect.stringContaining('"data"')]);
    leave();
    choose("JSON");
    await settle();
    expect(open()).toHaveLength(1);
    leave();
    await settle();
    expect(root.querySelector("dialog")).toBeNull();
    closing.mockRestore();
    blobs.mockRestore();
  });

  it("names what its page is of in the provenance, not the model in use", () => {
    const subject = () => ({ model: "run:induction-1@60" });
    const props = { title: "Losses", json: () => [1], children: text("x") };
    const root = show(Card, props, new Map([[SUBJECT, subject]]));
    button(root, "JSON").click();
    flushSync();
    const { provenance } = JSON.parse(root.querySelector("dialog pre")!.textContent);
    expect(provenance).toMatchObject({ title: "Losses", model: "run:induction-1@60" });
    expect(provenance).not.toHaveProperty("digest");
  });

  it("hands out its table under its own name", async () => {
    const made: { name: string; content: Promise<string> }[] = [];
    let blob: Blob | undefined;
    vi.spyOn(URL, "createObjectURL").mockImplementation((given) => {
      blob = given as Blob;
      return "blob:x";
    });
    vi.spyOn(HTMLAnchorElement.prototype, "click").mockImplementation(function (this: HTMLAnchorElement) {
      made.push({ name: this.download, content: blob!.text() });
    });
    const csv = () => ({ columns: ["head"], rows: [["5.3"]] });
    const root = show(Card, { title: "All scores", csv, children: text("x") });
    button(root, "CSV").click();
    expect(made[0]?.name).toBe("headscope-all-scores.csv");
    const lines = (await made[0]!.content).split("\r\n");
    expect(lines[0]).toBe("# All scores");
    expect(lines.filter((line) => !line.startsWith("#"))).toEqual(["head", "5.3", ""]);
    vi.restoreAllMocks();
  });

  it("has no menu where there is nothing to take", () => {
    expect(show(Card, { title: "Bare", children: text("x") }).querySelector("[popover]")).toBeNull();
  });
});

describe("State", () => {
  const refusal = {
    type: "about:blank",
    title: "Busy",
    status: 503,
    detail: "the queue is full",
    remedy: "wait",
    kind: "busy",
  };
  const content = createRawSnippet<[string]>((value) => ({ render: () => `<p class="value">${value()}</p>` }));

  it("goes from nothing over waiting to the value, and keeps it through a refusal", async () => {
    let ask!: Ask<string>;
    const latest = new Reading<string>((call) => ask(call));
    const retry = vi.fn();
    const root = show(State<string>, {
      latest,
      what: "the pattern",
      retry,
      children: content,
      empty: text("Choose a head"),
    });
    expect(root.textContent).toContain("Choose a head");
    let answer!: (value: string) => void;
    ask = () =>
      new Promise((resolve) => {
        answer = resolve;
      });
    const asked = latest.read();
    flushSync();
    expect(root.querySelector("[role=status]")?.textContent).toContain("Waiting for the pattern");
    answer("42");
    await asked;
    flushSync();
    expect(root.querySelector(".value")?.textContent).toBe("42");
    ask = () => Promise.reject(new ApiError(refusal));
    await latest.read();
    flushSync();
    expect(root.querySelector("[role=alert]")?.textContent).toContain("the queue is full");
    expect(root.querySelector(".value")?.textContent).toBe("42");
    button(root, "Try again").click();
    expect(retry).toHaveBeenCalledOnce();
  });

  it("can be given up, and asked again", async () => {
    const latest = new Reading<string>(
      ({ signal }) =>
        new Promise((_, reject) => signal.addEventListener("abort", () => reject(new DOMException("", "AbortError")))),
    );
    const retry = vi.fn();
    const root = show(State<string>, { latest, what: "it", retry, children: content });
    const asked = latest.read();
    flushSync();
    button(root, "Cancel").click();
    await asked;
    flushSync();
    expect(root.textContent).toContain("Cancelled");
    button(root, "Ask again").click();
    expect(retry).toHaveBeenCalledOnce();
  });
});

describe("NextTokens", () => {
  it("has every token of both sides, the likeliest on either side first", () => {
    const before = [
      { id: 1, text: " a", probability: 0.6 },
      { id: 2, text: " b", probability: 0.3 },
    ];
    const after = [
      { id: 3, text: " c", probability: 0.9 },
      { id: 1, text: " a", probability: 0.05 },
    ];
    const rows = [...show(NextTokens, { before, after }).querySelectorAll("tbody tr")];
    expect(rows.map((row) => [...row.children].map((cell) => cell.textContent.trim()))).toEqual([
      ["·c", "–", "90.0%"],
      ["·a", "60.0%", "5.0%"],
      ["·b", "30.0%", "–"],
    ]);
  });
});

describe("TextArea", () => {
  it("tells once the user has stopped typing, at once by Ctrl+Enter, and never the same text", () => {
    vi.useFakeTimers();
    const onchange = vi.fn();
    const root = show(TextArea, { label: "Text", value: "a", onchange });
    const area = root.querySelector("textarea")!;
    const type = (words: string) => {
      area.value = words;
      area.dispatchEvent(new Event("input", { bubbles: true }));
    };
    type("ab");
    vi.advanceTimersByTime(500);
    type("abc");
    vi.advanceTimersByTime(500);
    expect(onchange).not.toHaveBeenCalled();
    vi.advanceTimersByTime(100);
    expect(onchange.mock.calls).toEqual([["abc"]]);
    type("abcd");
    press(area, "Enter", { ctrlKey: true });
    expect(onchange).toHaveBeenLastCalledWith("abcd");
    type("a");
    area.dispatchEvent(new Event("blur", { bubbles: true }));
    expect(onchange).toHaveBeenCalledTimes(2);
    vi.useRealTimers();
  });
});

describe("Tabs", () => {
  it("move by arrows round the ends", () => {
    const onchange = vi.fn();
    const tabs = ["a", "b", "c"].map((value) => ({ value, label: value }));
    const root = show(Tabs<string>, { label: "Views", tabs, value: "a", onchange });
    const list = root.querySelector("[role=tablist]")!;
    press(list, "ArrowLeft");
    expect(onchange).toHaveBeenLastCalledWith("c");
    press(list, "ArrowRight");
    expect(onchange).toHaveBeenLastCalledWith("b");
    expect([...root.querySelectorAll("[role=tab]")].map((tab) => tab.getAttribute("tabindex"))).toEqual([
      "0",
      "-1",
      "-1",
    ]);
  });
});

describe("numbers", () => {
  it("are written short, with their unit", () => {
    expect([400, 11_492, 89_600, 3_599_000, 7_800_000].map(duration)).toEqual([
      "0.4 s",
      "11 s",
      "90 s",
      "1 h",
      "2 h 10 min",
    ]);
    expect([840, 12_340, 98_362_432, 999_600_000, 1.2e12].map(size)).toEqual([
      "840 B",
      "12.3 kB",
      "98.4 MB",
      "1.0 GB",
      "1.2 TB",
    ]);
    expect([0, 0.8814, -0.5, 12.345, 123.45, 12_345, 1.234e-6, Number.NaN].map(figure)).toEqual([
      "0",
      "0.881",
      "-0.500",
      "12.35",
      "123.5",
      "12345",
      "1.23e-6",
      "–",
    ]);
    expect([0, 0.0004, 0.5, 1].map(percent)).toEqual(["0.0%", "<0.1%", "50.0%", "100.0%"]);
  });
});
