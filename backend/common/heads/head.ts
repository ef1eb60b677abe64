import { HeadscopeError } from "../errors.ts";

/** One query or KV head of a model, both numbers from 0. */
export interface Head {
  readonly layer: number;
  readonly head: number;
}

/** Axis of a table's columns: query heads, or the KV heads that groups of them share. */
export type HeadAxis = "heads" | "kvHeads";

/** Numbers of layers and heads of a model. */
export interface HeadShape {
  readonly layers: number;
  /** Query heads of a layer. */
  readonly heads: number;
  /** Key and value heads of a layer, by which the query heads can be divided. */
  readonly kvHeads: number;
}

/** A head as users write it: "18.6" is head 6 of layer 18, both 0-based. */
export function formatHead({ layer, head }: Head): string {
  return `${layer}.${head}`;
}

/** A KV head as users read it: "KV 18.2" is KV head 2 of layer 18. Query heads alone are written without a word before them. */
export function formatKvHead(head: Head): string {
  return `KV ${formatHead(head)}`;
}

/** Heads of an axis as users read them. */
export function headFormat(axis: HeadAxis): (head: Head) => string {
  return axis === "heads" ? formatHead : formatKvHead;
}

/** Reads LAYER.HEAD, both 0-based; undefined for other text. */
export function readHead(text: string): Head | undefined {
  const parts = /^(\d+)\.(\d+)$/.exec(text);
  return parts === null ? undefined : { layer: Number(parts[1]), head: Number(parts[2]) };
}

/**
 * Reads a head that a model must have.
 * @throws HeadscopeError `usage` naming the head and what is allowed
 */
export function parseHead(text: string, { layers, heads }: Pick<HeadShape, "layers" | "heads">): Head {
  const ref = readHead(text);
  if (ref === undefined)
    throw new HeadscopeError("usage", `"${text}" is not a head`, {
      remedy: "write LAYER.HEAD, such as 18.6, with commas between heads, or top:8@scores.json#metric",
    });
  if (ref.layer >= layers || ref.head >= heads) {
    const beyond = ref.layer >= layers ? `layer ${ref.layer}` : `head ${ref.head} in a layer`;
    throw new HeadscopeError("usage", `there is no head ${text}: the model has no ${beyond}`, {
      remedy: `layers are 0 to ${layers - 1}, heads 0 to ${heads - 1}`,
    });
  }
  return ref;
}

/** Says whether a model of a shape has a query head. */
export function hasHead({ layers, heads }: Pick<HeadShape, "layers" | "heads">, place: Head | undefined): boolean {
  return place !== undefined && place.layer < layers && place.head < heads;
}

/** The KV head that a query head reads. */
export function kvHeadOf({ layer, head }: Head, { heads, kvHeads }: Pick<HeadShape, "heads" | "kvHeads">): Head {
  return { layer, head: Math.floor(head / (heads / kvHeads)) };
}

/** The query heads that share a KV head. */
export function groupOf({ layer, head }: Head, { heads, kvHeads }: Pick<HeadShape, "heads" | "kvHeads">): Head[] {
  const size = heads / kvHeads;
  return Array.from({ length: size }, (_, i) => ({ layer, head: head * size + i }));
}
