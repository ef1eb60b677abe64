import { describe, expect, it } from "vitest";
import { escapeXml, plotText as ofReports } from "../../../backend/reports/text.ts";
import { lossFigure } from "../../../frontend/src/ablation/loss/figures.ts";
import { csvText } from "../../../frontend/src/components/card/files.ts";
import { escaped, plotText } from "../../../frontend/src/components/plot/text.ts";
import { toPlotly } from "../../../frontend/src/experiments/figure.ts";
import { answerWords } from "../../../frontend/src/inference/needle/needle.ts";
import { panelFigure } from "../../../frontend/src/training/curves/figure.ts";

const LINK = '<a href="https://evil.example">x</a>';
const palette = { line: () => "#000", dashed: () => false, heat: ["#000", "#fff"] };

/** Every text of a figure. */
function textsOf(value: unknown): string[] {
  if (typeof value === "string") return [value];
  return value !== null && typeof value === "object" ? Object.values(value).flatMap(textsOf) : [];
}

describe("texts from anywhere", () => {
  it("are in pictures as the reports' pictures have them, control characters and lone surrogates replaced", () => {
    for (let unit = 0; unit < 0x10000; unit++) {
      const text = `a${String.fromCharCode(unit)}b`;
      if (escaped(text) !== escapeXml(text)) expect.fail(`U+${unit.toString(16)}`);
    }
    expect(escaped("\u0001<&")).toBe("\ufffd&lt;&amp;");
  });

  it("are in plots as the reports' plots have them: no links, no line breaks, no templates", () => {
    for (const text of [LINK, "a & b", "%{y} 50%", "\u0000", "<br>", "&lt;"])
      expect(plotText(text)).toBe(ofReports(text));
    expect(plotText(LINK)).not.toMatch(/[<>]/);
    expect(plotText("%{customdata}")).not.toContain("%{");
  });

  it.each<[string, object]>([
    [
      "losses",
      lossFigure({ clean: [1, 2], changed: [1, 2], draws: [[1, 1]], labels: [LINK, LINK], first: 1, name: LINK }),
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
      toPlotly(
        {
          kind: "lines",
          name: "x",
          title: LINK,
          x: { title: LINK },
          y: { title: LINK },
          lines: [{ name: LINK, x: [1], y: [1] }],
          marks: [{ x: 1, label: LINK }],
        },
        palette,
      ),
    ],
    [
      "a table of a report",
      toPlotly(
        {
          kind: "heatmap",
          name: "x",
          title: LINK,
          x: { title: LINK, labels: [LINK] },
          y: { title: LINK, labels: [LINK] },
          z: [[1]],
          scale: { title: LINK },
        },
        palette,
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
    const text = csvText({
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
