import type { Page } from "playwright-core";
import { beforeAll, describe, expect, test } from "vitest";
import { chromiumPath } from "../helpers/browser.ts";
import { patiently } from "../helpers/runner/patience.ts";
import { havePulled } from "../helpers/smollm2.ts";
import { useWorkbench } from "../helpers/workbench.ts";

/** Milliseconds for what a loaded machine may take. */
const STORY = patiently(600_000);

// The first part of docs/ioi.md.
describe.skipIf(chromiumPath === undefined || !havePulled)(
  "who receives the drink, asked of SmolLM2 in the browser",
  () => {
    const workbench = useWorkbench();
    const { card } = workbench;
    let page: Page;
    beforeAll(() => {
      page = workbench.page;
    });

    const number = async (figure: string) => {
      await workbench.watched.loaded();
      return Number((await card("What is left").locator(`[data-figure="${figure}"]`).textContent())!.replace("−", "-"));
    };

    test(
      "from the first click to a circuit, its roles and a mask",
      async () => {
        await page.goto(`${workbench.serving.url}/patching?model=smollm2-135m`);
        await page.getByLabel("Example").selectOption({ label: "Who receives (indirect object)" });
        const best = card("Strongest places").getByRole("row").nth(1);
        await expect.poll(() => best.textContent(), { timeout: STORY }).toContain("23.3");
        await workbench.watched.loaded();
        const looks = (head: string) =>
          card("Where the last token looks").getByRole("row").filter({ hasText: head }).first();
        expect(await looks("23.3").textContent()).toContain("copy suppression");
        expect(await looks("23.0").textContent()).toContain("name mover");

        await page.getByRole("link", { name: "Circuits", exact: true }).last().click();
        await page.getByRole("heading", { level: 1, name: "Circuits" }).waitFor();
        await card("What is left").locator('[data-figure="edges"]').waitFor({ timeout: STORY });
        expect(await number("edges")).toBe(20);
        const whole = await number("metric");
        const { mover, inhibition } = { mover: /name mover[\s\S]*23\.0/, inhibition: /S-inhibition[\s\S]*20\.0/ };
        await expect.poll(() => card("Roles").textContent(), { timeout: STORY }).toMatch(mover);
        expect(await card("Roles").textContent()).toMatch(inhibition);

        // Without the head that takes the giver out, little of the answer is left.
        await card("Circuit")
          .getByRole("button", { name: /^23\.3/ })
          .press("Delete");
        expect(await number("edges")).toBeLessThan(20);
        expect(await number("metric")).toBeLessThan(whole);

        await card("What is left").getByRole("link", { name: "Infer with them" }).click();
        await page.getByRole("heading", { level: 1, name: "Inference" }).waitFor();
        await workbench.watched.loaded();
        expect(await card("Mask").textContent()).toMatch(/[4-7] of 90 KV heads keep everything/);
        expect(workbench.watched.complaints).toEqual([]);
      },
      STORY,
    );
  },
);
