import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { CircuitRunResult } from "../../backend/common/api/circuits.ts";
import { chromiumPath, launchBrowser, type WatchedPage, watchedPage } from "../helpers/browser.ts";
import { buildAll } from "../helpers/cli.ts";
import { Held } from "../helpers/processes/held.ts";
import { patiently } from "../helpers/runner/patience.ts";
import { type Serving, startServing } from "../helpers/servers/serving.ts";
import { seriousViolations } from "./accessibility.ts";
import { linesInTerminal, shownCommand } from "./commands.ts";

/** Milliseconds for what a loaded machine may take. */
const STORY = patiently(300_000);
const TITLE = "What is left";

describe.skipIf(chromiumPath === undefined)("a circuit is taken apart in the browser", () => {
  let home = "";
  let serving: Serving;
  let browser: Browser;
  let watched: WatchedPage;
  let page: Page;

  beforeAll(async () => {
    await buildAll();
    home = mkdtempSync(join(tmpdir(), "headscope-circuits-"));
    serving = await startServing(home);
    browser = await launchBrowser();
    // So wide that the card of a head stands beside the page.
    watched = await watchedPage(browser, { entry: serving.entry, width: 1920, height: 1080 });
    page = watched.page;
    await page.goto(`${serving.url}/circuits?model=toy-induction&edges=12`);
  });
  afterAll(async () => {
    await browser?.close();
    await serving?.stop();
    rmSync(home, { recursive: true, force: true });
  });

  const card = (title: string) => page.getByRole("region", { name: title, exact: true });
  const figures = async () => {
    await watched.loaded();
    expect(await card(TITLE).locator("[data-stale]").count()).toBe(0);
    const of = (name: string) => card(TITLE).locator(`[data-figure="${name}"]`).textContent();
    return { metric: await of("metric"), faithfulness: await of("faithfulness"), edges: await of("edges") };
  };
  const pairOf = () => new URL(page.url()).searchParams.get("pairs");

  test(
    "an edge, then a node, is switched off and the run of what is left follows; undo brings it back",
    async () => {
      const whole = await figures();
      expect(whole.edges).toBe("12");
      await card("Circuit")
        .getByRole("button", { name: /^\d+\.\d+$/ })
        .first()
        .click();
      const list = page.getByRole("list", { name: /^Edges of/ }).getByRole("button");
      const held = new Held(page, "/api/circuit-runs");
      await held.begin();
      await list.first().click();
      await held.asked(1);
      // The number of the set before is never the present one's.
      await expect.poll(() => card(TITLE).locator(".outer:not(.stale) [data-figure]").count()).toBe(0);
      await held.release(0);
      await held.end();
      const fewer = await figures();
      expect(fewer.edges).toBe("11");
      expect(await list.first().getAttribute("aria-pressed")).toBe("false");

      // The same by the lines that the card shows.
      const run = await linesInTerminal<CircuitRunResult>(await shownCommand(page, TITLE), home);
      expect(run.edges).toBe(11);
      expect(Number(fewer.metric)).toBeCloseTo(run.metric, 2);
      expect(Number(fewer.faithfulness)).toBeCloseTo(run.faithfulness!, 2);

      // By the keyboard: Delete on a node takes all its edges along.
      await card("Circuit").getByRole("button", { name: "logits", exact: true }).press("Delete");
      const none = await figures();
      expect(Number(none.faithfulness)).toBeCloseTo(0, 3);
      expect(await seriousViolations(page)).toEqual([]);
      // The address holds it.
      await page.reload();
      expect(await figures()).toEqual(none);
      await card(TITLE).getByRole("button", { name: "Switch all on" }).click();
      expect(await figures()).toEqual(whole);
      await page.getByRole("button", { name: /^Undo/ }).click();
      expect(await figures()).toEqual(none);
      expect(watched.complaints).toEqual([]);
    },
    STORY,
  );

  test(
    "what is left leaves as a file that the command line runs",
    async () => {
      await card(TITLE)
        .getByRole("button", { name: /^logits/ })
        .click();
      const { metric } = await figures();
      await page.getByRole("button", { name: "Command and data of Circuit" }).click();
      const [download] = await Promise.all([
        page.waitForEvent("download"),
        page.getByRole("button", { name: /^Circuit file/ }).click(),
      ]);
      const circuit = JSON.parse(readFileSync(await download.path(), "utf8")) as { edges: unknown[] };
      expect(circuit.edges).toHaveLength(11);
      const pair = (await shownCommand(page, TITLE)).split(" && ")[0]!;
      const file = `printf '%s' '${JSON.stringify(circuit)}' > exported.json`;
      const line = "npx headscope circuit run --model toy-induction --pair-file pair.json --circuit exported.json";
      const run = await linesInTerminal<CircuitRunResult>([pair, file, line].join(" && "), home);
      expect(Number(metric)).toBeCloseTo(run.metric, 2);
    },
    STORY,
  );

  test(
    "its question goes to the Ablation page and comes back",
    async () => {
      const links = page.getByRole("navigation", { name: "This question on other pages" });
      const before = await figures();
      await links.getByRole("link", { name: "Ablation", exact: true }).click();
      await page.getByRole("heading", { level: 1, name: "Ablation" }).waitFor();
      await watched.loaded();
      const pair = pairOf();
      expect(pair).not.toBeNull();
      expect(new URL(page.url()).searchParams.has("token")).toBe(true);
      await links.getByRole("link", { name: "Attention", exact: true }).click();
      await page.getByRole("heading", { level: 1, name: "Attention" }).waitFor();
      const [{ clean }] = JSON.parse(pair!) as [{ clean: number[] }];
      await expect.poll(() => page.getByRole("textbox", { name: /Token ids/ }).inputValue()).toBe(clean.join(" "));
      await links.getByRole("link", { name: "Circuits", exact: true }).click();
      await page.getByRole("heading", { level: 1, name: "Circuits" }).waitFor();
      expect(await figures()).toEqual(before);
      expect(pairOf()).toBe(pair);
      expect(watched.complaints).toEqual([]);
    },
    STORY,
  );
});
