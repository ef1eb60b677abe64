import { readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { loadPage } from "../../../frontend/src/loadPage.ts";
import { PAGES, pageAt, pageRow } from "../../../frontend/src/state/pages.ts";

const SOURCES = join(import.meta.dirname, "../../../frontend/src");

describe("the table of pages", () => {
  it("has a row for every folder with a page, and a page for every row", () => {
    const folders = readdirSync(SOURCES, { recursive: true, encoding: "utf8" })
      .filter((path) => path.endsWith("Page.svelte"))
      .map((path) => path.replace("/Page.svelte", ""));
    expect(folders.sort()).toEqual([...PAGES.map(({ name }) => name), "lost"].sort());
  });

  it("gives each page a path, a title and a key of its own", () => {
    for (const field of ["path", "title", "key"] as const)
      expect(new Set(PAGES.map((page) => page[field])).size).toBe(PAGES.length);
  });

  it("is read by path", () => {
    for (const { name, path } of PAGES) expect(pageAt(path)).toBe(name);
    expect(pageAt("/heads/")).toBe("heads");
    expect(pageAt("/api/health")).toBeUndefined();
    expect(pageAt("/nowhere")).toBeUndefined();
    expect(pageRow("heads").head).toBe("within");
  });

  it("has the code of a page fetched once", async () => {
    expect(loadPage("compare")).toBe(loadPage("compare"));
    expect((await loadPage("lost")).default).toBeTypeOf("function");
  });
});
