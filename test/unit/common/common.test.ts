import { describe, expect, test } from "vitest";
import { type PlacedMark, placedMarks, plotlyMarks, spanOf } from "../../../backend/common/figures/marks.ts";
import { PALETTES } from "../../../backend/common/figures/palette.ts";
import { toPlotly } from "../../../backend/common/figures/plotly.ts";
import { rise } from "../../../backend/common/rise.ts";
import { counted } from "../../../backend/common/text.ts";
import { settingText } from "../../../backend/common/words.ts";
import { toSvg } from "../../../backend/reports/svg.ts";
import type { TrainedRun } from "../../../experiments/base.ts";
import { firstCopyCaption, lossFigure } from "../../../experiments/emergence/figures/induction-emergence.ts";
import { WholeProgress } from "../../../experiments/progress.ts";

describe("a count with its noun", () => {
  test("is singular for one alone, and writes thousands apart", () => {
    expect([0, 1, 2, 1027].map((n) => counted(n, "token"))).toEqual([
      "0 tokens",
      "1 token",
      "2 tokens",
      "1,027 tokens",
    ]);
    expect([1, 3].map((n) => counted(n, "class", "classes"))).toEqual(["1 class", "3 classes"]);
  });
});

describe("marks on an axis", () => {
  const axis = { span: [1, 1200] as const, log: true };
  const words = (marks: readonly PlacedMark[]) => marks.map(({ label, row }) => [label, row]);

  test("that are close together stand in rows of their own, those far apart in one", () => {
    const close = [
      { x: 385, label: "induction" },
      { x: 380, label: "previous-token" },
      { x: 390, label: "accuracy" },
    ];
    expect(words(placedMarks(close, axis))).toEqual([
      ["previous-token", 0],
      ["induction", 1],
      ["accuracy", 2],
    ]);
    expect(words(placedMarks([close[0]!, { x: 2, label: "early" }], axis))).toEqual([
      ["early", 0],
      ["induction", 0],
    ]);
    const places = plotlyMarks(close, axis).annotations.map(({ yshift }) => yshift);
    expect(new Set(places).size).toBe(3);
  });

  test("without a place on the axis are left out, and an axis of nothing has a span", () => {
    expect(placedMarks([{ x: 0, label: "zero" }], axis)).toEqual([]);
    expect(spanOf([0, -1], true)).toEqual([1, 10]);
    expect(spanOf([3, 0, 7])).toEqual([0, 7]);
  });
});

describe("a figure of one value a seed", () => {
  const figure = {
    kind: "lines" as const,
    name: "order",
    title: "By seed",
    x: { title: "seed", whole: true },
    y: { title: "step" },
    lines: [{ name: "accuracy", x: [0, 1, 2], y: [380, 412, 352], points: true, joined: false }],
  };

  test("joins no seeds: there is nothing between them", () => {
    expect(toPlotly(figure, PALETTES.light).data).toMatchObject([{ mode: "markers" }]);
    const svg = toSvg(figure);
    expect(svg.match(/<circle/g)).toHaveLength(3);
    expect(svg).not.toMatch(/<path[^>]*stroke-linejoin/);
  });
});

describe("the caption of the first copy's loss follows its curve", () => {
  const curve = (...values: number[]) => ({ steps: values.map((_, i) => i), values });

  test.each([
    ["rises", [4.1, 6, 9.5, 9.5, 9.5], /goes from 4\.10 to 9\.50/, /stays|ends there/],
    ["stays", [4.2, 4.14, 4.15, 4.15, 4.15], /ends there: at 4\.15 nats, guessing being 4\.14/, /goes from/],
    ["falls", [4.2, 3, 2, 2, 2], /goes from 4\.20 to 2\.00, below/, /better than guessing/],
  ])("that %s", (_, values, said, unsaid) => {
    const caption = firstCopyCaption([curve(...values)], 4.14);
    expect(caption).toMatch(said);
    expect(caption).not.toMatch(unsaid);
  });

  test("that the figure draws", () => {
    const firstCopy = curve(4.1, 6, 9.5, 9.5, 9.5);
    const curves = new Map([
      ["in-context.loss", curve(4.1, 3, 0, 0, 0)],
      ["first-copy.loss", firstCopy],
    ]);
    const { caption, lines } = lossFigure([{ curves } as unknown as TrainedRun], 4.14);
    expect(lines.find(({ name }) => name === "first copy")!.y).toEqual(firstCopy.values);
    expect(caption).toContain(firstCopyCaption([firstCopy], 4.14));
    expect(caption).toContain("from 4.10 to 9.50");
  });
});

test("half of a rise lies between where a curve begins and where it ends, and is none where it does not rise", () => {
  const steps = [0, 100, 200, 300, 400];
  expect(rise({ steps, values: [0.5, 0.5, 1, 1, 1] }).half).toBe(150); // half of the final value would be step 0
  expect(rise({ steps, values: [1, 0.5, 0.2, 0.2, 0.2] }).half).toBeUndefined();
});

test("a report's setting names what differs from its preset", () => {
  expect(settingText({ preset: "quick", changed: [] })).toBe("quick");
  const changed = [
    { name: "seeds", value: "5" },
    { name: "steps", value: "500" },
  ];
  expect(settingText({ preset: "quick", changed })).toBe("quick, 2 changed: seeds 5, steps 500");
});

test("progress over stages is one whole: the end of one is no end, and a stage that is found done is passed over", () => {
  const told: [number, number, string][] = [];
  const stages = ["one", "two", "three"].map((label, i) => ({ label, work: 100 * (i + 1) }));
  const { report } = new WholeProgress(stages, (...all) => told.push(all));
  report(1200, 1200, "one");
  report(0, 50, "three");
  report(10, 50, "two"); // never back
  report(50, 50, "three");
  expect(told).toEqual([
    [100, 600, "one (1 of 3)"],
    [300, 600, "three (3 of 3)"],
    [300, 600, "two (2 of 3)"],
    [600, 600, "three (3 of 3)"],
  ]);
  expect(() => report(1, 2, "four")).toThrow();
});
