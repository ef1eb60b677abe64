import { describe, expect, it } from "vitest";
import type { LensResponse } from "../../../backend/common/api/attribution.ts";
import type { PatchResponse } from "../../../backend/common/api/patching.ts";
import { effectScatter, headEffects, streamFigure } from "../../../frontend/src/patching/direct/figures.ts";
import { changes, eachTable } from "../../../frontend/src/patching/each/figures.ts";
import { agreement, gapFigure, gapsOf } from "../../../frontend/src/patching/estimate/gaps.ts";
import { lensRows, lensTable, tokenText } from "../../../frontend/src/patching/lens/rows.ts";
import { lensSvg } from "../../../frontend/src/patching/lens/svg.ts";
import { looksTable, shownPositions } from "../../../frontend/src/patching/looks/rows.ts";
import { looksSvg } from "../../../frontend/src/patching/looks/svg.ts";
import { readReceivers } from "../../../frontend/src/patching/params.ts";
import { doubts, rawOf, restoration, shareOf } from "../../../frontend/src/patching/result/restoration.ts";

describe("the share that a place moves", () => {
  const sides = { clean: 6, corrupt: -4, patched: [[6, 1, -4, null]] };

  it("is what is lost where corrupt activations are put into the clean run: 0 as clean, 1 as corrupt", () => {
    const noise = { ...sides, direction: "noise" as const };
    expect(restoration(noise)[0]!.map((share) => share + 0)).toEqual([0, 0.5, 1, Number.NaN]);
    expect(restoration(sides)).toEqual([[1, 0.5, 0, Number.NaN]]);
    for (const share of [0, 0.25, 1.5]) expect(shareOf(rawOf(share, noise), noise)).toBeCloseTo(share, 9);
  });

  it("is doubted by the signs of a logit difference alone", () => {
    const kl: Pick<PatchResponse, "clean" | "corrupt" | "metric"> = { clean: 0, corrupt: 2, metric: "kl" };
    expect(doubts(kl)).toBeUndefined();
    expect(doubts({ ...kl, metric: "logit-diff" })).toBeDefined();
    expect(doubts({ ...kl, corrupt: 0 })).toContain("KL");
  });
});

describe("receivers of paths", () => {
  it("are heads in their order, then MLPs and the logits, each once, and nothing else", () => {
    expect(readReceivers("logits, 18.6 m5,2.10 18.6, word 3, m")).toEqual(["2.10", "18.6", "logits", "m5"]);
  });
});

describe("direct effects", () => {
  const effects = headEffects([[2, -1], [0, Number.NaN]], [[0.5, 0.1], [0.9, 0.2]]); // biome-ignore format: tables

  it("stand beside the shares of the same heads, whatever the tables' order", () => {
    expect(effects.slice(0, 3)).toEqual([
      { head: "0.0", direct: 2, share: 0.5 },
      { head: "0.1", direct: -1, share: 0.1 },
      { head: "1.0", direct: 0, share: 0.9 },
    ]);
    const [points] = effectScatter(effects, "restored", ["1.0"]).data as [
      { x: number[]; y: number[]; customdata: string[] },
    ];
    expect([points.x, points.y, points.customdata]).toEqual([[2, -1, 0], [0.5, 0.1, 0.9], ["0.0", "0.1", "1.0"]]); // biome-ignore format: tables
  });

  it("add up along the stream at points between the layers", () => {
    const parts = { embed: 1, posEmbed: 0, heads: [[1, 2], [3, 4]], mlps: [5, 6], attnBias: [0.5, 0] }; // biome-ignore format: tables
    const accumulated = ["blocks.0.hook_resid_pre", "blocks.0.hook_resid_mid", "blocks.1.hook_resid_post"].map((at, i) => ({ at, value: i })); // biome-ignore format: a table
    const attribution = { logitDiff: 0, sum: 0, accumulated, ms: 1, parts: { ...parts, finalNormBias: 0, unembedBias: 0, softCap: 0 } }; // biome-ignore format: a record
    const { data } = streamFigure(attribution, undefined);
    expect(data[0]).toMatchObject({ y: [3.5, 7] });
    expect(data[2]).toMatchObject({ x: [0, 0.5, 2], y: [0, 1, 2] });
  });
});

