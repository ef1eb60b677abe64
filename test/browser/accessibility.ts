import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import type { Page } from "playwright-core";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** What axe finds serious or critical in a page: "rule: elements" each. */
export async function seriousViolations(page: Page): Promise<string[]> {
  // The page's policy allows no script but its own; what the debugger evaluates is outside of it.
  await page.evaluate(AXE);
  return page.evaluate(async () => {
    interface Found {
      id: string;
      impact: string;
      nodes: { target: string[] }[];
    }
    const { axe } = globalThis as unknown as { axe: { run(root: Document): Promise<{ violations: Found[] }> } };
    const { violations } = await axe.run(document);
    return violations
      .filter(({ impact }) => impact === "serious" || impact === "critical")
      .map(
        ({ id, nodes }) =>
          `${id}: ${nodes
            .map(({ target }) => target.join(" "))
            .slice(0, 5)
            .join(", ")}`,
      );
  });
}
