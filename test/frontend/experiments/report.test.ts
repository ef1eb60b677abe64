import { describe, expect, it } from "vitest";
import { type Figure, figureSchema } from "../../../backend/common/figures/figure.ts";
import { PALETTES } from "../../../backend/common/figures/palette.ts";
import { toneOf, VERDICTS } from "../../../backend/common/words.ts";
import { cardFigure, figureRows } from "../../../frontend/src/components/plot/cardFigure.ts";
import { comparisonRows, verdictsText } from "../../../frontend/src/experiments/report.ts";

const lines: Figure = figureSchema.parse({
  kind: "lines",
  name: "made-up",
  title: "Made up",
  x: { title: "step", log: true, range: [1, 1000] },
  y: { title: "score", whole: true },
  lines: [
    { name: "a", x: [1, 10], y: [0.5, null], band: { low: [0.4, null], high: [0.6, null] } },
    { name: "b", x: [1, 10], y: [1, 2], dashed: true, points: true },
    ...Array.from({ length: 7 }, (_, n) => ({ name: `c${n}`, x: [1], y: [n] })),
  ],
  marks: [
    { x: 10, label: "here" },
    { x: 0, label: "nowhere on a logarithmic axis" },
  ],
});

const heatmap = (rows: number, range?: [number, number]): Figure =>
  figureSchema.parse({
    kind: "heatmap",
    name: "made-up",
    title: "Made up",
    x: { title: "head", labels: ["0", "1"] },
    y: { title: "layer", labels: Array.from({ length: rows }, (_, n) => String(n)) },
    z: Array.from({ length: rows }, (_, n) => [n, n === 0 ? null : -n]),
    scale: { title: "score", ...(range ? { range } : {}) },
  });

describe("a report's figure", () => {
  it("marks nothing where a logarithmic axis has no place, and has one tick for each of few whole numbers", () => {
    const { shapes, annotations, yaxis } = cardFigure(lines, PALETTES.light).layout;
    expect(shapes).toMatchObject([{ x0: 10 }]);
    expect(annotations).toMatchObject([{ x: 1, text: "here" }]); // an annotation of a logarithmic axis stands at its logarithm
    expect(yaxis).toMatchObject({ tickvals: [0, 0.5, 1, 2, 3, 4, 5, 6] });
  });

  it("gives its numbers as rows", () => {
    expect(figureRows(lines).rows.slice(0, 2)).toEqual([
      ["a", 1, 0.5, 0.4, 0.6],
      ["a", 10, "", "", ""],
    ]);
    expect(figureRows(heatmap(2)).rows).toEqual([
      ["0", "0", 0],
      ["0", "1", ""],
      ["1", "0", 1],
      ["1", "1", -1],
    ]);
  });
});

describe("two reports beside each other", () => {
  it("are rows of the parameters that differ and of every claim's verdicts", () => {
    const result = { verdict: "reproduced", why: "w", measured: {} } as const;
    const comparison = {
      parameters: [{ name: "seeds", values: ["0,1", null] }],
      claims: [{ id: "a", statement: "A", same: false, results: [result, null] }],
    };
    expect(comparisonRows(comparison, ["quick", "quick, 1 changed: seeds 5"])).toEqual({
      columns: ["what", "name", "quick", "quick, 1 changed: seeds 5"],
      rows: [
        ["parameter", "seeds", "0,1", ""],
        ["verdict", "a", "reproduced", ""],
      ],
    });
  });
});

describe("verdicts", () => {
  it("have a tone for every verdict, and come good news first", () => {
    expect(VERDICTS.map(toneOf)).toEqual(["good", "bad", "open", "open", "open", "open"]);
    expect(verdictsText({ "inconclusive at this scale": 1, "not reproduced": 0, reproduced: 4 })).toBe(
      "4 reproduced, 1 inconclusive at this scale",
    );
  });
});
