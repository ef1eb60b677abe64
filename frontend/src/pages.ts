import type { Component } from "svelte";
import type { PageName } from "./state/codecs.ts";

/** What the navigation shows of a page, and how its code is fetched. */
export interface PageEntry {
  readonly name: PageName;
  readonly title: string;
  /** After "g", goes there. */
  readonly key: string;
  load(): Promise<{ default: Component }>;
}

type Loaded = Promise<{ default: Component }>;

/** The same promise every time, so that a page that is asked for again stays as it is; a new one after a failure. */
function once(load: () => Loaded): () => Loaded {
  let loaded: Loaded | undefined;
  return () => {
    loaded ??= load();
    loaded.catch(() => {
      loaded = undefined;
    });
    return loaded;
  };
}

/** The pages, in the order of the navigation. */
export const PAGE_LIST: readonly PageEntry[] = [
  { name: "home", title: "Home", key: "h", load: once(() => import("./pages/Home.svelte")) },
  { name: "heads", title: "Heads", key: "e", load: once(() => import("./pages/Heads.svelte")) },
  { name: "compare", title: "Compare", key: "c", load: once(() => import("./pages/Compare.svelte")) },
  { name: "attention", title: "Attention", key: "a", load: once(() => import("./pages/Attention.svelte")) },
  { name: "ablation", title: "Ablation", key: "b", load: once(() => import("./pages/Ablation.svelte")) },
  { name: "patching", title: "Patching", key: "p", load: once(() => import("./pages/Patching.svelte")) },
  { name: "inference", title: "Inference", key: "i", load: once(() => import("./pages/Inference.svelte")) },
  { name: "training", title: "Training", key: "t", load: once(() => import("./pages/Training.svelte")) },
  { name: "experiments", title: "Experiments", key: "x", load: once(() => import("./pages/Experiments.svelte")) },
];

export function pageEntry(name: PageName): PageEntry {
  return PAGE_LIST.find((page) => page.name === name)!;
}

/** What an address shows that is no page's. */
export const LOST: Pick<PageEntry, "title" | "load"> = {
  title: "No such page",
  load: once(() => import("./pages/Lost.svelte")),
};
