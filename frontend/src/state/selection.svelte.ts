import { heads, sortHeads, text } from "./codecs.ts";
import { type PageName, pageRow } from "./pages.ts";
import { urlParam, view } from "./url.svelte.ts";
import { workspace } from "./workspace.svelte.ts";

/** The selected heads, LAYER.HEAD: the same set on every page. Changing it is a step of undo. */
export const selection = urlParam("heads", heads());

/** The head whose card is open, LAYER.HEAD; "" for none. */
export const openHead = urlParam("head", text());

/** Says whether a page shows the open head's card; from others it opens on the Heads page. */
export function showsCard(page: PageName): boolean {
  const { head } = pageRow(page);
  return head === "within" || head === "beside";
}

/** The change of the card on the way to a page: it stays open where the page is about one head, and closes elsewhere. */
export function cardOn(page: PageName): Record<string, string | undefined> {
  const { head } = pageRow(page);
  return page === view.page || head === "within" || head === "subject" ? {} : openHead.to("");
}

/** Opens a head's card. */
export function showHead(head: string): void {
  view.change(openHead.to(head), showsCard(view.page) ? view.page : "heads");
}

/** Puts heads into the selection that are not in it, and takes out those that are. */
export function toggle(some: readonly string[]): void {
  const now = selection.value;
  const inside = some.every((head) => now.includes(head));
  selection.value = inside ? now.filter((head) => !some.includes(head)) : sortHeads([...now, ...some]);
}

/** A set of heads under a name, of one model's weights. */
export interface NamedSet {
  readonly name: string;
  readonly heads: readonly string[];
}

const KEY = "headscope.sets";

/** Named sets of heads, kept in this browser by the digest of the model's weights. */
class Sets {
  #all = $state.raw<Readonly<Record<string, readonly NamedSet[]>>>(read());

  get list(): readonly NamedSet[] {
    return this.#all[workspace.info.value?.digest ?? ""] ?? [];
  }

  /** Keeps heads under a name, in place of what it held. */
  save(name: string, some: readonly string[]): void {
    this.#write([...this.list.filter((each) => each.name !== name), { name, heads: sortHeads(some) }]);
  }

  remove(name: string): void {
    this.#write(this.list.filter((each) => each.name !== name));
  }

  #write(list: readonly NamedSet[]): void {
    const digest = workspace.info.value?.digest;
    if (digest === undefined) return;
    this.#all = { ...this.#all, [digest]: list };
    localStorage.setItem(KEY, JSON.stringify(this.#all));
  }
}

function read(): Record<string, NamedSet[]> {
  try {
    return JSON.parse(localStorage.getItem(KEY) ?? "{}") as Record<string, NamedSet[]>;
  } catch {
    return {};
  }
}

export const sets = new Sets();

/** Works with another model, on a page where one is given: heads of the one before mean nothing in it. */
export function workWith(ref: string, page?: PageName): void {
  view.change({ ...workspace.withModel(ref), ...selection.to([]), ...openHead.to("") }, page);
}
