import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { PAGES } from "../../frontend/src/state/pages.ts";
import { chromiumPath, launchBrowser, type WatchedPage, watchedPage } from "../helpers/browser.ts";
import { buildAll } from "../helpers/cli.ts";
import { patiently } from "../helpers/runner/patience.ts";
import { type Serving, startServing } from "../helpers/servers/serving.ts";

const MODEL = "model=toy-induction&second=toy-induction&text=0+3+1+4+1+5+9+2+6+3+1+4+1+5";

describe.skipIf(chromiumPath === undefined)("at 200 % zoom, 640 pixels wide,", () => {
  let home = "";
  let serving: Serving;
  let browser: Browser;
  let watched: WatchedPage;

  beforeAll(async () => {
    await buildAll();
    home = mkdtempSync(join(tmpdir(), "headscope-narrow-"));
    serving = await startServing(home);
    browser = await launchBrowser();
    const { entry } = serving;
    watched = await watchedPage(browser, { entry, width: 640, height: 450 });
    const scored = await watched.page.request.post(`${serving.url}/api/jobs`, {
      data: { kind: "probe", model: "toy-induction", probes: [{ name: "induction" }] },
    });
    expect(scored.ok(), await scored.text()).toBe(true);
  });
  afterAll(async () => {
    await browser?.close();
    await serving?.stop();
    rmSync(home, { recursive: true, force: true });
  });

  const width = (): Promise<number> => watched.page.evaluate(() => document.documentElement.scrollWidth);

  /** Choices that reach beyond their card, which would hide a part of them. */
  const cutOff = (): Promise<(string | null)[]> =>
    watched.page.evaluate(() =>
      [...document.querySelectorAll(".card fieldset")]
        .filter((each) => {
          const edge = each.closest(".card")!.getBoundingClientRect().right;
          return each.getBoundingClientRect().right > edge;
        })
        .map(({ textContent }) => textContent),
    );

  test.each(PAGES.map(({ path }) => path.slice(1)))("/%s fits, also with the card of a head open", async (name) => {
    const { page } = watched;
    for (const card of ["", "&head=1.0&cards=heads,ablation,patching"]) {
      await page.goto(`${serving.url}/${name}?${MODEL}${card}`);
      await page.locator("h1").first().waitFor();
      await watched.loaded();
      expect(await width()).toBeLessThanOrEqual(640);
      expect(await cutOff()).toEqual([]);
    }
    expect(watched.complaints).toEqual([]);
  });

  test("a panel of a button at the left edge lies on the page's content, beside its button", async () => {
    const { page } = watched;
    await page.setViewportSize({ width: 1280, height: 800 });
    await page.goto(`${serving.url}/ablation?${MODEL}`);
    const buttons = page.locator("main button[popovertarget]");
    await buttons.first().waitFor();
    const left = await page.locator("main").evaluate((main) => main.getBoundingClientRect().left);
    for (const button of await buttons.all()) {
      if (!(await button.isVisible())) continue;
      await button.click();
      const panel = await page.locator("[popover]:popover-open").boundingBox();
      const own = (await button.boundingBox())!;
      expect(panel!.x).toBeGreaterThanOrEqual(left);
      expect(panel!.x + panel!.width).toBeLessThanOrEqual(1280);
      const apart = panel!.y >= own.y + own.height - 1 || panel!.y + panel!.height <= own.y + 1;
      expect(apart).toBe(true);
      await page.keyboard.press("Escape");
    }
  });

  test("at 1280 pixels the values of compared runs are seen at once, and on narrower pages within reach", async () => {
    const { page } = watched;
    await page.setViewportSize({ width: 1280, height: 800 });
    const trained = await page.request.post(`${serving.url}/api/runs`, {
      data: { task: "induction", params: { steps: 2, points: 2, d_model: 16, n_heads: 2 }, seeds: [0, 1, 2, 3, 4, 5] },
    });
    expect(trained.ok(), await trained.text()).toBe(true);
    const { runs } = (await trained.json()) as { runs: { id: string }[] };
    const statuses = async (): Promise<string[]> => {
      const all = (await (await page.request.get(`${serving.url}/api/runs`)).json()) as { status: string }[];
      return all.map(({ status }) => status);
    };
    await expect.poll(statuses, { timeout: patiently(120_000) }).toEqual(runs.map(() => "done"));
    for (const [count, wide] of [
      [1, 1280],
      [2, 1280],
      [runs.length, 1280],
      [runs.length, 640],
    ] as const) {
      await page.setViewportSize({ width: wide, height: 800 });
      const shown = runs.slice(0, count).map(({ id }) => id);
      await page.goto(`${serving.url}/training?runs=${shown.join(",")}`);
      const values = page.getByRole("region", { name: count === 1 ? "Values" : "Values compared", exact: true });
      const table = values.getByRole("region", { name: "Metric by run" });
      await table.getByRole("columnheader", { name: shown.at(-1)! }).waitFor();
      await table.getByRole("rowheader", { name: "induction, best head", exact: true }).waitFor();
      const { hidden, overflow, edges } = await table.evaluate((region) => {
        const hidden = region.scrollWidth - region.clientWidth;
        const { overflowX: overflow } = getComputedStyle(region);
        region.scrollLeft = hidden;
        const side = (of: Element): DOMRect => of.getBoundingClientRect();
        const [name, last] = ["th", "td:last-child"].map((cell) => side(region.querySelector(`tbody ${cell}`)!));
        const card = side(region.closest(".card")!);
        return { hidden, overflow, edges: [card.left, name!.left, name!.right, last!.right, card.right, innerWidth] };
      });
      // What is wider than its card scrolls there, and the names stay.
      if (wide === 1280) expect(hidden).toBe(0);
      else expect(hidden).toBeGreaterThan(0);
      expect(overflow).toBe("auto");
      expect(edges).toEqual(edges.toSorted((a, b) => a - b));
      expect(await width()).toBeLessThanOrEqual(wide);
    }
    expect(watched.complaints).toEqual([]);
  });

  test("an address of no page says so", async () => {
    const { page } = watched;
    await page.goto(`${serving.url}/nonsense`);
    await page.getByRole("heading", { name: /no such page/i }).waitFor();
  });
});
