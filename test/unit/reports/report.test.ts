import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { PALETTES } from "../../../backend/common/figures/palette.ts";
import { toPlotly } from "../../../backend/common/figures/plotly.ts";
import type { Report } from "../../../backend/common/figures/report.ts";
import { createReport, readReport, writeReport } from "../../../backend/reports/report.ts";

const HOSTILE = `</script><script>alert("1")</script><img src=x onerror='a'>`;

const report = createReport({
  experiment: { name: "an-experiment", title: `Title ${HOSTILE}`, description: HOSTILE, source: HOSTILE, trials: HOSTILE },
  preset: "quick",
  parameters: { steps: 100, text: HOSTILE, list: [1, 2] },
  command: `npx headscope experiment run an-experiment --param 'text=${HOSTILE}'`,
  summary: HOSTILE,
  claims: [
    {
      id: "first",
      statement: HOSTILE,
      source: "s",
      check: "at most 0.5",
      measured: { [HOSTILE]: HOSTILE, width: 0.123456, steps: 1234, none: null },
      verdict: "reproduced",
      why: HOSTILE,
    },
    { id: "b", statement: "B", source: "s", check: "c", measured: {}, verdict: "inconclusive at this scale", why: "w" },
  ],
  figures: [
    { kind: "lines", name: "a-figure", title: HOSTILE, caption: HOSTILE, x: { title: "x" }, y: { title: "y" }, lines: [{ name: HOSTILE, x: [1, 2], y: [0.5, null] }] },
    { kind: "heatmap", name: "b-figure", title: "b", x: { title: "x", labels: ["1"] }, y: { title: "y", labels: ["1"] }, z: [[1]], scale: { title: "s" } },
  ],
  runs: ["induction-1"],
}); // biome-ignore format: a figure a line

let folder: string;
let html: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "report-"));
  await writeReport(folder, report);
  html = await readFile(join(folder, "report.html"), "utf8");
});
afterAll(() => rm(folder, { recursive: true }));

describe("a report", () => {
  test("is written as JSON, HTML and a PNG a figure, and read back as it was", async () => {
    expect((await readdir(folder)).sort()).toEqual(["a-figure.png", "b-figure.png", "report.html", "report.json"]);
    expect(await readReport(folder)).toEqual(report);
    const png = await readFile(join(folder, "a-figure.png"));
    expect(png.subarray(0, 8)).toEqual(Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]));
  });

  test("that is not there or is no report is refused by its path", async () => {
    const other = await mkdtemp(join(tmpdir(), "report-"));
    try {
      await expect(readReport(other)).rejects.toMatchObject({ kind: "missing" });
      const bad: Report = { ...report, claims: [{ ...report.claims[0]!, verdict: "perhaps" as never }] };
      await writeFile(join(other, "report.json"), JSON.stringify(bad));
      await expect(readReport(other)).rejects.toMatchObject({
        kind: "input",
        message: expect.stringContaining("report.json is not a headscope.report/1 document: claims.0.verdict"),
      });
    } finally {
      await rm(other, { recursive: true });
    }
  });
});

describe("its page", () => {
  test("fetches nothing", () => {
    const own = html.replace(/<script>[\s\S]*?<\/script>/g, "");
    const tags = own.replace(/"[^"]*"/g, "");
    expect(/<[a-z]+ [^>]*(?:src|href)\s*=|@import|url\(/.exec(tags)?.[0]).toBeUndefined();
    expect(html).toContain(
      `content="default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"`,
    );
  });

  test("holds plotly.js once, and the figures as data", () => {
    expect(html.match(/plotly\.js \(cartesian/g)).toHaveLength(1);
    const data = /<script type="application\/json" id="figures">(.*?)<\/script>/s.exec(html)![1]!;
    expect(JSON.parse(data)).toEqual(
      JSON.parse(JSON.stringify(report.figures.map((figure) => toPlotly(figure, PALETTES.light)))),
    );
    expect(html.match(/<div class="plot" id="figure-\d"/g)).toHaveLength(2);
  });

  test("shows each claim with its verdict and what was measured", () => {
    expect(html).toContain('<span class="verdict reproduced">reproduced</span>');
    expect(html).toContain('<span class="verdict inconclusive">inconclusive at this scale</span>');
    expect(html).toContain("<dt>width</dt><dd>0.123</dd><dt>steps</dt><dd>1,234</dd><dt>none</dt><dd>–</dd>");
  });

  test("shows text as text, wherever it comes from", () => {
    expect(html.includes("<img")).toBe(false);
    // Title twice, description, source, trials, summary, command, parameter, and statement, reason, name and value of the claim; aria-label and caption.
    const outsideFigures = html.replace(/<script type="application\/json".*?<\/script>/s, "");
    expect(outsideFigures.match(/&lt;\/script&gt;&lt;script&gt;/g)).toHaveLength(14);
    expect(html.match(/<script/g)!.length).toBe(html.match(/<\/script>/g)!.length);
  });
});
