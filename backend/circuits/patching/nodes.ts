import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError } from "../../common/errors.ts";
import type { PatchGrid, PatchGroups, PatchNode, PatchPlace } from "../../common/patching.ts";
import type { Model } from "../../models/model.ts";
import { blockHookNames, isPattern } from "../../models/transformer/hook-points.ts";
import { tf } from "../../runtime/tf.ts";

/** The nodes that can be patched: their hook point, and the axis of their heads (patterns: before the positions). */
export const NODES = {
  z: { hook: "attn.hook_z", heads: "queries", headAxis: 2 },
  q: { hook: "attn.hook_q", heads: "queries", headAxis: 2 },
  k: { hook: "attn.hook_k", heads: "keys", headAxis: 2 },
  v: { hook: "attn.hook_v", heads: "values", headAxis: 2 },
  pattern: { hook: "attn.hook_pattern", heads: "queries", headAxis: 1 },
  resid_pre: { hook: "hook_resid_pre" },
  resid_mid: { hook: "hook_resid_mid" },
  resid_post: { hook: "hook_resid_post" },
  attn_out: { hook: "hook_attn_out" },
  mlp_post: { hook: "mlp.hook_post" },
  mlp_out: { hook: "hook_mlp_out" },
} as const satisfies Record<PatchNode, { hook: string; heads?: "queries" | "keys" | "values"; headAxis?: number }>;

/** The axis of a node's heads; undefined where it has none. */
export function headAxis(node: PatchNode): number | undefined {
  const place = NODES[node];
  return "headAxis" in place ? place.headAxis : undefined;
}

/** The axis of a node's positions, of patterns that of the queries. */
export function positionAxis(node: PatchNode): number {
  return isPattern(NODES[node].hook) ? 2 : 1;
}

/** The axes of an activation along which one place is patched at a time, the outer one of the table first; none where the whole is. */
export function placeAxes(node: PatchNode, by: PatchPlace | PatchGrid | PatchGroups): number[] {
  if (by === "neurons") return [2];
  const heads = by === "layer" || by === "position" ? [] : [headAxis(node)!];
  return by === "layer" || by === "head" ? heads : [...heads, positionAxis(node)];
}

/** @throws HeadscopeError (usage) for heads of a stream, and a node that the model does not have */
export function checkNode(
  { config }: Pick<Model, "config">,
  node: PatchNode,
  byHead: boolean,
  byNeurons = false,
): void {
  const place = NODES[node];
  if (byNeurons && node !== "mlp_post")
    throw new HeadscopeError("usage", `${node} has no neurons`, { remedy: "choose mlp_post", field: "node" });
  if (byHead && !("heads" in place))
    throw new HeadscopeError("usage", `${node} has no heads`, {
      remedy: "patch it by position or layer, or choose z, q, k, v or pattern",
    });
  if (node === "resid_mid" && !blockHookNames(config, 0).includes(place.hook))
    throw new HeadscopeError("usage", "attention and MLP of this model work side by side: there is no resid_mid", {
      remedy: "choose resid_pre, attn_out or mlp_out",
    });
  if ((node === "mlp_out" || node === "mlp_post") && config.attn_only)
    throw new HeadscopeError("usage", "the model has no MLP", { remedy: "choose another node" });
}

/** Places of an activation of which one is patched at a time. */
export interface PlaceLayout {
  /** As `placeAxes` gives them. */
  readonly axes: readonly number[];
  /** Entries of the only axis that are one place; 1 of several axes. */
  readonly group: number;
}

/**
 * One place a row: 1 there, 0 elsewhere, of length 1 along the axes that are taken whole.
 * @param shape of the activation [1, ...] @param places numbers of the rows' places
 */
export function placeMasks(shape: readonly number[], { axes, group }: PlaceLayout, places: readonly number[]): Tensor {
  const size = shape.map((n, axis) => (axis === 0 ? places.length : axes.includes(axis) ? n : 1));
  const strides = size.map((_, axis) => size.slice(axis + 1).reduce((product, n) => product * n, 1));
  const mask = new Float32Array(size.reduce((product, n) => product * n, 1));
  places.forEach((place, row) => {
    let [index, rest] = [row * strides[0]!, place * group];
    // The group's entries follow one another: it goes along the only axis.
    const count = Math.min(group, countEntries(shape, axes) - rest);
    for (const axis of axes.toReversed()) {
      index += (rest % shape[axis]!) * strides[axis]!;
      rest = Math.floor(rest / shape[axis]!);
    }
    mask.fill(1, index, index + count);
  });
  return tf.tensor(mask, size);
}

/** Places of a layer. @param shape of the activation */
export function countPlaces(shape: readonly number[], { axes, group }: PlaceLayout): number {
  return Math.ceil(countEntries(shape, axes) / group);
}

function countEntries(shape: readonly number[], axes: readonly number[]): number {
  return axes.reduce((product, axis) => product * shape[axis]!, 1);
}
