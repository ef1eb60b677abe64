import { groupBy, type Ranked } from "../../components/head-grid/grid.ts";

/** Filters and order of the list of heads. */
export interface Search {
  /** "18." or "18": a layer; "18.6": a head; ".6": that head of every layer; several with spaces or commas. */
  readonly text: string;
  /** First and last layer. */
  readonly layers: readonly [number, number];
  /** Least value; -Infinity lets all pass. */
  readonly least: number;
  readonly order: Order;
}

/** Highest first, lowest first, or by place in the model. */
export const ORDERS = ["highest", "lowest", "layer"] as const;
export type Order = (typeof ORDERS)[number];

/** The heads that pass, in order; their ranks stay those among all heads. */
export function search(ranked: readonly Ranked[], { text, layers: [from, to], least, order }: Search): Ranked[] {
  const passes = textFilter(text);
  const found = ranked.filter(
    (head) => head.layer >= from && head.layer <= to && (least === -Infinity || head.value >= least) && passes(head),
  );
  if (order === "lowest") return found.reverse();
  return order === "layer" ? found.sort((a, b) => a.layer - b.layer || a.head - b.head) : found;
}

function textFilter(text: string): (head: Ranked) => boolean {
  const parts = text
    .trim()
    .toLowerCase()
    .split(/[\s,]+/)
    .filter((part) => part !== "")
    .map((part) => /^l?(\d*)(?:\.h?(\d*))?$/.exec(part));
  if (parts.length === 0) return () => true;
  return (head) =>
    parts.some((part) => {
      if (part === null) return false;
      const [, layer = "", column = ""] = part;
      return (layer === "" || head.layer === Number(layer)) && (column === "" || head.head === Number(column));
    });
}

/** A layer with heads that were found, or a stretch of layers without any. */
export type LayerEntry =
  | { readonly kind: "hits"; readonly layer: number; readonly heads: readonly Ranked[] }
  | { readonly kind: "quiet"; readonly from: number; readonly to: number };

/** The found heads by layer, each layer's best first; stretches of layers without any are one entry. */
export function layerEntries(found: readonly Ranked[], layers: number): LayerEntry[] {
  const inLayer = groupBy(found, ({ layer }) => layer);
  const entries: LayerEntry[] = [];
  for (let layer = 0; layer < layers; layer++) {
    const heads = inLayer.get(layer);
    const last = entries.at(-1);
    if (heads !== undefined) entries.push({ kind: "hits", layer, heads: heads.toSorted((a, b) => a.rank - b.rank) });
    else if (last?.kind === "quiet") entries[entries.length - 1] = { ...last, to: layer };
    else entries.push({ kind: "quiet", from: layer, to: layer });
  }
  return entries;
}

/** Number of heads from the top of a ranking that a set is exactly; 0 for any other set. */
export function topCount(ranked: readonly { readonly name: string }[], chosen: readonly string[]): number {
  const inside = new Set(chosen);
  return chosen.length <= ranked.length && ranked.slice(0, inside.size).every(({ name }) => inside.has(name))
    ? inside.size
    : 0;
}

/** Share of all heads that a rank beats or equals, in percent: 100 for the first of them. */
export function percentile(rank: number, total: number): number {
  return total === 0 ? 0 : (100 * (total - rank + 1)) / total;
}
