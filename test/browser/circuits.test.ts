import { readFileSync } from "node:fs";
import type { Page } from "playwright-core";
import { beforeAll, describe, expect, test } from "vitest";
import type { CircuitRunResult } from "../../backend/common/api/circuits.ts";
import { chromiumPath } from "../helpers/browser.ts";
import { Held } from "../helpers/processes/held.ts";
import { patiently } from "../helpers/runner/patience.ts";
import { useWorkbench } from "../helpers/workbench.ts";
import { seriousViolations } from "./accessibility.ts";
import { linesInTerminal, shownCommand } from "./commands.ts";

/** Milliseconds for what a loaded machine may take. */
const STORY = patiently(300_000);
const TITLE = "What is left";

describe.skipIf(chromiumPath === undefined)("a circuit is taken apart in the browser", () => {
  const workbench = useWorkbench();
  const { card } = workbench;
  let page: Page;
  beforeAll(async () => {
    page = workbench.page;
    await page.goto(`${workbench.serving.url}/circuits?model=toy-induction&edges=12`);
  });

  const figures = async () => {
    await workbench.watched.loaded();
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
      const run = await linesInTerminal<CircuitRunResult>(await shownCommand(page, TITLE), workbench.home);
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
      expect(workbench.watched.complaints).toEqual([]);
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
      const run = await linesInTerminal<CircuitRunResult>([pair, file, line].join(" && "), workbench.home);
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
      await workbench.watched.loaded();
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
      expect(workbench.watched.complaints).toEqual([]);
    },
    STORY,
  );

  const open = (params: Record<string, string>) =>
    page.goto(
      `${workbench.serving.url}/circuits?${new URLSearchParams({ model: "toy-induction", edges: "12", ...params })}`,
    );
  const node = (name: string) => page.locator(`[data-node="${name}"]`);

  test(
    "the measure and the method's parameters are those of the command line, and no number stands under another question",
    async () => {
      await open({});
      const logits = await figures();
      const held = new Held(page, "/api/circuits");
      await held.begin();
      await page.getByLabel("Measure").selectOption("probability");
      await page.getByLabel("steps").fill("3");
      await page.getByLabel("steps").press("Enter");
      await held.asked(1);
      await expect.poll(() => page.locator("[data-stale]").count()).toBeGreaterThanOrEqual(3);
      // Nothing of the question before can be taken along, nor go to another page.
      expect(await card(TITLE).locator(".outer:not(.stale) [data-figure]").count()).toBe(0);
      expect(await card(TITLE).getByRole("link").count()).toBe(0);
      expect(await card(TITLE).locator("dt").nth(1).textContent()).toContain("Logit difference");
      await page.getByRole("button", { name: "Command and data of Circuit" }).click();
      expect(await page.getByRole("button", { name: /^(JSON|CSV|SVG|Circuit file)/ }).count()).toBe(0);
      await page.keyboard.press("Escape");
      // What was asked last counts, whatever comes of what was asked before.
      await page.getByLabel("Method").selectOption("eap");
      await held.end();
      const found = await figures();
      expect(Number(found.metric)).toBeLessThanOrEqual(1);
      expect(found.metric).not.toBe(logits.metric);
      const run = await linesInTerminal<CircuitRunResult>(await shownCommand(page, TITLE), workbench.home);
      expect(Number(found.metric)).toBeCloseTo(run.metric, 2);
      expect(workbench.watched.complaints).toEqual([]);
    },
    STORY,
  );

  test(
    "pairs of a task are drawn, with how often the model is right",
    async () => {
      await open({});
      await figures();
      await page.getByRole("button", { name: "Pairs of a task" }).click();
      await page.getByLabel("Pairs", { exact: true }).fill("3");
      await page.getByRole("button", { name: "Draw", exact: true }).click();
      await card("Pairs of prompts, 1 of 3").waitFor();
      expect(JSON.parse(pairOf()!)).toHaveLength(3);
      expect((await figures()).edges).toBe("12");
      expect(workbench.watched.complaints).toEqual([]);
    },
    STORY,
  );

  test(
    "heads are named by what they seem to do, grouped by it, named and taken apart again; undo covers it and the file keeps it",
    async () => {
      await open({});
      const before = await figures();
      const table = card("Roles").getByRole("table");
      const induction = table.getByRole("rowgroup").filter({ hasText: "induction" });
      await induction.getByRole("button").first().waitFor();
      const head = (await induction.getByRole("button").first().textContent())!.trim();
      const [layer, number] = head.split(".");
      const name = `a${layer}.h${number}`;
      // The evidence is the table's, in the panel of the node too.
      await induction.getByRole("button").first().click();
      await page.getByRole("group", { name: head, exact: true }).getByText("Seems to be induction").waitFor();
      expect(await node(name).textContent()).toContain("induction");

      await page.waitForTimeout(300); // longer than what counts as one step of undo
      await card("Roles").getByRole("button", { name: "Group by role" }).click();
      await node("group:induction").waitFor();
      expect(await node(name).count()).toBe(0);
      // One node, its edges merged: fewer are drawn, and as many are run.
      expect(await figures()).toEqual(before);
      await node("group:induction").click();
      const group = page.getByRole("group", { name: "Group induction", exact: true });
      await group.getByLabel("Group").fill("copiers");
      await group.getByLabel("Group").press("Enter");
      await node("group:copiers").waitFor();
      await page.reload();
      expect(await figures()).toEqual(before);
      await node("group:copiers").waitFor();
      expect(await seriousViolations(page)).toEqual([]);

      // The whole group is switched at once.
      await node("group:copiers").press("Delete");
      const without = await figures();
      expect(Number(without.edges)).toBeLessThan(12);
      await page.getByRole("button", { name: /^Undo/ }).click();
      expect(await figures()).toEqual(before);

      const file = async (label: RegExp) => {
        await page.getByRole("button", { name: "Command and data of Circuit" }).click();
        const [download] = await Promise.all([
          page.waitForEvent("download"),
          page.getByRole("button", { name: label }).click(),
        ]);
        return JSON.parse(readFileSync(await download.path(), "utf8")) as Record<string, unknown>;
      };
      const members = [expect.stringMatching(/^a\d+\.h\d+$/)];
      const circuit = await file(/^Circuit file/);
      expect(circuit["groups"]).toContainEqual({ name: "copiers", nodes: expect.arrayContaining(members) });
      const { qParams } = await file(/^Neuronpedia/);
      expect((qParams as { supernodes: string[][] }).supernodes.map(([first]) => first)).toContain("copiers");

      await node("group:copiers").click();
      if ((await page.getByRole("button", { name: "Ungroup" }).count()) === 0) await node("group:copiers").click();
      await page.getByRole("button", { name: "Ungroup" }).click();
      await node(name).waitFor();
      expect(workbench.watched.complaints).toEqual([]);
    },
    STORY,
  );

  test(
    "by the keyboard alone a node is reached, kept and named, and its head's card covers nothing at 1280 pixels and below",
    async () => {
      for (const [width, theme] of [
        [1280, "light"],
        [900, "dark"],
      ] as const) {
        await page.setViewportSize({ width, height: 900 });
        await page.emulateMedia({ colorScheme: theme });
        await open({});
        await figures();
        await page.locator('[data-node][tabindex="0"]').focus();
        const first = await page.evaluate(() => document.activeElement?.getAttribute("data-node"));
        await page.keyboard.press("ArrowUp");
        const second = await page.evaluate(() => document.activeElement?.getAttribute("data-node"));
        expect(second).not.toBe(first);
        // Down to a head, whatever stands between.
        for (let i = 0; i < 6; i++) {
          if (await page.evaluate(() => /^a/.test(document.activeElement?.getAttribute("data-node") ?? ""))) break;
          await page.keyboard.press("ArrowDown");
        }
        await page.keyboard.press("Enter");
        const aside = page.getByRole("complementary", { name: /^Head / });
        await aside.waitFor();
        await workbench.watched.loaded();
        const boxes = await Promise.all([aside.boundingBox(), card("Circuit").boundingBox()]);
        const [a, b] = boxes.map((box) => box!);
        const apart = a!.x >= b!.x + b!.width || a!.y >= b!.y + b!.height;
        expect(apart, `at ${width} pixels`).toBe(true);
        expect(await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth)).toBe(true);
        expect(await seriousViolations(page)).toEqual([]);
      }
      await page.getByLabel("Name", { exact: true }).fill("my head");
      await page.getByLabel("Name", { exact: true }).press("Enter");
      await page.locator(".node", { hasText: "my head" }).waitFor();
      expect(workbench.watched.complaints).toEqual([]);
    },
    STORY,
  );
});
