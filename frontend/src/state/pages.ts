/** A page of the workbench: its row here, and the folder of its name with Page.svelte in it. */
interface PageRow {
  readonly name: string;
  readonly path: `/${string}`;
  readonly title: string;
  /** After "g", goes there. */
  readonly key: string;
  /** The open head's card is a part of the page or stands beside it, or the page itself is about the head; absent elsewhere. */
  readonly head?: "within" | "beside" | "subject";
  /** True if the page is about the user's prompt, which is run while it is open. */
  readonly prompt?: boolean;
}

/** The pages, in the order of the navigation. */
export const PAGES = [
  { name: "home", path: "/", title: "Home", key: "h" },
  { name: "heads", path: "/heads", title: "Heads", key: "e", head: "within" },
  { name: "compare", path: "/compare", title: "Compare", key: "c" },
  { name: "attention", path: "/attention", title: "Attention", key: "a", head: "subject", prompt: true },
  { name: "ablation", path: "/ablation", title: "Ablation", key: "b", head: "beside", prompt: true },
  { name: "patching", path: "/patching", title: "Patching", key: "p", head: "beside" },
  { name: "circuits", path: "/circuits", title: "Circuits", key: "u", head: "within" },
  { name: "inference", path: "/inference", title: "Inference", key: "i", head: "beside" },
  { name: "training", path: "/training", title: "Training", key: "t" },
  { name: "experiments", path: "/experiments", title: "Experiments", key: "x" },
] as const satisfies readonly PageRow[];

/** Name of a page, and of its folder. */
export type PageName = (typeof PAGES)[number]["name"];

/** The row of a page. */
export function pageRow(name: PageName): PageRow {
  return PAGES.find((page) => page.name === name)!;
}

/** The page of a path, with or without a slash at its end; undefined for any other. */
export function pageAt(path: string): PageName | undefined {
  const plain = path.replace(/(.)\/$/, "$1");
  return PAGES.find((page) => page.path === plain)?.name;
}
