import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { chromiumPath, launchBrowser, type WatchedPage, watchedPage } from "../helpers/browser.ts";
import { buildAll, ROOT } from "../helpers/cli.ts";
import { Held } from "../helpers/processes/held.ts";
import { patiently } from "../helpers/runner/patience.ts";
import { type Serving, startServing } from "../helpers/servers/serving.ts";
import { havePulled } from "../helpers/smollm2.ts";
import { inTerminal, shownCommand } from "./commands.ts";

const SHOTS = join(ROOT, "headscope-out/screenshots");
/** Milliseconds for what a loaded machine may take. */
const STORY = patiently(300_000);

describe.skipIf(chromiumPath === undefined)("from a question of the Home page, cold,", () => {
  let folder = "";
  let home = "";
  let serving: Serving;
  let browser: Browser;
  let watched: WatchedPage;
  let page: Page;

  beforeAll(async () => {
    await buildAll();
    mkdirSync(SHOTS, { recursive: true });
    browser = await launchBrowser();
  });
  afterAll(() => browser?.close());
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "headscope-home-"));
    home = join(folder, "data");
    mkdirSync(home);
  });
  afterEach(async () => {
    await page?.context().close();
    const code = await serving?.stop();
    rmSync(folder, { recursive: true, force: true });
    expect(code, "the server ends well").toBe(0);
  });

  /** A server on an empty data folder, and its Home page. @param args of serve */
  async function begin(args: readonly string[] = []): Promise<void> {
    serving = await startServing(home, args);
    watched = await watchedPage(browser, { entry: serving.entry });
    page = watched.page;
    await page.goto(serving.url);
    await heading("Home");
  }
  const heading = (name: string) => page.getByRole("heading", { level: 1, name, exact: true }).waitFor();
  const card = (title: string | RegExp) => page.getByRole("region", { name: title, exact: true });
  const visit = async (name: string): Promise<void> => {
    await page.getByRole("navigation", { name: "Pages" }).getByRole("link", { name, exact: true }).click();
    await heading(name);
  };
  const shot = (name: string) => page.screenshot({ path: join(SHOTS, `${name}.png`), fullPage: true });
  /** The text that a card's menu gives: a CSV file, or the JSON that it shows. */
  async function taken(title: string, kind: "CSV" | "JSON"): Promise<string> {
    await page.getByRole("button", { name: `Command and data of ${title}` }).click();
    const entry = page.locator("[popover]:popover-open").getByRole("button", { name: new RegExp(`^${kind}`) });
    if (kind === "JSON") {
      await entry.click();
      const text = await page.locator("dialog[open] pre").textContent();
      await page.keyboard.press("Escape");
      return text!;
    }
    const [download] = await Promise.all([page.waitForEvent("download"), entry.click()]);
    return readFileSync(await download.path(), "utf8");
  }
  /** The figure under a term of a card, such as "all heads". */
  const figure = async (title: string | RegExp, term: string | RegExp): Promise<number> => {
    const entry = card(title)
      .locator("dl > div")
      .filter({ has: page.locator("dt", { hasText: term }) });
    return Number((await entry.locator("dd").first().textContent())!.replace("−", "-"));
  };

  test.skipIf(!havePulled)(
    "the heads of SmolLM2 that move a name are found by patching, and taking them out takes the answer away",
    async () => {
      await begin();
      await page.getByRole("link", { name: "Who moves the name?" }).click();
      await heading("Patching");
      await page.getByLabel("Example").selectOption({ label: "Who receives (indirect object)" });
      const clean = await page.getByRole("textbox", { name: "Clean", exact: true }).inputValue();
      const corrupt = await page.getByRole("textbox", { name: "Corrupt", exact: true }).inputValue();
      expect(clean.replace(", John gave", ", Mary gave")).toBe(corrupt);
      await card("Restored by z, by head").getByText("logit difference, clean").waitFor();
      const pair = card("Pair of prompts");
      await pair.getByText(/\d+ tokens, one differs/).waitFor();
      expect(await pair.getByText(/id \d+, [\d.]+% likely/).count()).toBe(2);

      const places = card("Strongest places").locator("tbody");
      await places.waitFor();
      const stale = card("Strongest places").locator("[data-stale]");
      await expect.poll(() => stale.count()).toBe(0);
      const strongest = (await places.textContent())!;
      const [cleanLogits, corruptLogits] = [
        await figure("Restored by z, by head", "logit difference, clean"),
        await figure("Restored by z, by head", "corrupt"),
      ];
      expect(cleanLogits).toBeGreaterThan(0);
      expect(corruptLogits).toBeLessThan(0);
      await shot("who-moves-the-name");

      // Another answer midway: what was found is shown as another question's until it is answered.
      const held = new Held(page, "/api/patch");
      await held.begin();
      const answer = page.getByLabel("Answer, after the clean prompt", { exact: true });
      await answer.fill(" the");
      await answer.press("Enter");
      await stale.waitFor();
      await held.asked(1);
      expect(await stale.getAttribute("data-stale")).toBe("of the pair before");
      expect(await places.textContent()).toBe(strongest);
      expect(
        await card(/^Restored by/)
          .locator("[data-stale]")
          .count(),
      ).toBe(1);
      await held.release(0);
      await held.end();
      await stale.waitFor({ state: "detached" });
      expect(await figure("Restored by z, by head", "logit difference, clean")).not.toBe(cleanLogits);
      expect(await places.textContent()).not.toBe(strongest);
      await answer.fill(" Mary");
      await answer.press("Enter");
      await expect.poll(async () => ((await stale.count()) === 0 ? places.textContent() : "")).toBe(strongest);

      // The same prompt and answer on the Ablation page, where the strongest five are out.
      await page.getByRole("link", { name: "Take them out on the Ablation page" }).click();
      await heading("Ablation");
      expect(await page.getByRole("textbox", { name: "Your text" }).inputValue()).toBe(`${clean} Mary`);
      const loss = card("Loss on your text");
      await loss.getByText(/outside the control's range, below it/).waitFor();
      await loss.locator('[data-part="answer"]').waitFor();
      expect(await loss.locator('[aria-selected="true"]').textContent()).toContain("Mary");
      expect(await loss.locator("[data-ablated]").getAttribute("data-ablated")).toMatch(/^(\d+\.\d+ ){4}\d+\.\d+$/);
      // The clean run is the one that was patched from: two ways to one number.
      expect(await figure("Loss on your text", "all heads")).toBeCloseTo(cleanLogits, 2);
      const without = await figure("Loss on your text", "without 5 heads");
      expect(without).toBeLessThan(cleanLogits);
      await loss.getByLabel("Over").selectOption({
        label: (await loss
          .getByRole("option", { name: /^token \d+/ })
          .first()
          .textContent())!,
      });
      await loss.locator('[data-part="token"]').waitFor();
      expect(await figure("Loss on your text", "without 5 heads")).toBeGreaterThan(
        await figure("Loss on your text", "all heads"),
      );
      await shot("who-moves-the-name-ablated");
      expect(watched.complaints).toEqual([]);
    },
    STORY,
  );

  test.skipIf(!havePulled)(
    "SmolLM2's attention sinks are found, seen on one's own text, and missed when no query may look at the first token",
    async () => {
      await begin();
      await page.getByRole("link", { name: "Where are the sinks?" }).click();
      await heading("Heads");
      const probe = card("Measure a probe").getByRole("combobox").first();
      await expect
        .poll(() => probe.evaluate((select: HTMLSelectElement) => select.selectedOptions[0]!.label))
        .toBe("Attention sinks");
      await page.locator("summary").filter({ hasText: "Parameters" }).click();
      await page.getByLabel("samples", { exact: true }).fill("4");
      await page.getByRole("button", { name: "Measure", exact: true }).click();
      // The metric that the question named colours the grid as soon as it is measured.
      await page.getByRole("grid", { name: /importance of each head/ }).waitFor();
      const scores = await inTerminal<Scores>(await shownCommand(page, "Grid of heads"), home);
      const importance = scores.metrics.importance.values;
      // What leaves the page says where it comes from.
      const csv = await taken("Grid of heads", "CSV");
      expect(csv.split("\r\n").filter((line) => line.startsWith("# "))).toEqual([
        "# Grid of heads",
        expect.stringMatching(/^# model smollm2-135m \(sha256:[0-9a-f]{12}\), headscope /),
        expect.stringMatching(/^# npx headscope probe attention-sink .*samples=4/),
      ]);
      expect(csv.split("\r\n").find((line) => !line.startsWith("# "))).toBe("layer,head,importance,rank,percentile");
      const taking = JSON.parse(await taken("Grid of heads", "JSON")) as Scores & {
        provenance: Record<string, unknown>;
      };
      expect(taking.metrics.importance.values).toEqual(importance);
      expect(taking.provenance).toMatchObject({ title: "Grid of heads", model: "smollm2-135m" });
      const best = importance
        .flatMap((row, layer) => row.map((value, head) => ({ name: `${layer}.${head}`, value })))
        .sort((a, b) => b.value - a.value)[0]!;
      const top = card("Find heads").getByRole("listitem").first();
      expect(await top.textContent()).toContain(best.name);
      expect(await page.locator(`[data-head="${best.name}"]`).first().getAttribute("aria-label")).toContain(
        best.value.toFixed(3),
      );
      // Most heads rest on the first token, in the middle of the model above all.
      const profile = importance.map((row) => row.reduce((sum, value) => sum + value, 0) / row.length);
      expect(Math.max(...profile)).toBeGreaterThan(0.5);
      await page.getByRole("radio", { name: "Layers", exact: true }).check({ force: true });
      await card("Find heads")
        .getByText(`L${profile.indexOf(Math.max(...profile))}`, { exact: true })
        .waitFor();
      await shot("sinks");

      // On one's own text the head looks at the first token.
      await page.locator(`[data-head="${best.name}"]`).first().click();
      const about = page.getByRole("complementary", { name: `Head ${best.name}` });
      const text = "The lighthouse keeper wrote three letters before the storm reached the harbour wall.";
      await about.getByLabel("Your text").fill(text);
      await about.getByLabel("Your text").press("Control+Enter");
      await about.locator(`[data-pattern="${best.name}"]`).waitFor();
      await about.getByRole("link", { name: "Attention", exact: true }).click();
      await heading("Attention");
      const looks = card(`Where ${best.name} looks`)
        .getByRole("row")
        .filter({ hasText: /First token|BOS/ });
      await expect
        .poll(async () => Number.parseFloat((await looks.getByRole("cell").textContent()) ?? ""))
        .toBeGreaterThan(50);
      expect(await page.getByRole("textbox", { name: "Your text" }).inputValue()).toBe(text);
      await shot("sinks-attention");

      // No query after the first may look at it, in any layer.
      await visit("Ablation");
      const loss = card("Loss on your text");
      await loss.getByText(/Nothing is taken out/).waitFor();
      const before = await figure("Loss on your text", "all heads");
      await page.getByRole("button", { name: "Add…" }).click();
      const editor = page.getByRole("textbox", { name: "Add an intervention" });
      const tokens = await loss
        .getByRole("listbox", { name: /^Your text/ })
        .getByRole("option")
        .count();
      const blind = importance.map((_, layer) => ({
        at: `blocks.${layer}.attn.hook_attn_scores`,
        positions: Array.from({ length: tokens - 1 }, (_, i) => i + 1),
        keys: [0],
        do: "patch",
        with: -1e9,
      }));
      await editor.fill(JSON.stringify(blind));
      await page.getByRole("button", { name: "Apply", exact: true }).click();
      await editor.waitFor({ state: "detached" });
      const changed = loss.locator("dl > div").nth(1).locator("dd").first();
      await expect.poll(() => changed.textContent()).toMatch(/\d/);
      expect(await figure("Loss on your text", "all heads")).toBe(before);
      expect(Number((await changed.textContent())!.replace("−", "-"))).toBeGreaterThan(before + 0.5);
      await card("Active interventions").getByText(`${blind.length} of ${blind.length} on`).waitFor();
      await shot("sinks-ablation");
      expect(watched.complaints).toEqual([]);
    },
    STORY,
  );

  test(
    "one's own model whose tokenizer is damaged opens for token ids, and says why it takes no text",
    async () => {
      const models = join(folder, "models");
      const own = join(models, "mine");
      cpSync(join(ROOT, "test/fixtures/formats/llama-tiny"), own, { recursive: true });
      writeFileSync(join(own, "tokenizer.json"), '{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [["a"');
      await begin(["--root", models]);
      await page.getByRole("link", { name: "Bring a model" }).click();
      await page.getByRole("button", { name: "Browse folders" }).click();
      const folders = page.getByRole("region", { name: "Folders" });
      await folders.getByRole("button", { name: /models\/$/ }).click();
      await folders.getByRole("button", { name: "Open mine" }).click();
      await page.waitForURL((url) => url.searchParams.get("model")?.endsWith("mine") === true);

      await visit("Attention");
      const ids = page.getByRole("textbox", { name: "Token ids, from 0 to 399" });
      await ids.fill("1 7 3 9 7 3");
      await ids.press("Control+Enter");
      await page.getByRole("application", { name: /6 queries by 6 keys/ }).waitFor();
      const reason = page.getByText(/tokenizer cannot be used: .*tokenizer\.json/);
      await reason.waitFor();
      await shot("damaged-tokenizer");

      await visit("Heads");
      await page.locator("summary").filter({ hasText: "Parameters" }).click();
      await page.getByLabel("samples", { exact: true }).fill("2");
      await page.getByRole("button", { name: "Measure", exact: true }).click();
      await page.getByRole("grid", { name: /^induction of each head/ }).waitFor();
      expect(await page.locator("[data-head]").count()).toBe(8);

      await visit("Patching");
      await reason.waitFor();
      await card("Restored by z, by head").getByText("logit difference, clean").waitFor();
      expect(watched.complaints).toEqual([]);
    },
    STORY,
  );
});

/** The part of a score document that is looked at. */
interface Scores {
  metrics: { importance: { values: number[][] } };
}
