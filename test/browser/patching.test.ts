import { join } from "node:path";
import type { Page } from "playwright-core";
import { beforeAll, describe, expect, test } from "vitest";
import type { AttributeResponse } from "../../backend/common/api/attribution.ts";
import type { AblateEachResponse, PatchPlacesResponse, PatchResponse } from "../../backend/common/api/patching.ts";
import type { HeadRolesResult } from "../../backend/common/api/roles.ts";
import { readSafetensors } from "../../backend/models/formats/safetensors/safetensors.ts";
import { chromiumPath } from "../helpers/browser.ts";
import { Held } from "../helpers/processes/held.ts";
import { patiently } from "../helpers/runner/patience.ts";
import { useWorkbench } from "../helpers/workbench.ts";
import { seriousViolations } from "./accessibility.ts";
import { linesInTerminal, shownCommand } from "./commands.ts";

/** Milliseconds for what a loaded machine may take. */
const STORY = patiently(300_000);
const MODEL = "toy-induction";

describe.skipIf(chromiumPath === undefined)("a pair's question on the Patching page", () => {
  const workbench = useWorkbench();
  const { card } = workbench;
  let page: Page;
  beforeAll(() => {
    page = workbench.page;
  });

  const open = async (more = "") => {
    await page.goto(`${workbench.serving.url}/patching?model=${MODEL}${more}`);
    await workbench.watched.loaded();
  };
  const shown = (title: string, figure: string) => card(title).locator(`[data-figure="${figure}"]`).textContent();
  /** A number as a page shows it. */
  const number = (text: string | null) => Number(text!.replace("−", "-").replace("%", ""));
  const line = async <T>(title: string) => linesInTerminal<T>(await shownCommand(page, title), workbench.home);

  test(
    "every card's numbers are those of its command",
    async () => {
      await open("&heads=0.0,1.1");
      const attribution = await line<AttributeResponse>("Direct effect of each head");
      expect(number(await shown("Direct effect of each head", "logit-diff"))).toBeCloseTo(attribution.logitDiff, 2);
      const cell = page
        .getByRole("grid", { name: "Direct effect of each head" })
        .getByRole("gridcell", { name: /^head 1\.1:/ });
      const written = /head 1\.1: ([^,]+),/.exec((await cell.getAttribute("aria-label"))!)![1]!;
      expect(number(written)).toBeCloseTo(attribution.parts.heads[1]![1]!, 2);

      const rows = card("Logit lens").locator("[data-lens]");
      const lens = await line<{ rows: { rank: number; answer: number; wrong: number }[] }>("Logit lens");
      expect(await rows.count()).toBe(lens.rows.length);
      for (const [r, { rank, answer, wrong }] of lens.rows.entries()) {
        const cells = await rows.nth(r).getByRole("cell").allTextContents();
        expect(number(cells[0]!.replace(",", ""))).toBe(rank);
        expect(number(cells[1]!)).toBeCloseTo(answer - wrong, 1);
      }

      const roles = await line<HeadRolesResult>("Where the last token looks");
      for (const { head, roles: found } of roles.heads) {
        const said = await page.locator(`[data-looks="${head}"] .roles > span`).allTextContents();
        expect(said.map((words) => words.split(":")[0])).toEqual(found.map(({ role }) => role));
      }
      const patterns = await readSafetensors(join(workbench.home, "patterns.safetensors"));
      const { shape, data } = patterns.tensors.get("blocks.1.attn.hook_pattern")!;
      const [, , , keys] = shape as [number, number, number, number];
      const last = data.subarray((2 * keys - 1) * keys, 2 * keys * keys) as Float32Array;
      const titles = await page
        .locator('[data-looks="1.1"] td.weight')
        .evaluateAll((cells) => cells.map((each) => each.getAttribute("title")!));
      expect(titles).toHaveLength(keys);
      for (const [p, title] of titles.entries()) expect(number(title.split(": ").at(-1)!)).toBeCloseTo(last[p]!, 2);

      const together = await line<PatchPlacesResponse>("Several places at once");
      expect(together.places).toEqual(["z:0.0", "z:1.1"]);
      expect(number(await shown("Several places at once", "together-raw"))).toBeCloseTo(together.patched, 2);

      await card("One taken out at a time").getByText("heads", { exact: true }).click();
      await card("One taken out at a time").getByRole("button", { name: "Take them out" }).click();
      const without = page.getByRole("grid", { name: "Change without each head" });
      await without.waitFor();
      const each = await line<AblateEachResponse>("One taken out at a time");
      const change = await without.getByRole("gridcell", { name: /^head 1\.1:/ }).getAttribute("aria-label");
      expect(number(/head 1\.1: ([^,]+),/.exec(change!)![1]!)).toBeCloseTo(each.ablated[1]![1]! - each.clean, 2);

      await card("Estimate beside exact").getByRole("button", { name: "Estimate", exact: true }).click();
      await card("Estimate beside exact").locator('[data-figure="agreement"]').waitFor();
      const estimated = await line<PatchResponse>("Estimate beside exact");
      expect(estimated).toMatchObject({ method: "attribution" });
      const [clean, corrupt] = [estimated.clean, estimated.corrupt];
      const farthest = card("Estimate beside exact").getByRole("row", { name: /^0\.0 / });
      const share = (estimated.patched[0]![0]! - corrupt) / (clean - corrupt);
      expect(number((await farthest.getByRole("cell").allTextContents())[1]!) / 100).toBeCloseTo(share, 1);
      expect(workbench.watched.complaints).toEqual([]);
    },
    STORY,
  );

  test(
    "the other direction, another metric and places with positions are those of the command too",
    async () => {
      await open("&direction=noise&pair-metric=probability-diff&places=1.1@-1");
      const { clean, corrupt, patched } = await line<PatchResponse>("Lost by z, by head");
      expect(number(await shown("Lost by z, by head", "clean"))).toBeCloseTo(clean, 2);
      expect(number(await shown("Lost by z, by head", "corrupt"))).toBeCloseTo(corrupt, 2);
      const lost = (clean - patched[1]![1]!) / (clean - corrupt);
      const cell = page.getByRole("grid", { name: "lost by each head" }).getByRole("gridcell", { name: /^head 1\.1:/ });
      expect(number(/: ([^,]+),/.exec((await cell.getAttribute("aria-label"))!)![1]!) / 100).toBeCloseTo(lost, 1);
      const together = await line<PatchPlacesResponse>("Several places at once");
      expect(together).toMatchObject({ direction: "noise", metric: "probability-diff", places: ["z:1.1@-1"] });
      expect(number(await shown("Several places at once", "together-raw"))).toBeCloseTo(together.patched, 2);
      // What the model lacks is said in its card, and the others stand.
      await card("Several places at once").getByRole("textbox").fill("7.0");
      await card("Several places at once").getByRole("textbox").press("Enter");
      await card("Several places at once")
        .getByText(/no layer 7/)
        .waitFor();
      expect(number(await shown("Lost by z, by head", "clean"))).toBeCloseTo(clean, 2);
      expect(workbench.watched.complaints.splice(0)).toEqual([expect.stringContaining("422")]);
    },
    STORY,
  );

  test(
    "no number of the pair before stands under the present one while answers are under way",
    async () => {
      await open("&heads=1.1");
      const paths = ["/api/patch", "/api/attribute", "/api/lens", "/api/patch-places"];
      const held = paths.map((path) => new Held(page, path));
      for (const each of held) await each.begin();
      const before = await shown("Direct effect of each head", "logit-diff");
      await page.getByLabel("Example").selectOption({ index: 2 });
      for (const each of held) await each.asked(1);
      /** Figures that are shown as the present question's. */
      const present = () =>
        page
          .locator(".outer:not(.stale) [data-figure], .outer:not(.stale) [data-lens], .outer:not(.stale) [data-looks]")
          .count();
      await expect.poll(present).toBe(0);
      // Answers come in another order than they were asked in: each stands in its own card alone.
      await held[2]!.release(0);
      await card("Logit lens").locator(".outer:not(.stale) [data-lens]").first().waitFor();
      expect(await card("Direct effect of each head").locator(".outer:not(.stale)").count()).toBe(0);
      // Turned back: what is known of the first pair stands at once, and what the second's answers say is dropped.
      await page.getByLabel("Example").selectOption({ index: 1 });
      await card("Direct effect of each head").locator(".outer:not(.stale)").waitFor();
      expect(await shown("Direct effect of each head", "logit-diff")).toBe(before);
      await held[1]!.release(0);
      await held[2]!.asked(2);
      expect(await card("Logit lens").locator(".outer:not(.stale)").count()).toBe(0);
      await held[2]!.release(1);
      for (const each of held) await each.end();
      await workbench.watched.loaded();
      expect(await shown("Direct effect of each head", "logit-diff")).toBe(before);
      expect(await page.locator("[data-stale]").count()).toBe(0);
    },
    STORY,
  );

  test(
    "the question goes from the card of a head to Ablation and Attention, and comes back",
    async () => {
      await open("&pair-metric=probability-diff");
      const chip = card("Where the last token looks").getByRole("button", { name: "1.1", exact: true });
      await chip.press("Enter");
      const headCard = page.getByRole("complementary", { name: "Head 1.1" });
      await headCard.getByRole("link", { name: "Ablate it" }).click();
      await page.getByRole("heading", { level: 1, name: "Ablation" }).waitFor();
      await workbench.watched.loaded();
      const address = () => new URL(page.url()).searchParams;
      const pairs = address().get("pairs");
      expect(pairs).not.toBeNull();
      const [{ clean, answer, wrong }] = JSON.parse(pairs!) as [{ clean: number[]; answer: number; wrong: number }];
      expect(address().get("text")).toBe([...clean, answer].join(" "));
      expect(address().get("token")).toMatch(new RegExp(`^${clean.length}\\.`));
      expect(address().get("wrong")).toBe(String(wrong));
      expect(address().get("heads")).toBe("1.1");
      expect(address().get("pair-metric")).toBe("probability-diff");
      const links = page.getByRole("navigation", { name: "This question on other pages" });
      await links.getByRole("link", { name: "Attention", exact: true }).click();
      await page.getByRole("heading", { level: 1, name: "Attention" }).waitFor();
      await expect.poll(() => page.getByRole("textbox", { name: /Token ids/ }).inputValue()).toBe(clean.join(" "));
      await links.getByRole("link", { name: "Patching", exact: true }).click();
      await page.getByRole("heading", { level: 1, name: "Patching" }).waitFor();
      await workbench.watched.loaded();
      expect(address().get("pairs")).toBe(pairs);
      expect(address().get("pair-metric")).toBe("probability-diff");
      expect(workbench.watched.complaints).toEqual([]);
    },
    STORY,
  );

  test.each(["light", "dark"] as const)(
    "can be read and worked from the keyboard, %s",
    async (theme) => {
      const own = await workbench.another({ theme, width: 1280, height: 900 });
      await own.page.goto(`${workbench.serving.url}/patching?model=${MODEL}&heads=1.1`);
      await own.loaded();
      await own.page.getByRole("button", { name: "Take them out" }).press("Enter");
      await own.page.getByRole("button", { name: "Estimate", exact: true }).press("Enter");
      await own.loaded();
      expect(await seriousViolations(own.page)).toEqual([]);
      const token = own.page.getByRole("columnheader").getByRole("button").nth(2);
      await token.press("Enter");
      expect(await token.getAttribute("aria-pressed")).toBe("true");
      const grid = own.page.getByRole("grid", { name: "Direct effect of each head" });
      await grid.getByRole("gridcell", { name: /^head 1\.0:/ }).press("Enter");
      await own.page.getByRole("complementary", { name: "Head 1.0" }).waitFor();
      await own.page.keyboard.press("Escape");
      expect(own.complaints).toEqual([]);
      await own.page.context().close();
    },
    STORY,
  );
});
