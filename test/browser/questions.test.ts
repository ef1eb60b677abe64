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
import { seriousViolations } from "./accessibility.ts";
import { linesInTerminal, shownCommand } from "./commands.ts";

/** Milliseconds for what a loaded machine may take. */
const STORY = patiently(300_000);
const MODEL = "toy-induction";
// 7 comes again, and what came after it is next: 9.
const PAIR = { clean: [0, 20, 7, 9, 33, 41, 52, 7], corrupt: [0, 20, 61, 9, 33, 41, 52, 7], answer: 9, wrong: 33 };

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
    "heads coloured by a text are those of its command, dimmed while another text is read, and never the other's",
    async () => {
      const question = encodeURIComponent(JSON.stringify([PAIR]));
      const text = PAIR.clean.join("+");
      await open(`/heads?model=${MODEL}&metric=text%23direct-effect&pairs=${question}&text=${text}`);
      const grid = page.getByRole("grid").first();
      const value = async (head: string) =>
        Number(
          /: ([^,]+),/.exec(
            (await grid.getByRole("gridcell", { name: `head ${head}:` }).getAttribute("aria-label"))!,
          )![1],
        );
      const card = page.getByRole("region", { name: "Grid of heads", exact: true });
      await card.getByText("10.000").first().waitFor();
      const { parts } = await linesInTerminal<{ parts: { heads: number[][] } }>(
        await shownCommand(page, "Grid of heads"),
        home,
      );
      expect(await value("1.1")).toBeCloseTo(parts.heads[1]![1]!, 2);
      expect(await seriousViolations(page)).toEqual([]);

      // A pattern of one's own: the first 7 is all that the last one looks at.
      await page.getByLabel("Colour by").selectOption({ label: "attention along your pattern" });
      await page.getByLabel(/^Pattern:/).fill("[[7, 3]]");
      await page.getByLabel(/^Pattern:/).press("Tab");
      await expect.poll(() => value("1.1"), { timeout: patiently(20_000) }).toBeCloseTo(1, 1);
      const { metrics } = await linesInTerminal<{ metrics: { pattern: { values: number[][] } } }>(
        await shownCommand(page, "Grid of heads"),
        home,
      );
      expect(await value("1.1")).toBeCloseTo(metrics.pattern.values[1]![1]!, 2);

      // Another text, whose scores are late: the ones before are dimmed, out of reach, and select nothing.
      const held = new Held(page, "/api/text-scores");
      await held.begin();
      const box = page.getByRole("textbox", { name: /Token ids/ });
      await box.fill("0 20 7 9 33 41 52 7 11 12");
      await box.press("Tab");
      await held.asked(1);
      await card.locator("[data-stale]").waitFor();
      expect(await card.locator("[data-stale]").textContent()).toContain("of the text before");
      const found = page.getByRole("region", { name: "Find heads", exact: true });
      await found.getByText("No head passes the filters").waitFor();
      await held.release(0);
      await held.end();
      await card.locator("[data-stale]").waitFor({ state: "detached" });
      expect(page.url()).toContain("pattern=");
    },
    STORY,
  );

  test(
    "an ablation's verdict, its control and its command are over the part that is asked",
    async () => {
      // The answer is held against the wrong one, as a link from the Patching page has it.
      const pairs = encodeURIComponent(JSON.stringify([PAIR]));
      await open(`/patching?model=${MODEL}&pairs=${pairs}&heads=1.1`);
      await places().waitFor();
      const links = page.getByRole("navigation", { name: "This question on other pages" });
      await links.getByRole("link", { name: "Ablation" }).click();
      const loss = page.getByRole("region", { name: "Loss on your text", exact: true });
      await loss.getByText(/outside the control's range, below it/).waitFor();
      const verdict = async (metric: string) => {
        await loss.getByText(new RegExp(`Taking them out (raises|lowers) the ${metric}`)).waitFor();
        const { part } = await linesInTerminal<{ part: { clean: number; ablated: number; control: { mean: number } } }>(
          await shownCommand(page, "Loss on your text"),
          home,
        );
        const words = (await loss.textContent())!.replaceAll("−", "-");
        for (const shown of [part.clean, part.ablated, part.control.mean]) expect(words).toContain(shown.toFixed(3));
        return part;
      };
      expect(await verdict("logit difference")).toMatchObject({ over: "answer", metric: "logit-diff" });
      await loss.getByLabel("Metric").selectOption("kl");
      expect(await verdict("KL divergence")).toMatchObject({ over: "answer", metric: "kl" });
      await loss.getByLabel("Over").selectOption("repeated");
      expect(await verdict("loss on the repeated tokens")).toMatchObject({ over: "repeated" });
      expect(await seriousViolations(page)).toEqual([]);
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
