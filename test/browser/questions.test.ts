import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { chromiumPath, launchBrowser, watchedPage } from "../helpers/browser.ts";
import { buildAll } from "../helpers/cli.ts";
import { Held } from "../helpers/processes/held.ts";
import { patiently } from "../helpers/runner/patience.ts";
import { type Serving, startServing } from "../helpers/servers/serving.ts";

/** Milliseconds for what a loaded machine may take. */
const STORY = patiently(300_000);
const MODEL = "toy-induction";

describe.skipIf(chromiumPath === undefined)("numbers stand under their question alone", () => {
  let home = "";
  let serving: Serving;
  let browser: Browser;
  let page: Page;

  beforeAll(async () => {
    await buildAll();
    home = mkdtempSync(join(tmpdir(), "headscope-questions-"));
    serving = await startServing(home);
    browser = await launchBrowser();
    page = (await watchedPage(browser, serving)).page;
  });
  afterAll(async () => {
    await browser?.close();
    await serving?.stop();
    rmSync(home, { recursive: true, force: true });
  });

  const open = (path: string) => page.goto(`${serving.url}${path}`);
  const stale = () => page.locator("[data-stale]").first();
  const places = () => page.getByRole("region", { name: "Strongest places", exact: true }).locator("tbody");

  test(
    "a patching of another pair is given up and never shown as the present one's",
    async () => {
      await open(`/patching?model=${MODEL}`);
      await places().waitFor();
      const before = await places().textContent();
      const held = new Held(page, "/api/patch");
      await held.begin();
      const example = page.getByLabel("Example");
      await example.selectOption({ index: 2 });
      await held.asked(1);
      await stale().waitFor();
      expect(await places().textContent()).toBe(before);
      // Back to the first pair: its answer is known still. Then to the other again.
      await example.selectOption({ index: 1 });
      await stale().waitFor({ state: "detached" });
      expect(await places().textContent()).toBe(before);
      await example.selectOption({ index: 2 });
      await held.asked(2);
      await held.release(0);
      await stale().waitFor();
      await held.release(1);
      await held.end();
      await stale().waitFor({ state: "detached" });
      expect(await places().textContent()).not.toBe(before);
    },
    STORY,
  );

  test(
    "the losses of the text before are dimmed and labelled while another text is read, and the held token is let go",
    async () => {
      await open(`/ablation?model=${MODEL}&heads=1.1`);
      const loss = page.getByRole("region", { name: "Loss on your text", exact: true });
      await loss.getByText(/Taking them out/).waitFor();
      const token = loss.getByRole("option").nth(3);
      await token.click();
      await loss.locator('[aria-selected="true"]').waitFor();
      const held = new Held(page, "/api/prompts");
      await held.begin();
      const box = page.getByRole("textbox", { name: /Token ids|Your text/ });
      await box.fill(`${await box.inputValue()} 5`);
      await box.press("Tab");
      await held.asked(1);
      await loss.locator("[data-stale]").waitFor();
      expect(await loss.locator("[data-stale]").textContent()).toContain("of the text before");
      expect(await loss.locator('[aria-selected="true"]').count()).toBe(0);
      await held.release(0);
      await held.end();
      await loss.locator("[data-stale]").waitFor({ state: "detached" });
      await loss.getByText(/Taking them out/).waitFor();
    },
    STORY,
  );

  test(
    "what failed while the server was away is asked again when it is back, without a click",
    async () => {
      await open(`/attention?model=${MODEL}&head=1.1`);
      await page.getByRole("application").waitFor();
      const { port } = new URL(serving.url);
      await serving.stop();
      const box = page.getByRole("textbox", { name: /Token ids|Your text/ });
      await box.fill("0 4 8 15 16 23 4 8 15");
      await box.press("Tab");
      await page.getByText("the headscope server does not answer").first().waitFor();
      serving = await startServing(home, ["--port", port]);
      await page.getByText("the headscope server does not answer").first().waitFor({ state: "detached" });
      await page.getByRole("application", { name: /9 queries by 9 keys/ }).waitFor();
      expect(await stale().count()).toBe(0);
    },
    STORY,
  );
});
