import type { Component } from "svelte";
import type { PageName } from "./state/pages.ts";

type Loaded = Promise<{ default: Component }>;

/** The code of each page, a chunk of its own, by the path of its component. */
const LOADERS = import.meta.glob<{ default: Component }>("./*/Page.svelte");

const loaded = new Map<string, Loaded>();

/**
 * Fetches the code of a page ("lost": of what an address shows that is no page's). Gives the same promise every time, so that a page
 * that is asked for again stays as it is; a new one after a failure.
 */
export function loadPage(name: PageName | "lost"): Loaded {
  const known = loaded.get(name);
  if (known !== undefined) return known;
  const page = LOADERS[`./${name}/Page.svelte`]!();
  loaded.set(name, page);
  page.catch(() => loaded.delete(name));
  return page;
}
