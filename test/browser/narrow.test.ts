import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { chromiumPath, launchBrowser, type WatchedPage, watchedPage } from "../helpers/browser.ts";
import { buildAll } from "../helpers/cli.ts";
import { type Serving, startServing } from "../helpers/servers/serving.ts";

const PAGES = ["", "heads", "compare", "attention", "ablation", "patching", "inference", "training", "experiments"];
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

  test.each(PAGES)("/%s fits, also with the card of a head open", async (name) => {
    const { page } = watched;
    for (const card of ["", "&head=1.0&cards=heads,ablation,patching"]) {
      await page.goto(`${serving.url}/${name}?${MODEL}${card}`);
      await page.locator("h1").first().waitFor();
      // The stream of events never ends, so that the network is never idle; what waits for the server says so.
      await page.waitForTimeout(500);
      await expect.poll(() => page.locator('[aria-busy="true"]').count()).toBe(0);
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

  test("an address of no page says so", async () => {
    const { page } = watched;
    await page.goto(`${serving.url}/nonsense`);
    await page.getByRole("heading", { name: /no such page/i }).waitFor();
  });
});
