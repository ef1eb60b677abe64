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

/** The pages, in the order of the navigation. */
export const PAGE_LIST: readonly PageEntry[] = [
  { name: "home", title: "Home", key: "h", load: () => import("./pages/Home.svelte") },
  { name: "heads", title: "Heads", key: "e", load: () => import("./pages/Heads.svelte") },
  { name: "compare", title: "Compare", key: "c", load: () => import("./pages/Compare.svelte") },
  { name: "attention", title: "Attention", key: "a", load: () => import("./pages/Attention.svelte") },
  { name: "ablation", title: "Ablation", key: "b", load: () => import("./pages/Ablation.svelte") },
  { name: "patching", title: "Patching", key: "p", load: () => import("./pages/Patching.svelte") },
  { name: "inference", title: "Inference", key: "i", load: () => import("./pages/Inference.svelte") },
  { name: "training", title: "Training", key: "t", load: () => import("./pages/Training.svelte") },
  { name: "experiments", title: "Experiments", key: "x", load: () => import("./pages/Experiments.svelte") },
];

export function pageEntry(name: PageName): PageEntry {
  return PAGE_LIST.find((page) => page.name === name)!;
}
