import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { expect } from "vitest";
import { headscope } from "../helpers/headscope.ts";

/** The command that the card of a title shows. */
export async function shownCommand(page: Page, title: string): Promise<string> {
  await page.getByRole("button", { name: `Command and data of ${title}` }).click();
  await page.getByRole("button", { name: "Command the same in the terminal" }).click();
  const line = (await page.locator("dialog[open] pre").textContent())!.trim();
  await page.keyboard.press("Escape");
  return line;
}

/** Runs a command line of a page in the terminal, in the folder that holds the data folder. @param home the data folder */
export async function inTerminal<T>(line: string, home: string): Promise<T> {
  const words = shellWords(line.replace(/^npx headscope /, ""));
  const run = await headscope([...words.map((word) => word.replace(/^\.headscope(?=\/)/, home)), "--json"], {
    cwd: home,
    env: { HEADSCOPE_HOME: home },
  });
  expect(run.stderr + run.stdout, line).not.toMatch(/^headscope: /m);
  return run.json() as T;
}

/** Runs lines joined by &&, which write files (printf, echo) and run headscope. @returns the last one's answer */
export async function linesInTerminal<T>(lines: string, home: string): Promise<T> {
  let answer: unknown;
  for (const line of lines.split(/ && (?=printf |echo |npx )/)) {
    const [program, ...words] = shellWords(line);
    // printf '%s' CONTENT > FILE, or echo CONTENT > FILE.
    if (program !== "npx") await writeFile(join(home, words.at(-1)!), words.at(-3)!);
    else answer = await inTerminal(line, home);
  }
  return answer as T;
}

/** The words of a command line as a shell has them. */
function shellWords(line: string): string[] {
  return [...line.matchAll(/(?:'((?:[^']|'\\'')*)'|(\S+))/g)].map(
    ([, quoted, plain]) => quoted?.replaceAll("'\\''", "'") ?? plain!,
  );
}
