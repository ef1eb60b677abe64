import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, it } from "vitest";
import { createProgram } from "../../../backend/cli/program.ts";
import { blocksOf, readPage } from "../../helpers/docs.ts";

const ROOT = join(import.meta.dirname, "../../..");
const PAGES = [
  "README.md",
  ...readdirSync(join(ROOT, "docs"), { recursive: true, encoding: "utf8" }).flatMap((name) =>
    name.endsWith(".md") ? [`docs/${name}`] : [],
  ),
];

/** The command lines of a page's blocks, fenced or indented, up to a #, a pipe or a redirection. */
function commandLines(page: string): string[] {
  const fenced = blocksOf(page).flatMap(({ language, code }) =>
    language === "" || /^(ba)?sh$/.test(language) ? code : [],
  );
  const indented =
    readPage(page)
      .replace(/^```[\s\S]*?^```/gm, "")
      .match(/^ {4}\S.*$/gm) ?? [];
  return [...fenced.flatMap((code) => code.replace(/\\\n\s*/g, " ").split("\n")), ...indented]
    .map((line) => line.trim().replace(/\s+([#|>]).*$/, ""))
    .filter((line) => /^(npx )?headscope /.test(line));
}

/** The words of a command line, as a shell splits it. */
function words(line: string): string[] {
  return [...line.matchAll(/"([^"]*)"|'([^']*)'|(\S+)/g)].map(
    ([, double, single, plain]) => double ?? single ?? plain!,
  );
}

/** Paths within the checkout that a page links to or shows, from its root. */
function targets(page: string): string[] {
  const text = readPage(page)
    .replace(/^```[\s\S]*?^```/gm, "")
    .replace(/`[^`\n]*`/g, "");
  return [...text.matchAll(/\]\(([^)#\s]+)/g)]
    .map(([, target]) => target!)
    .filter((target) => !/^[a-z]+:/.test(target))
    .map((target) => join(dirname(page), target));
}

describe("the documents", () => {
  it.each(PAGES.filter((page) => targets(page).length > 0))("%s links to what is there", (page) => {
    expect(targets(page).filter((target) => !existsSync(join(ROOT, target)))).toEqual([]);
  });

  it("show every figure that is kept of an experiment", () => {
    const shown = new Set(PAGES.flatMap(targets));
    const figures = readdirSync(join(ROOT, "docs/experiments/figures")).map(
      (name) => `docs/experiments/figures/${name}`,
    );
    expect(figures.length).toBeGreaterThan(0);
    expect(figures.filter((figure) => !shown.has(figure))).toEqual([]);
  });

  it.each(PAGES.filter((page) => blocksOf(page).some(({ language }) => /^(ts|js)$/.test(language))))(
    "%s has its code run by a test",
    (page) => {
      const tests = ["test/unit/docs", "test/integration"].flatMap((folder) =>
        readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" }).map((name) => join(folder, name)),
      );
      const naming = tests.filter(
        (path) => /(?<!pages)\.test\.ts$/.test(path) && readFileSync(join(ROOT, path), "utf8").includes(page),
      );
      expect(naming).not.toEqual([]);
    },
  );

  it.each(PAGES.flatMap((page) => commandLines(page).map((line) => [page, line] as const)))(
    "%s: the command line takes %s",
    async (_, line) => {
      const args = words(line.replace(/^(npx )?headscope /, ""));
      // Names of the pages' own examples stand for any: only the command and its options are looked at.
      await createProgram(args, async () => {}).parseAsync(args, { from: "user" });
    },
  );
});
