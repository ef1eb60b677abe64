import {
  formatHead,
  groupOf,
  type Head,
  type HeadShape,
  kvHeadOf,
  readHead,
} from "../../../../backend/common/heads/head.ts";
import { sortHeads } from "../../state/codecs.ts";
import type { SelectMode } from "../head-grid/grid.ts";

/** All query heads of a model, in order of layer, then head. */
export function allHeads({ layers, heads }: Pick<HeadShape, "layers" | "heads">): string[] {
  return Array.from({ length: layers * heads }, (_, i) =>
    formatHead({ layer: Math.floor(i / heads), head: i % heads }),
  );
}

/** The heads as query heads: those of a grid over KV heads become the groups they serve. */
export function asQueryHeads(names: readonly string[], axis: "heads" | "kvHeads", shape: HeadShape): string[] {
  if (axis === "heads") return [...names];
  return places(names).flatMap((kvHead) => groupOf(kvHead, shape).map(formatHead));
}

/** The KV heads of a set of query heads: all that any of them reads, for a mask must keep those. */
export function asKvHeads(names: readonly string[], shape: HeadShape): string[] {
  return sortHeads(places(names).map((place) => formatHead(kvHeadOf(place, shape))));
}

/** The set with every query head that shares a KV head with one in it. */
export function withGroups(names: readonly string[], shape: HeadShape): string[] {
  return asQueryHeads(asKvHeads(names, shape), "kvHeads", shape);
}

/** The set with every head of the layers that it has heads in. */
export function withLayers(names: readonly string[], { heads }: HeadShape): string[] {
  const layers = new Set(places(names).map(({ layer }) => layer));
  return sortHeads(
    [...layers].flatMap((layer) => Array.from({ length: heads }, (_, head) => formatHead({ layer, head }))),
  );
}

/** Every head that the set lacks. */
export function inverted(names: readonly string[], shape: HeadShape): string[] {
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

function places(names: readonly string[]): Head[] {
  return names.flatMap((each) => readHead(each) ?? []);
}
