/// <reference lib="dom" />
import { flushSync, mount, unmount } from "svelte";
import { describe, expect, it } from "vitest";
import type { FootprintAnswer } from "../../../backend/common/api/footprint.ts";
import { memoryFigure } from "../../../frontend/src/inference/figures.ts";
import { newTokensOf, predictedCurves, reservations } from "../../../frontend/src/inference/memory/predicted.ts";
import { ratioOf } from "../../../frontend/src/inference/policies/policies.svelte.ts";
import { FACT, longExample } from "../../../frontend/src/inference/text/example.ts";
import KeptStrip from "../../../frontend/src/inference/text/KeptStrip.svelte";
import { keptWords, meanAndLeast, spanOf } from "../../../frontend/src/inference/text/kept.ts";

const ANSWER: FootprintAnswer = {
  lengths: [
    { tokens: 16, bytesFull: 1e6, refused: "snapkv would keep 4 of the prompt's 16 tokens" },
    { tokens: 512, bytesFull: 8e6, bytes: 2e6, read: 2e6 },
  ],
  undecided: [],
};

describe("what the server predicts", () => {
  it("is drawn in MB, with a gap where a length is refused", () => {
    expect(predictedCurves(ANSWER)).toEqual({ tokens: [16, 512], full: [1, 8], masked: [null, 2] });
  });

  it("comes with its reservations in words", () => {
    expect(reservations({ lengths: ANSWER.lengths.slice(1), undecided: [] })).toBe("");
    expect(reservations(ANSWER)).toContain("16 tokens or fewer");
    const undecided = reservations({ lengths: [], undecided: ["gemfilter", "shadowkv"] });
    expect(undecided).toContain("gemfilter and shadowkv");
  });

  it("has measured dots beside it, which say when they are of other settings", () => {
    const dot = { side: "masked" as const, tokens: 640, bytes: 3e6 };
    const { data } = memoryFigure(predictedCurves(ANSWER), [dot, { ...dot, before: true }], "knorm");
    expect(data.map(({ name }) => name)).toEqual([
      "all heads full",
      "with knorm",
      "measured, with knorm",
      "measured before the change",
    ]);
  });

  it("is asked for as many new tokens as were chosen, with the one that ended it", () => {
    expect(newTokensOf({ ids: [1, 2], stopped: { by: "limit", tokens: 2 } })).toBe(2);
    expect(newTokensOf({ ids: [1, 2], stopped: { by: "token", id: 3 } })).toBe(3);
  });
});

describe("a policy's ratio", () => {
  const ratio = { name: "ratio", type: "number", description: "", range: "at least 0, below 1" };

  it("has a slider where it can be one, half where nothing is said", () => {
    expect(ratioOf({ flags: [ratio] }, {})).toBe(0.5);
    expect(ratioOf({ flags: [{ ...ratio, default: 0.875 }] }, {})).toBe(0.875);
    expect(ratioOf({ flags: [ratio] }, { ratio: "0.25" })).toBe(0.25);
    expect(ratioOf({ flags: [ratio] }, { budget: "128" })).toBeUndefined();
    expect(ratioOf({ flags: [ratio] }, { ratio: "2" })).toBeUndefined();
    expect(ratioOf({ flags: [] }, {})).toBeUndefined();
  });
});

describe("what was kept of a prompt", () => {
  it("finds a sentence's tokens, also where they begin before it", () => {
    const texts = ["<s>", "One.", " The", " keeper", " slept.", " Two."];
    expect(spanOf(texts, "The keeper slept.")).toEqual({ first: 2, end: 5 });
    expect(spanOf(texts, "The cook slept.")).toBeUndefined();
    const words = longExample(30).split(/(?= )/);
    const { first, end } = spanOf(words, FACT)!;
    expect(words.slice(first, end).join("").trim()).toBe(FACT);
  });

  it("is told by mean and least", () => {
    expect(meanAndLeast([1, 0.5, 0])).toEqual({ mean: 0.5, least: 0 });
    expect(keptWords([1, 0.5, 0], { first: 1, end: 2 })).toContain("the fact's sentence by 50.0%, at the least 50.0%");
  });

  it("is an image with its words for a label, the sentence marked at its place", () => {
    const target = document.createElement("div");
    const texts = ["a ", "b ", "c ", "d"];
    const mounted = mount(KeptStrip, { target, props: { shares: [1, 0.2, 0.4, 1], texts, sentence: "b c" } });
    flushSync();
    const label = target.querySelector('[role="img"]')!.getAttribute("aria-label");
    expect(label).toContain("65.0% of the KV heads on average, by 20.0% at the least");
    const { left, width } = target.querySelector<HTMLElement>(".mark")!.style;
    expect([left, width]).toEqual(["25%", "50%"]);
    unmount(mounted);
  });

  it("marks nothing where there is no such sentence", () => {
    const target = document.createElement("div");
    const mounted = mount(KeptStrip, { target, props: { shares: [1, 0], texts: ["a", "b"], sentence: "c" } });
    flushSync();
    expect(target.querySelector(".mark")).toBeNull();
    unmount(mounted);
  });
});
