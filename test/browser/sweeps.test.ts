import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { createReport, writeReport } from "../../backend/reports/report.ts";
import { chromiumPath } from "../helpers/browser.ts";
import { patiently } from "../helpers/runner/patience.ts";
import { useWorkbench } from "../helpers/workbench.ts";
import { seriousViolations } from "./accessibility.ts";

/** Trains in a moment. */
const SETTINGS = {
  ...{ steps: "8", batch: "4", n_layers: "1", d_model: "8", context: "16", segment_min: "2", segment_max: "4" },
  ...{ gap_max: "2", evaluation_rows: "8", points: "3", checkpoints: "3" },
};

const REPORT = {
  experiment: { name: "abrupt-learning", title: "Abrupt learning", description: "", source: "" },
  ...{ preset: "quick", parameters: {}, command: "headscope experiment run abrupt-learning", summary: "", claims: [] },
  figures: [
    {
      ...{ kind: "lines" as const, name: "accuracies", title: "Accuracies over training" },
      ...{ x: { title: "step" }, y: { title: "accuracy" }, lines: [{ name: "a", x: [0, 8], y: [0, 1] }] },
    },
  ],
  runs: ["induction-1", "induction-2"],
} satisfies Parameters<typeof createReport>[0];

describe.skipIf(chromiumPath === undefined)("sweeps and experiments in the browser", () => {
  const workbench = useWorkbench();

  test("a sweep from the form fills a phase diagram, whose cells lead to their runs", {
    timeout: patiently(300_000),
  }, async () => {
    const { page, serving, watched, card } = workbench;
    const set = encodeURIComponent(JSON.stringify(SETTINGS));
    await page.goto(`${serving.url}/training?new=1&seeds=0,1&measure=none&set=${set}`);
    await page.getByText("A sequence in words").click();
    await page
      .getByRole("region", { name: "A sequence of induction" })
      .getByText(/the context determines/)
      .waitFor();
    await page.getByLabel("First parameter").selectOption("n_heads");
    await page.getByLabel("Values of n_heads").fill("1,two");
    await page.getByText("Give a whole number").waitFor();
    await page.getByLabel("Values of n_heads").fill("1,2");
    await page.getByLabel("Second parameter").selectOption("learning_rate");
    await page.getByLabel("Values of learning_rate").fill("0.01,0.1");
    expect(await seriousViolations(page)).toEqual([]);
    await page.getByRole("button", { name: "Train 8 runs" }).click();
    await card("Phase diagram")
      .getByText("8 of 8 runs done")
      .waitFor({ timeout: patiently(240_000) });
    await page.getByText("Cells and their runs").click();
    expect(await seriousViolations(page)).toEqual([]);
    // The second axis from the bottom: the first line of the table is of its largest value.
    const rows = page.getByRole("region", { name: "Cells of the phase diagram" }).getByRole("row");
    expect(await rows.count()).toBe(5);
    expect((await rows.nth(1).getByRole("cell").allTextContents()).slice(0, 2)).toEqual(["1", "0.1"]);
    await rows.nth(1).getByRole("link").click();
    await page.getByLabel("In focus").waitFor();
    expect(await page.getByLabel("In focus").locator("option").allTextContents()).toEqual([
      "induction-3",
      "induction-4",
    ]);
    expect(watched.complaints).toEqual([]);
  });

  test("the gallery has a report's central figure, and its curves by seed lead to a run's step", async () => {
    const { page, serving, watched, card, home } = workbench;
    const id = "abrupt-learning-quick-00000001-20260101T000000000Z";
    await writeReport(join(home, "experiments", id), createReport(REPORT));
    await page.goto(`${serving.url}/experiments`);
    const picture = page.getByRole("img", { name: /^Accuracies over training/ });
    await picture.waitFor();
    await expect.poll(() => picture.evaluate((img: HTMLImageElement) => img.naturalWidth)).toBeGreaterThan(0);
    expect(await seriousViolations(page)).toEqual([]);
    await picture.click();
    const runs = card("Curves by seed").getByRole("list", { name: "Runs of these curves" });
    await runs.getByText("induction-2, seed 1, step 8").waitFor();
    expect(await seriousViolations(page)).toEqual([]);
    await runs.getByRole("link", { name: "Heads" }).nth(1).click();
    await expect.poll(() => new URL(page.url()).searchParams.get("model")).toBe("run:induction-2@8");
    await page.goBack();
    await runs.getByRole("link", { name: "Training" }).first().click();
    await page.getByRole("slider", { name: "Checkpoint at step" }).waitFor();
    expect(new URL(page.url()).searchParams.get("step")).toBe("8");
    expect(watched.complaints).toEqual([]);
  });
});
