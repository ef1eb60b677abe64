import { describe, expect, it } from "vitest";
import { PALETTES } from "../../../backend/common/figures/palette.ts";
import { escapeXml, plotText } from "../../../backend/common/figures/text.ts";
import { tokenLossFigure } from "../../../frontend/src/ablation/loss/figures.ts";
import { tableCsv } from "../../../frontend/src/components/card/files.ts";
import { cardFigure } from "../../../frontend/src/components/plot/cardFigure.ts";
import { answerWords } from "../../../frontend/src/inference/needle/needle.ts";
import { panelFigure } from "../../../frontend/src/training/curves/figure.ts";

const LINK = '<a href="https://evil.example">x</a>';

/** Every text of a figure. */
function textsOf(value: unknown): string[] {
  if (typeof value === "string") return [value];
  return value !== null && typeof value === "object" ? Object.values(value).flatMap(textsOf) : [];
}

describe("texts from anywhere", () => {
  it("are in pictures what XML can hold: control characters and lone surrogates replaced", () => {
    expect(escapeXml("\u0001<&\ud800")).toBe("\ufffd&lt;&amp;\ufffd");
  });

  it("are in plots no links, no line breaks, no templates", () => {
    for (const text of [LINK, "<br>"]) expect(plotText(text)).not.toMatch(/[<>]/);
    expect(plotText("%{customdata} 50%")).toBe("&#37;{customdata} 50%");
  });

  it.each<[string, object]>([
    [
      "losses",
      tokenLossFigure({ clean: [1, 2], changed: [1, 2], draws: [[1, 1]], labels: [LINK, LINK], first: 1, name: LINK }),
    ],
    [
      "curves",
      panelFigure({
        lines: [{ name: LINK, colour: 0, steps: [1, 2], values: [1, 2], notes: [LINK, LINK] }],
        unit: LINK,
        levels: [{ value: 1, label: LINK }],
        logSteps: false,
        logValues: false,
        legend: true,
      }),
    ],
    [
      "lines of a report",
      cardFigure(
        {
          kind: "lines",
          name: "x",
          title: LINK,
          x: { title: LINK },
          y: { title: LINK },
          lines: [{ name: LINK, x: [1], y: [1] }],
          marks: [{ x: 1, label: LINK }],
        },
        PALETTES.light,
      ),
    ],
    [
      "a table of a report",
      cardFigure(
        {
          kind: "heatmap",
          name: "x",
          title: LINK,
          x: { title: LINK, labels: [LINK] },
          y: { title: LINK, labels: [LINK] },
          z: [[1]],
          scale: { title: LINK },
        },
        PALETTES.light,
      ),
    ],
  ])("are no links in %s", (_, figure) => {
    const linked = textsOf(figure).filter((text) => /<a/.test(text));
    expect(linked).toEqual([]);
    expect(textsOf(figure).some((text) => text.includes("&lt;a"))).toBe(true);
  });

  it("are no links in the answers to needle questions", () => {
    const answer = { text: LINK, right: false, bytes: 1, prefillMs: 1, decodeMsPerToken: 1 };
    const trial = { length: 16, depth: 0, needle: "n", expected: "x", full: answer };
    expect(answerWords([trial as never], "full")[0]![0]).not.toContain("<a");
  });

  it("are no formulas in CSV files, and numbers stay numbers", () => {
    const text = tableCsv({
      columns: ["=1+1", "step"],
      rows: [
        ["@SUM(A1)", -1],
        ["-", 2],
        ["-0.5", 3],
      ],
    });
    expect(text).toBe("'=1+1,step\r\n'@SUM(A1),-1\r\n'-,2\r\n-0.5,3\r\n");
  });
});
