import { describe, expect, it } from "vitest";
import { heat, heatStops } from "../../../frontend/src/colours.ts";
import { thinned } from "../../../frontend/src/components/matrix/axes.ts";
import { colourTable, keyOfBits, packed } from "../../../frontend/src/components/matrix/colourTable.ts";
import { CONTRASTS, contrastScale, place, ticks } from "../../../frontend/src/components/matrix/contrast.ts";
import { onKey, onWheel } from "../../../frontend/src/components/matrix/matrixInput.ts";
import { paintCells } from "../../../frontend/src/components/matrix/paint.ts";
import { Pyramid } from "../../../frontend/src/components/matrix/pyramid.ts";
import { cellAt, pan, reveal, seen, wholeViewport, zoom } from "../../../frontend/src/components/matrix/viewport.ts";

/** A causal pattern whose rows sum to one, rounded to half precision's 11 bits, as the server sends it. */
function causal(tokens: number): Float32Array {
  const pattern = new Float32Array(tokens * tokens);
  for (let query = 0; query < tokens; query++) {
    const raw = Array.from({ length: query + 1 }, (_, key) => Math.exp(4 * Math.sin(7 * query + 3 * key * key)));
    const sum = raw.reduce((a, b) => a + b);
    for (const [key, value] of raw.entries()) pattern[query * tokens + key] = rounded(value / sum);
  }
  return pattern;
}

function rounded(value: number): number {
  const unit = 2 ** (Math.floor(Math.log2(value)) - 10);
  return Math.round(value / unit) * unit;
}

const channels = (colour: number): number[] => [colour & 255, (colour >>> 8) & 255, (colour >>> 16) & 255];
/** The largest difference of a channel. */
function apart(pixel: number, colour: string): number {
  const wanted = channels(packed(colour));
  return Math.max(...channels(pixel).map((channel, c) => Math.abs(channel - wanted[c]!)));
}
const MASKED = { ground: packed("#eeeeee"), line: packed("#cccccc") };
const NONE = "#ff0000";

