import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { colourAt, PALETTES } from "../../backend/common/figures/palette.ts";
import { forward } from "../../backend/models/forward/forward.ts";
import { loadModel } from "../../backend/models/load.ts";
import { chromiumPath, launchBrowser, watchedPage } from "../helpers/browser.ts";
import { buildAll } from "../helpers/cli.ts";
import { type Serving, startServing } from "../helpers/servers/serving.ts";

/** viridis (van der Walt and Smith 2015) at nine even steps, which pages on dark ground draw with. */
const VIRIDIS = ["#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725"];
const THEMES = {
  light: (value: number): number[] => channels(colourAt(PALETTES.light.heat, value)),
  dark: (value: number): number[] => {
    const place = value * (VIRIDIS.length - 1);
    const step = Math.min(VIRIDIS.length - 2, Math.floor(place));
    const [low, high] = [channels(VIRIDIS[step]!), channels(VIRIDIS[step + 1]!)];
    return low.map((from, c) => from + (high[c]! - from) * (place - step));
  },
};
const IDS = [0, 3, 1, 4, 1, 5, 9, 2, 6, 3, 1, 4, 1, 5, 9, 2];

describe.skipIf(chromiumPath === undefined)("the attention matrix", () => {
  let home = "";
  let serving: Serving;
  let browser: Browser;
  const pages = new Map<keyof typeof THEMES, Page>();
  let patterns: number[][][][];

  beforeAll(async () => {
    await buildAll();
    home = mkdtempSync(join(tmpdir(), "headscope-matrix-"));
    serving = await startServing(home);
    browser = await launchBrowser();
    for (const theme of ["light", "dark"] as const)
      pages.set(theme, (await watchedPage(browser, { entry: serving.entry, theme })).page);
    const model = await loadModel("toy-induction");
    const names = [0, 1].map((layer) => `blocks.${layer}.attn.hook_pattern`);
    const run = forward(model, { tokens: [IDS] }, { names });
    patterns = names.map((name) => (run.activations.get(name)!.arraySync() as number[][][][])[0]!);
    run.dispose();
    model.dispose();
  });
  afterAll(async () => {
    await browser?.close();
    await serving?.stop();
    rmSync(home, { recursive: true, force: true });
  });

  /** The colours at the centres of cells (query, key) that are seen, and where they are. */
  async function pixels(page: Page): Promise<{ query: number; key: number; rgb: number[] }[]> {
    const canvas = page.locator("canvas[data-cell]").first();
    await canvas.waitFor();
    return canvas.evaluate((element) => {
      const sheet = element as HTMLCanvasElement;
      const [key0, key1] = sheet.dataset["visibleKeys"]!.split(" ").map(Number) as [number, number];
      const [query0, query1] = sheet.dataset["visibleQueries"]!.split(" ").map(Number) as [number, number];
      const cell = (Number(sheet.dataset["cell"]) * sheet.width) / sheet.clientWidth;
      const context = sheet.getContext("2d")!;
      const found = [];
      for (let query = Math.ceil(query0); query < Math.floor(query1); query++)
        for (let key = Math.ceil(key0); key < Math.floor(key1) && key <= query; key++) {
          const [x, y] = [(key + 0.5 - key0) * cell, (query + 0.5 - query0) * cell];
          found.push({
            query,
            key,
            rgb: [...context.getImageData(Math.floor(x), Math.floor(y), 1, 1).data].slice(0, 3),
          });
        }
      return found;
    });
  }

  function expectColours(
    seen: Awaited<ReturnType<typeof pixels>>,
    pattern: number[][],
    colour: (value: number) => number[],
  ): void {
    for (const { query, key, rgb } of seen) {
      const wanted = colour(pattern[query]![key]!);
      const off = Math.max(...rgb.map((channel, c) => Math.abs(channel - wanted[c]!)));
      expect(off, `query ${query}, key ${key}: ${rgb} for ${pattern[query]![key]}`).toBeLessThanOrEqual(2);
    }
  }

  test.each([
    ["0.0", "light"],
    ["1.0", "light"],
    ["1.0", "dark"],
  ] as const)("each cell of head %s has the colour of its value on %s ground, also zoomed in", async (head, theme) => {
    const page = pages.get(theme)!;
    const [layer, column] = head.split(".").map(Number) as [number, number];
    const query = new URLSearchParams({ model: "toy-induction", text: IDS.join(" "), head });
    await page.goto(`${serving.url}/attention?${query}`);
    const whole = await pixels(page);
    expect(whole).toHaveLength((IDS.length * (IDS.length + 1)) / 2);
    expectColours(whole, patterns[layer]![column]!, THEMES[theme]);

    const cells = page.locator(".cells").first();
    await cells.scrollIntoViewIfNeeded();
    await cells.focus();
    for (let i = 0; i < 4; i++) await page.keyboard.press("+");
    const zoomed = await pixels(page);
    expect(zoomed.length).toBeLessThan(whole.length);
    expect(zoomed.length).toBeGreaterThan(0);
    expectColours(zoomed, patterns[layer]![column]!, THEMES[theme]);
  });
});

/** Red, green and blue of #rrggbb. */
function channels(colour: string): number[] {
  return [1, 3, 5].map((at) => Number.parseInt(colour.slice(at, at + 2), 16));
}
