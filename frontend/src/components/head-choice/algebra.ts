import { sortHeads } from "../../state/codecs.ts";
import { headName, type Place, placeOf, type SelectMode } from "../head-grid/grid.ts";

/** How many heads a model has. */
export interface Shape {
  readonly layers: number;
  /** Query heads of a layer. */
  readonly heads: number;
  readonly kvHeads: number;
}

/** All query heads of a model, in order of layer, then head. */
export function allHeads({ layers, heads }: Pick<Shape, "layers" | "heads">): string[] {
  return Array.from({ length: layers * heads }, (_, i) => headName(Math.floor(i / heads), i % heads));
}

/** The KV head that a query head reads. */
export function kvHeadOf({ layer, head }: Place, { heads, kvHeads }: Shape): Place {
  return { layer, head: Math.floor(head / (heads / kvHeads)) };
}

/** The query heads that share a KV head. */
export function groupOf({ layer, head }: Place, { heads, kvHeads }: Shape): string[] {
  const size = heads / kvHeads;
  return Array.from({ length: size }, (_, i) => headName(layer, head * size + i));
}

/** The heads as query heads: those of a grid over KV heads become the groups they serve. */
export function asQueryHeads(names: readonly string[], axis: "heads" | "kvHeads", shape: Shape): string[] {
  if (axis === "heads") return [...names];
  return names.flatMap((name) => groupOf(placeOf(name)!, shape));
}

/** The KV heads of a set of query heads: all that any of them reads, for a mask must keep those. */
export function asKvHeads(names: readonly string[], shape: Shape): string[] {
  return sortHeads(places(names).map((place) => name(kvHeadOf(place, shape))));
}

/** The set with every query head that shares a KV head with one in it. */
export function withGroups(names: readonly string[], shape: Shape): string[] {
  return asQueryHeads(asKvHeads(names, shape), "kvHeads", shape);
}

/** The set with every head of the layers that it has heads in. */
export function withLayers(names: readonly string[], { heads }: Shape): string[] {
  const layers = new Set(places(names).map(({ layer }) => layer));
  return sortHeads([...layers].flatMap((layer) => Array.from({ length: heads }, (_, head) => headName(layer, head))));
}

/** Every head that the set lacks. */
export function inverted(names: readonly string[], shape: Shape): string[] {
  const inside = new Set(names);
  return allHeads(shape).filter((each) => !inside.has(each));
}

/** The selection after more heads were picked: in its place, added, or taken out where all of them are in it already. */
export function picked(now: readonly string[], some: readonly string[], mode: SelectMode): string[] {
  if (mode === "replace") return sortHeads(some);
  const inside = new Set(now);
  if (mode === "add" || !some.every((each) => inside.has(each))) return sortHeads([...now, ...some]);
  const out = new Set(some);
  return now.filter((each) => !out.has(each));
}

function places(names: readonly string[]): Place[] {
  return names.flatMap((each) => placeOf(each) ?? []);
}

function name({ layer, head }: Place): string {
  return headName(layer, head);
}