describe("the lens", () => {
  const row = (at: string, answer: number, text: string) => ({
    at,
    answer,
    wrong: 1,
    rank: 0,
    top: [{ id: 7, text, logit: answer }],
  });
  const lens: LensResponse = {
    rows: [row("blocks.0.hook_resid_pre", 3, " a,b"), row("blocks.0.hook_resid_post", 5, "<c>")],
    ms: 1,
  };

  it("names its rows by the layer that they stand before, the last the end", () => {
    expect(lensRows(lens).map(({ name, difference }) => [name, difference])).toEqual([["0", 2], ["end", 4]]); // biome-ignore format: rows
    expect(lensTable(lens).rows[0]).toEqual(["blocks.0.hook_resid_pre", 3, 1, 0, " a,b", 3]);
  });

  it("gives the id of a token of which nothing can be seen", () => {
    expect([" a", "\u00a0", "\u0000", "\n", ""].map((text) => tokenText({ id: 7, text }))).toEqual([
      "·a",
      "#7",
      "#7",
      "↵",
      "∅",
    ]);
  });

  it("is drawn with its tokens escaped and the answer marked", () => {
    const svg = lensSvg(lensRows(lens), { answer: 7, wrong: 1 });
    expect(svg).toContain("&lt;c&gt;");
    expect(svg.match(/fill-opacity="0.3"/g)).toHaveLength(2);
  });
});

describe("where the last token looks", () => {
  it("leaves out tokens of a long prompt that no head looks at, but never the last; the table has all", () => {
    const tokens = Array.from({ length: 60 }, (_, i) => `t${i}`);
    const weights = tokens.map((_, p) => (p === 30 ? 0.9 : 0));
    const looks = { tokens, ids: tokens.map((_, i) => i), heads: [{ head: "1.0", weights }], weighted: false };
    expect(shownPositions(looks)).toEqual([30, 59]);
    expect(looksTable(looks).rows).toHaveLength(60);
    const few = { ...looks, tokens: tokens.slice(0, 5), heads: [{ head: "1.0", weights: weights.slice(0, 5) }] };
    expect(shownPositions(few)).toHaveLength(5);
    expect(looksSvg(looks, "weight").match(/<rect [^>]*height="21"/g)).toHaveLength(2);
  });
});

describe("estimates beside exact effects", () => {
  const exact = [[0.5, 0], [Number.NaN, -0.2]]; // biome-ignore format: a table
  const name = ({ layer, column }: { layer: number; column: number }) => `${layer}.${column}`;

  it("are listed by their gap, places without a number left out", () => {
    const gaps = gapsOf(exact, [[0.1, 0], [0.3, -0.1]], name); // biome-ignore format: a table
    expect(gaps.map(({ place }) => place)).toEqual(["0.0", "1.1", "0.1"]);
    const [points] = gapFigure(gaps, "restored").data as [{ x: number[]; y: number[] }];
    expect([points.x[0], points.y[0]]).toEqual([0.5, 0.1]);
  });

  it("agree fully with themselves, and not at all where the order is turned round", () => {
    const gaps = gapsOf(exact, exact, name);
    expect(agreement(gaps).correlation).toBeCloseTo(1, 9);
    expect(agreement(gaps)).toMatchObject({ top: 3, of: 3 });
    expect(agreement(gapsOf(exact, exact.map((row) => row.map((x) => -x)), name)).correlation).toBeCloseTo(-1, 9); // biome-ignore format: one line
    expect(agreement(gapsOf([[1, 1]], [[2, 3]], name)).correlation).toBeNaN();
  });
});

describe("one part taken out at a time", () => {
  const base = { clean: 2, control: [[null], [1]], method: "zero", metric: "logit-diff", ms: 1 } as const;

  it("is told as the change from the clean prompt, a row a place", () => {
    const response = { ...base, each: "layer", ablated: [[1.5], [3]] } as const;
    expect(changes(response)).toEqual([[-0.5], [1]]);
    const { columns, rows } = eachTable({ response, tokens: [] });
    expect(columns).toEqual(["layer", "logit-diff", "change", "control"]);
    expect(rows).toEqual([[0, 1.5, -0.5, ""], [1, 3, 1, 1]]); // biome-ignore format: rows
  });

  it("names the token of a source", () => {
    const response = { ...base, each: "source", ablated: [[2, 1]] } as const;
    expect(eachTable({ response, tokens: ["a", "b"] }).rows[1]).toEqual([0, 1, "b", 1, -1, ""]);
  });
});