describe("colours of cells", () => {
  it("a pixel has the colour of the value under its centre, at any zoom, contrast and place", () => {
    const tokens = 37;
    const pattern = causal(tokens);
    const scale = contrastScale(pattern, tokens, tokens, 1);
    const side = 150;
    for (const contrast of CONTRASTS) {
      const placed = place(contrast, scale);
      const table = colourTable(placed, 1, heatStops(), NONE);
      for (const viewport of [
        { key: 0, query: 0, cell: side / tokens },
        { key: 3.7, query: 11.2, cell: 9.3 },
        { key: 20.25, query: 24.5, cell: 64 },
      ]) {
        const pixels = new Uint32Array(side * side);
        expect(
          paintCells(pixels, side, { pyramid: new Pyramid(pattern, tokens, tokens), viewport, table, masked: MASKED })
            .factor,
        ).toBe(1);
        for (let y = 0; y < side; y += 3)
          for (let x = 0; x < side; x++) {
            const key = Math.floor(viewport.key + (x + 0.5) / viewport.cell);
            const query = Math.floor(viewport.query + (y + 0.5) / viewport.cell);
            const pixel = pixels[y * side + x]!;
            if (query >= tokens || key >= tokens) expect(pixel).toBe(0);
            else if (key > query) expect([MASKED.ground, MASKED.line]).toContain(pixel);
            else expect(apart(pixel, heat(placed(pattern[query * tokens + key]!)))).toBeLessThanOrEqual(2);
          }
      }
    }
  });

  it("cells smaller than a pixel are shown by the largest of those that share it", () => {
    const tokens = 40;
    const pattern = causal(tokens);
    const side = 10;
    const pixels = new Uint32Array(side * side);
    const table = colourTable((value) => value, 1, heatStops(), NONE);
    const viewport = { key: 0, query: 0, cell: 0.25 };
    expect(
      paintCells(pixels, side, { pyramid: new Pyramid(pattern, tokens, tokens), viewport, table, masked: MASKED })
        .factor,
    ).toBe(4);
    for (let y = 0; y < side; y++)
      for (let x = 0; x <= y; x++) {
        const square = [0, 1, 2, 3].flatMap((dq) =>
          [0, 1, 2, 3].map((dk) => pattern[(4 * y + dq) * tokens + 4 * x + dk]!),
        );
        expect(apart(pixels[y * side + x]!, heat(Math.max(...square)))).toBeLessThanOrEqual(2);
      }
  });

  it("a sharp weight among 1,024 tokens stays visible with the whole matrix on 300 pixels", () => {
    const tokens = 1024;
    const pattern = new Float32Array(tokens * tokens);
    pattern[901 * tokens + 333] = 1;
    const pixels = new Uint32Array(300 * 300);
    const table = colourTable((value) => value, 1, heatStops(), NONE);
    const pyramid = new Pyramid(pattern, tokens, tokens);
    paintCells(pixels, 300, { pyramid, viewport: { key: 0, query: 0, cell: 300 / tokens }, table, masked: MASKED });
    expect([...pixels].filter((pixel) => pixel === packed(heat(1))).length).toBeGreaterThan(0);
  });

  it("single precision values are within 2 of 255 of their colour; NaN has one of its own, what lies above the scale its end", () => {
    const table = colourTable((value) => value, 1, heatStops(), NONE);
    const colourOf = (value: number): number =>
      table[keyOfBits(new Uint32Array(new Float32Array([value]).buffer)[0]!)]!;
    for (let i = 1; i < 4000; i++) {
      const value = (i * 0.7548776662466927) % 1;
      expect(apart(colourOf(value), heat(value))).toBeLessThanOrEqual(2);
    }
    expect(colourOf(Number.NaN)).toBe(packed(NONE));
    expect(colourOf(3)).toBe(packed(heat(1)));
    expect(colourOf(0)).toBe(packed(heat(0)));
    expect(packed("rgb(1, 2, 3)")).toBe(packed("#010203"));
  });
});

describe("contrast", () => {
  it("every contrast rises from 0 to 1 over the scale", () => {
    const scale = { low: 0, high: 2, knee: 0.01 };
    for (const contrast of CONTRASTS) {
      const placed = place(contrast, scale);
      expect(placed(0)).toBe(0);
      expect(placed(2)).toBe(1);
      expect(placed(5)).toBe(1);
      for (let value = 0.01; value < 2; value += 0.01) expect(placed(value + 0.01)).toBeGreaterThan(placed(value));
    }
    expect(place("log", scale)(0.2)).toBeCloseTo(0.75, 10); // four decades, one below the top
    expect(place("linear", scale)(0.5)).toBeCloseTo(0.25, 10);
  });

  it("the scale is that of what a query can see", () => {
    const pattern = Float32Array.of(0.5, 9, 0.25, 0.75);
    expect(contrastScale(pattern, 2, 2)).toEqual({ low: 0, high: 0.75, knee: 0.5 });
    expect(contrastScale(pattern, 2, 2, 1).high).toBe(1);
    expect(contrastScale(new Float32Array(4), 2, 2).high).toBe(1);
  });

  it("ticks rise and end at the top of the scale", () => {
    for (const contrast of CONTRASTS)
      for (const knee of [1e-4, 0.01, 0.3]) {
        const list = ticks(contrast, { low: 0, high: 1, knee });
        expect(list).toEqual([...list].sort((a, b) => a - b));
        expect(list.at(-1)).toBe(1);
      }
  });
});

