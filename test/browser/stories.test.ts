import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser, Download, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { chromiumPath, launchBrowser, type WatchedPage, watchedPage } from "../helpers/browser.ts";
import { buildAll, ROOT } from "../helpers/cli.ts";
import { patiently } from "../helpers/runner/patience.ts";
import { type Serving, startServing } from "../helpers/servers/serving.ts";
import { havePulled } from "../helpers/smollm2.ts";
import { seriousViolations } from "./accessibility.ts";
import { inTerminal as inShell, shownCommand } from "./commands.ts";

const SHOTS = join(ROOT, "headscope-out/screenshots");
const SENTENCE =
  "Florquin Bezzard met Ostwick Pell beside the mill. Nobody knew why Florquin Bezzard met Ostwick Pell beside the mill";
/** Milliseconds for what a loaded machine may take. */
const STORY = patiently(300_000);

describe.skipIf(chromiumPath === undefined)("from a cold start, in a browser", () => {
  let home = "";
  let serving: Serving;
  let browser: Browser;
  let watched: WatchedPage;
  let page: Page;

  beforeAll(async () => {
    await buildAll();
    mkdirSync(SHOTS, { recursive: true });
    home = mkdtempSync(join(tmpdir(), "headscope-story-"));
    serving = await startServing(home);
    browser = await launchBrowser();
    watched = await watchedPage(browser, { entry: serving.entry });
    page = watched.page;
  });
  afterAll(async () => {
    await browser?.close();
    const code = await serving?.stop();
    rmSync(home, { recursive: true, force: true });
    expect(code, "the server ends well").toBe(0);
  });

  const shot = (name: string) => page.screenshot({ path: join(SHOTS, `${name}.png`), fullPage: true });
  const card = (title: string) => page.getByRole("region", { name: title, exact: true });
  const open = async (path: string): Promise<void> => {
    await page.goto(`${serving.url}${path}`);
    await page.getByRole("heading", { level: 1 }).waitFor();
  };

  const commandOf = (title: string) => shownCommand(page, title);
  /** Runs a command line of a page in the terminal, on the data folder of the story. */
  const inTerminal = (line: string) => inShell<Record<string, never>>(line, home);

  test.skipIf(!havePulled)(
    "find the heads of SmolLM2 that copy, prove it, and leave with a file",
    async () => {
      await open("/");
      await page.getByRole("button", { name: "Score the heads" }).click();
      await page.getByText(/files of scores/).waitFor();
      await shot("home-scored");
      await page.getByRole("link", { name: "Grid of all heads" }).click();

      // Find them: the grid, the top eight, and the card of the best.
      await page.getByLabel("Colour by").selectOption({ label: "induction" });
      const top = page.getByRole("slider", { name: "Select the top" });
      await top.focus();
      for (let i = 0; i < 8; i++) await top.press("ArrowRight");
      await expect.poll(() => card("Selection").textContent()).toMatch(/8\s+of 270 heads/);
      const probed = (await inTerminal(await commandOf("Grid of heads"))) as unknown as Scores;
      const value = probed.metrics.induction.values[18]![6]!;
      expect(await page.locator('[data-head="18.6"]').first().getAttribute("aria-label")).toContain(value.toFixed(3));
      const best = await card("Find heads").getByRole("listitem").first().textContent();
      expect(best).toContain("18.6");
      await page.locator('[data-head="18.6"]').first().click();
      const about = page.getByRole("complementary", { name: "Head 18.6" });
      await about.getByLabel("Your text").fill(SENTENCE);
      await about.getByLabel("Your text").press("Control+Enter");
      await about
        .getByText(/1\s*of 270/)
        .first()
        .waitFor();
      await about.locator("canvas").first().waitFor();
      await shot("heads");

      // Prove it on one's own sentence, against other heads.
      await page.getByRole("link", { name: "Ablate them" }).click();
      await page.getByText(/outside the control/).waitFor();
      const measured = await card("Loss on your text").textContent();
      await shot("ablation");
      const command = await commandOf("Loss on your text");
      const again = (await inTerminal(command)) as unknown as { clean: { loss: number }; ablated: { loss: number } };
      expect(measured).toContain(again.clean.loss.toFixed(3));
      expect(measured).toContain(again.ablated.loss.toFixed(3));
      expect(again.ablated.loss).toBeGreaterThan(again.clean.loss + 0.2);

      // Undo takes the sentence's selection apart step by step, redo brings it back.
      const address = page.url();
      await page.getByRole("button", { name: /^Undo/ }).click();
      expect(page.url()).not.toBe(address);
      await page.getByRole("button", { name: /^Redo/ }).click();
      expect(page.url()).toBe(address);

      // Leave with a file that makes another engine use less memory.
      await page.getByRole("link", { name: "Inference", exact: true }).click();
      await page.getByText("of 90 KV heads keep everything").waitFor();
      const marks = await card("Mask")
        .locator("[data-head]")
        .evaluateAll((all) => all.map((each) => each.ariaLabel!));
      const mask = (await inTerminal(await commandOf("Mask"))) as unknown as { kvHeads: string[][] };
      expect(marks.map((words) => words.endsWith("keeps everything"))).toEqual(
        mask.kvHeads.flat().map((kept) => kept === "retrieval"),
      );
      await page.getByRole("radio", { name: "Selected heads", exact: true }).check({ force: true });
      await page.getByText("of 90 KV heads keep everything").waitFor();
      await page.getByRole("button", { name: "Export", exact: true }).click();
      const file = page.getByRole("figure").filter({ hasText: "full_attention_heads.tsv" });
      const link = file.getByRole("link", { name: "Download" });
      const [download] = await Promise.all([page.waitForEvent("download"), link.click()]);
      await shot("inference");
      const rows = (await textOf(download))
        .trim()
        .split("\n")
        .map((row) => row.split(/\s+/).map(Number));
      expect(rows).toHaveLength(30);
      expect(rows.every((row) => row.length === 3)).toBe(true);
      // Query heads 6 to 8 of layer 18 read KV head 2.
      expect(rows[18]![2]).toBe(1);
      const kept = rows.flat().reduce((sum, each) => sum + each, 0);
      expect(kept).toBeGreaterThan(0);
      expect(kept).toBeLessThanOrEqual(8);
      expect(watched.complaints).toEqual([]);
    },
    STORY,
  );

  test(
    "watch a toy model learn",
    async () => {
      await open("/training");
      await page.getByRole("button", { name: "New run" }).first().click();
      await page.locator("summary").filter({ hasText: "Training" }).click();
      await page.getByLabel("steps", { exact: true }).fill("40");
      await page.getByLabel("batch", { exact: true }).fill("8");
      await page.getByRole("button", { name: /^(Train|Start)/ }).click();
      await card("Losses").locator(".js-plotly-plot").waitFor();
      await expect.poll(() => card("Runs").textContent(), { timeout: patiently(120_000) }).toMatch(/seed 0, 40 steps/);
      await shot("training");
      const slider = page.getByRole("slider", { name: "Checkpoint at step" });
      await slider.focus();
      await slider.press("Home");
      const first = await page.getByRole("grid", { name: /induction at step/ }).getAttribute("aria-label");
      await slider.press("End");
      await expect
        .poll(() => page.getByRole("grid", { name: /induction at step/ }).getAttribute("aria-label"))
        .not.toBe(first);
      await page.getByRole("link", { name: "Heads", exact: true }).last().click();
      await page.locator("[data-head]").first().waitFor();
      await shot("heads-of-a-run");
      expect(watched.complaints).toEqual([]);
    },
    STORY,
  );

  test("a browser without the token is told how to get in, and comes to the view that it asked for", async () => {
    const context = await browser.newContext();
    const stranger = await context.newPage();
    await stranger.goto(`${serving.url}/heads?model=toy-induction`);
    const field = stranger.getByLabel(/Or paste that address/);
    await field.waitFor();
    expect(await seriousViolations(stranger)).toEqual([]);
    await field.fill(serving.entry);
    await field.press("Enter");
    await stranger.locator("[data-head], .empty").first().waitFor();
    expect(stranger.url()).toBe(`${serving.url}/heads?model=toy-induction`);
    await context.close();
  });

  test.each(["light", "dark"] as const)(
    "every page passes axe in the %s theme, and says nothing wrong",
    async (theme) => {
      const {
        page: other,
        complaints,
        loaded,
      } = await watchedPage(browser, {
        entry: serving.entry,
        theme,
        width: 1920,
        height: 1080,
      });
      const found: string[] = [];
      for (const path of [
        "",
        "heads?head=0.1",
        "compare?second=toy-induction",
        "attention",
        "ablation?heads=0.1",
        "patching",
        "circuits",
        "inference",
        "training",
        "experiments",
      ]) {
        await other.goto(`${serving.url}/${path}${path.includes("?") ? "&" : "?"}model=toy-induction`);
        await other.getByRole("heading", { level: 1 }).waitFor();
        await loaded();
        found.push(...(await seriousViolations(other)).map((each) => `/${path} ${each}`));
        await other.screenshot({ path: join(SHOTS, `${path.split("?")[0] || "home"}-${theme}.png`), fullPage: true });
      }
      await other.close();
      expect(found).toEqual([]);
      expect(complaints).toEqual([]);
    },
  );
});

/** The part of a score document that is looked at. */
interface Scores {
  metrics: { induction: { values: number[][] } };
}

async function textOf(download: Download): Promise<string> {
  return readFileSync(await download.path(), "utf8");
}
