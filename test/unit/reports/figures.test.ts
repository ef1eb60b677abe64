import { inflateSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { figureSchema, type HeatmapFigure, type LineFigure } from "../../../backend/common/figures/figure.ts";
import { colourAt, inkOn, isSecondRound, lineColour, PALETTES } from "../../../backend/common/figures/palette.ts";
import { toPlotly } from "../../../backend/common/figures/plotly.ts";
import { escapeXml, scriptJson } from "../../../backend/common/figures/text.ts";
import { linearTicks, logTicks, niceStep, scale } from "../../../backend/reports/axis.ts";
import { toPng } from "../../../backend/reports/png.ts";
import { toSvg } from "../../../backend/reports/svg.ts";

const HEAT = PALETTES.light.heat;

const lines = (parts: Partial<LineFigure> = {}): LineFigure => ({
  kind: "lines",
  name: "a",
  title: "A",
  x: { title: "x" },
  y: { title: "y", range: [0, 1] },
  lines: [{ name: "first", x: [0, 10], y: [0, 1] }],
  ...parts,
});

const heatmap: HeatmapFigure = {
  kind: "heatmap",
  name: "h",
  title: "H",
  x: { title: "x", labels: ["a", "b"] },
  y: { title: "y", labels: ["r"] },
  z: [[0, 1]],
  scale: { title: "score", range: [0, 1] },
};

/** Attributes of the elements of a kind, in order. */
function elements(svg: string, name: string): Record<string, string>[] {
  return [...svg.matchAll(new RegExp(`<${name}((?: [\\w-]+="[^"]*")*)`, "g"))].map(([, text]) =>
    Object.fromEntries([...text!.matchAll(/ ([\w-]+)="([^"]*)"/g)].map(([, key, value]) => [key!, value!])),
  );
}

/** Corners of the plot's area. */
function area(svg: string): { left: number; top: number; right: number; bottom: number } {
  const [box] = elements(svg, "rect").filter((each) => each["class"] === "area");
  const [x, y, width, height] = ["x", "y", "width", "height"].map((key) => Number(box![key]));
  return { left: x!, top: y!, right: x! + width!, bottom: y! + height! };
}

/** Pixels of a PNG as resvg writes it: 8 bits a channel, RGBA, not interlaced. */
function pixels(png: Uint8Array): { width: number; height: number; at(x: number, y: number): number[] } {
  const bytes = Buffer.from(png);
  const data: Buffer[] = [];
  for (let at = 8; at < bytes.length; at += 12 + bytes.readUInt32BE(at))
    if (bytes.toString("latin1", at + 4, at + 8) === "IDAT")
      data.push(bytes.subarray(at + 8, at + 8 + bytes.readUInt32BE(at)));
  const [width, height] = [bytes.readUInt32BE(16), bytes.readUInt32BE(20)];
  expect([...bytes.subarray(24, 29)]).toEqual([8, 6, 0, 0, 0]);
  const raw = inflateSync(Buffer.concat(data));
  const stride = 4 * width;
  const out = Buffer.alloc(stride * height);
  for (let y = 0; y < height; y++) {
    const filter = raw[y * (stride + 1)]!;
    for (let i = 0; i < stride; i++) {
      const left = i < 4 ? 0 : out[y * stride + i - 4]!;
      const up = y === 0 ? 0 : out[(y - 1) * stride + i]!;
      const corner = i < 4 || y === 0 ? 0 : out[(y - 1) * stride + i - 4]!;
      const guess = left + up - corner;
      const [a, b, c] = [left, up, corner].map((value) => Math.abs(guess - value)) as [number, number, number];
      const paeth = a <= b && a <= c ? left : b <= c ? up : corner;
      const base = [0, left, up, (left + up) >> 1, paeth][filter]!;
      out[y * stride + i] = (raw[y * (stride + 1) + 1 + i]! + base) & 0xff;
    }
  }
  return { width, height, at: (x, y) => [...out.subarray(y * stride + 4 * x, y * stride + 4 * x + 3)] };
}

const rgb = (colour: string) => [1, 3, 5].map((at) => Number.parseInt(colour.slice(at, at + 2), 16));

describe("ticks", () => {
  test("stand at 1, 2 or 5 times a power of ten, whatever the range", () => {
    expect([0.7, 1, 1.01, 3, 7, 70, 0.003].map(niceStep)).toEqual([1, 1, 2, 5, 10, 100, 0.005]);
    expect(linearTicks([0, 1]).map((tick) => tick.label)).toEqual(["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
    expect(linearTicks([-3, 12]).map((tick) => tick.value)).toEqual([0, 5, 10]);
    expect(linearTicks([0.1, 0.3]).map((tick) => tick.label)).toEqual(["0.10", "0.15", "0.20", "0.25", "0.30"]);
    expect(linearTicks([0, 30_000]).map((tick) => tick.label)).toEqual([
      "0",
      "5,000",
      "10k",
      "15k",
      "20k",
      "25k",
      "30k",
    ]);
  });

  test("of a logarithmic axis stand at powers of ten, with strokes between; over little more than one, at 1, 2 and 5", () => {
    const wide = logTicks([1, 2000]);
    expect(wide.filter((tick) => tick.label).map((tick) => tick.label)).toEqual(["1", "10", "100", "1,000"]);
    expect(wide.filter((tick) => !tick.label)).toHaveLength(8 + 8 + 8 + 1);
    const narrow = logTicks([10, 300]).filter((tick) => tick.label);
    expect(narrow.map((tick) => tick.value)).toEqual([10, 20, 50, 100, 200]);
    expect(logTicks([0.001, 0.1]).flatMap((tick) => tick.label ?? [])).toEqual(["0.001", "0.01", "0.1"]);
  });

  test("axes put the ends of their domain on the ends of their pixels", () => {
    const linear = scale([0, 0.93], [100, 0]);
    expect([linear.domain, linear.at(0), linear.at(0.5), linear.at(1)]).toEqual([[0, 1], 100, 50, 0]);
    const log = scale([1, 100], [0, 200], { log: true });
    expect([log.at(1), log.at(10), log.at(100)].map((x) => Math.round(x * 1e9) / 1e9)).toEqual([0, 100, 200]);
    expect(scale([3, 3], [0, 1]).domain[0]).toBeLessThan(3);
    expect(() => scale([0, 1], [0, 1], { log: true })).toThrow(RangeError);
  });
});

describe("colours", () => {
  test("of lines differ until they come again dashed", () => {
    expect(new Set(Array.from({ length: 7 }, (_, n) => lineColour(PALETTES.light, n))).size).toBe(7);
    expect([lineColour(PALETTES.light, 7), isSecondRound(PALETTES.light, 6), isSecondRound(PALETTES.light, 7)]).toEqual(
      [lineColour(PALETTES.light, 0), false, true],
    );
  });

  test("of heatmaps run from the first to the last, darker all the way, and bear readable ink", () => {
    expect([colourAt(HEAT, 0), colourAt(HEAT, 0.5), colourAt(HEAT, 1), colourAt(HEAT, 7)]).toEqual([
      HEAT[0],
      HEAT[4],
      HEAT[8],
      HEAT[8],
    ]);
    const light = Array.from({ length: 21 }, (_, n) => rgb(colourAt(HEAT, n / 20))).map(
      ([r, g, b]) => 0.2126 * r! + 0.7152 * g! + 0.0722 * b!,
    );
    expect(light.every((value, n) => n === 0 || value < light[n - 1]!)).toBe(true);
    expect([inkOn(HEAT[0]), inkOn(HEAT[8])]).toEqual(["#000000", "#ffffff"]);
  });
});

describe("SVG of lines", () => {
  test("draws a line from corner to corner of its area", () => {
    const svg = toSvg(lines());
    const { left, top, right, bottom } = area(svg);
    const [path] = elements(svg, "path");
    expect(path).toMatchObject({
      d: `M${left} ${bottom}L${right} ${top}`,
      stroke: lineColour(PALETTES.light, 0),
      fill: "none",
    });
  });

  test("leaves out what a logarithmic axis cannot show and parts a line where a value is missing", () => {
    const figure = lines({
      x: { title: "step", log: true },
      lines: [{ name: "a", x: [0, 1, 10, 100, 1000, 10000], y: [0.5, 0, 0.1, null, 0.3, 1] }],
    });
    const svg = toSvg(figure);
    const { left, right, bottom, top } = area(svg);
    const [first, second] = elements(svg, "path").map((path) => path["d"]!);
    expect(first).toMatch(new RegExp(`^M${left} ${bottom}L`));
    expect(second).toMatch(new RegExp(`L${right} ${top}$`));
    expect([first, second].map((d) => d!.match(/[ML]/g)!.join(""))).toEqual(["ML", "ML"]);
  });

  test("draws the band between its edges, and marks with their words", () => {
    const svg = toSvg(
      lines({
        lines: [{ name: "a", x: [0, 10], y: [0.5, 0.5], band: { low: [0, 0], high: [1, 1] } }],
        marks: [
          { x: 5, label: "half" },
          { x: 99, label: "outside" },
        ],
      }),
    );
    const { left, top, right, bottom } = area(svg);
    const [band] = elements(svg, "path");
    // x = 99 widens the axis, so the band ends inside the area.
    const x = left + ((right - left) * 10) / 99;
    expect(band!["d"]).toBe(
      `M${left} ${bottom}L${Math.round(x * 100) / 100} ${bottom}L${Math.round(x * 100) / 100} ${top}L${left} ${top}Z`,
    );
    expect(svg).toContain(">half</text>");
  });

  test("draws an upright stroke over each interval, and widens the axis to them", () => {
    const whiskers = { low: [0, null], high: [1, 1] };
    const svg = toSvg(lines({ lines: [{ name: "a", x: [0, 10], y: [0.5, 0.5], points: true, whiskers }] }));
    const { left, top, bottom } = area(svg);
    const [stroke, ...others] = elements(svg, "line").filter((each) => each["stroke-opacity"] !== undefined);
    expect(others).toEqual([]);
    expect([stroke!["x1"], stroke!["x2"], stroke!["y1"], stroke!["y2"]].map(Number)).toEqual([left, left, bottom, top]);
  });

  test("shows the names of all lines, and text that is not markup", () => {
    const svg = toSvg(lines({ title: `<b> & "q" \u0007`, lines: [{ name: "a<b", x: [1], y: [1] }] }));
    expect(svg).toContain("&lt;b&gt; &amp; &quot;q&quot; \ufffd");
    expect(svg).toContain(">a&lt;b</text>");
    expect(elements(svg, "circle")).toHaveLength(1); // a line of one value is a point
  });
});

describe("SVG of a heatmap", () => {
  test("fills cells with the colours of their values, and grey where there is none", () => {
    const cells = elements(toSvg({ ...heatmap, z: [[0, null]] }), "rect").filter((each) => each["class"] === "cell");
    expect(cells.map((cell) => cell["fill"])).toEqual([HEAT[0], "#e4e4e4"]);
    expect(Number(cells[1]!["x"]) - Number(cells[0]!["x"])).toBeCloseTo(Number(cells[0]!["width"]) - 0.3, 1);
  });
});

describe("PNG", () => {
  test("shows cells in their colours, at twice the SVG's size", async () => {
    const svg = toSvg(heatmap);
    const [first, second] = elements(svg, "rect").filter((each) => each["class"] === "cell");
    const png = pixels(await toPng(svg));
    expect([png.width, png.height]).toEqual([1520, 880]);
    for (const [cell, colour] of [
      [first!, HEAT[0]],
      [second!, HEAT[8]],
    ] as const)
      expect(png.at(Math.round(2 * Number(cell["x"])) + 10, Math.round(2 * Number(cell["y"])) + 10)).toEqual(
        rgb(colour),
      );
    expect(png.at(3, 3)).toEqual([255, 255, 255]);
  });

  test("draws text with the bundled font", async () => {
    const inked = async (title: string) => {
      const png = pixels(await toPng(toSvg(lines({ title }))));
      let dark = 0;
      for (let y = 20; y < 60; y++) for (let x = 20; x < 800; x++) if (png.at(x, y)[0]! < 128) dark++;
      return dark;
    };
    const [dot, latin, greek] = [await inked("."), await inked("HHHH"), await inked("αβγε")];
    expect(dot).toBeGreaterThan(4);
    expect(latin).toBeGreaterThan(20 * dot);
    expect(greek).toBeGreaterThan(20 * dot);
  });
});

describe("plotly", () => {
  test("has a trace a line, its band below it, and the marks as shapes", () => {
    const { data, layout } = toPlotly(
      lines({
        x: { title: "step", log: true, range: [1, 1000] },
        lines: [{ name: "a", x: [1], y: [2], band: { low: [1], high: [3] }, dashed: true }],
        marks: [{ x: 7, label: "m" }],
      }),
      PALETTES.light,
    );
    expect(data.map((trace) => [trace["name"], trace["y"], trace["fill"]])).toEqual([
      [undefined, [1], undefined],
      [undefined, [3], "tonexty"],
      ["a", [2], undefined],
    ]);
    expect(data[2]).toMatchObject({ line: { dash: "dash", color: lineColour(PALETTES.light, 0) } });
    expect(layout["xaxis"]).toEqual({ title: { text: "step" }, type: "log", range: [0, 3] });
    expect(layout["shapes"]).toMatchObject([{ x0: 7, x1: 7 }]);
    expect(layout["annotations"]).toMatchObject([{ text: "m" }]);
  });

  test("has intervals as distances from the values", () => {
    const whiskers = { low: [1, null], high: [2.5, 4] };
    const { data } = toPlotly(lines({ lines: [{ name: "a", x: [1, 2], y: [2, 3], whiskers }] }), PALETTES.light);
    expect(data[0]).toMatchObject({ error_y: { array: [0.5, 1], arrayminus: [1, 0], symmetric: false } });
  });

  test("draws a heatmap's first row at the top", () => {
    const { data, layout } = toPlotly(heatmap, PALETTES.light);
    expect(data[0]).toMatchObject({ type: "heatmap", z: [[0, 1]], zmin: 0, zmax: 1 });
    expect(layout["yaxis"]).toMatchObject({ autorange: "reversed" });
  });
});

describe("text", () => {
  test("is escaped for XML and inside scripts", () => {
    expect(escapeXml(`<a b="c">'&\u0000\ud800x😀`)).toBe("&lt;a b=&quot;c&quot;&gt;&#39;&amp;\ufffd\ufffdx😀");
    const json = scriptJson({ text: "</script><!--\u2028" });
    expect(json).not.toMatch(/[<>\u2028]/);
    expect(JSON.parse(json)).toEqual({ text: "</script><!--\u2028" });
  });
});

test.each([
  ["a line with too few values", { ...lines(), lines: [{ name: "a", x: [1, 2], y: [1] }] }],
  ["a heatmap with too few rows", { ...heatmap, z: [] }],
  ["a name that is no file name", { ...lines(), name: "../a" }],
])("a figure is refused: %s", (_, figure) => {
  expect(figureSchema.safeParse(figure).success).toBe(false);
});