describe("what is seen of a matrix", () => {
  const frame = { size: 600, queries: 100, keys: 100 };

  it("zooming keeps the place under the pointer", () => {
    const before = zoom(wholeViewport(frame), 4, { x: 250, y: 130 }, frame);
    const after = zoom(before, 1.7, { x: 401, y: 333 }, frame);
    expect(before.key + 401 / before.cell).toBeCloseTo(after.key + 401 / after.cell, 10);
    expect(before.query + 333 / before.cell).toBeCloseTo(after.query + 333 / after.cell, 10);
  });

  it("the view never leaves the matrix, and shows all of it at least", () => {
    let viewport = zoom(wholeViewport(frame), 3, { x: 0, y: 0 }, frame);
    viewport = pan(viewport, 5000, -5000, frame);
    expect(viewport).toEqual({ key: 0, query: 100 - 600 / 18, cell: 18 });
    expect(zoom(viewport, 0.01, { x: 300, y: 300 }, frame)).toEqual(wholeViewport(frame));
    expect(seen(viewport.query, viewport.cell, 600, 100)).toEqual([66, 100]);
  });

  it("the cell under a pixel is found, and none outside", () => {
    expect(cellAt(wholeViewport(frame), 0, 599, frame)).toEqual({ query: 99, key: 0 });
    expect(cellAt(wholeViewport(frame), 600, 10, frame)).toBeUndefined();
    expect(cellAt({ key: 0, query: 0, cell: 6 }, 500, 500, { size: 600, queries: 50, keys: 50 })).toBeUndefined();
  });

  it("moves just so far that a cell is seen", () => {
    const viewport = { key: 10, query: 10, cell: 30 };
    expect(reveal(viewport, { query: 12, key: 29 }, frame)).toEqual(viewport);
    expect(reveal(viewport, { query: 5, key: 30 }, frame)).toEqual({ key: 11, query: 5, cell: 30 });
  });

  it("labels are far enough apart, at round positions, and every one where there is room", () => {
    const ticks = thinned({ start: 0, cell: 0.6, size: 600, count: 1000 }, 13);
    expect(ticks.map(({ index }) => index)).toEqual(Array.from({ length: 20 }, (_, i) => 50 * i));
    expect(ticks[1]!.at).toBeCloseTo(50.5 * 0.6, 10);
    expect(thinned({ start: 2.5, cell: 60, size: 600, count: 100 }, 13).map(({ index }) => index)).toEqual([
      2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,
    ]);
  });
});

describe("keys and wheel", () => {
  const frame = { size: 400, queries: 40, keys: 40 };
  const state = { viewport: wholeViewport(frame), cell: { query: 5, key: 5 }, locked: undefined };
  const press = (from: Parameters<typeof onKey>[0], key: string, shiftKey = false) =>
    onKey(from, { key, shiftKey }, frame);

  it("arrows read the next cell and stop at the ends, Enter keeps and Escape lets go", () => {
    expect(press(state, "ArrowDown")?.cell).toEqual({ query: 6, key: 5 });
    expect(press({ ...state, cell: { query: 0, key: 0 } }, "ArrowLeft")?.cell).toEqual({ query: 0, key: 0 });
    const kept = press(state, "Enter")!;
    expect(kept.locked).toEqual(state.cell);
    expect(press(kept, "Enter")?.locked).toBeUndefined();
    expect(press(kept, "Escape")).toMatchObject({ cell: undefined, locked: undefined });
    expect(press({ ...state, cell: undefined }, "Escape")).toBeUndefined();
    expect(press(state, "x")).toBeUndefined();
  });

  it("plus zooms at the cell that is read, 0 shows everything, Shift with arrows moves", () => {
    const near = press(state, "+")!;
    expect(near.viewport.cell).toBeCloseTo(13, 10);
    expect((5.5 - near.viewport.key) * near.viewport.cell).toBeCloseTo(55, 10);
    expect(press(near, "ArrowRight", true)!.viewport.key).toBeGreaterThan(near.viewport.key);
    expect(press(near, "0")!.viewport).toEqual(wholeViewport(frame));
  });

  it("the page may scroll where there is nothing to zoom out of", () => {
    expect(onWheel(wholeViewport(frame), 100, { x: 10, y: 10 }, frame)).toBeUndefined();
    expect(onWheel(wholeViewport(frame), -100, { x: 10, y: 10 }, frame)!.cell).toBeGreaterThan(10);
  });
});
