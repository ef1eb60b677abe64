import type { PatchNode, PatchPlace } from "../../../backend/common/patching.ts";

/** Activations that can be patched, in the order of the computation, with what each is. */
export const NODES: Readonly<Record<PatchNode, string>> = {
  resid_pre: "residual stream before the layer",
  q: "queries",
  k: "keys, of KV heads",
  v: "values, of KV heads",
  pattern: "attention patterns",
  z: "head outputs",
  attn_out: "what attention writes",
  resid_mid: "residual stream between attention and MLP",
  mlp_out: "what the MLP writes",
};
export const PATCH_LIST = Object.keys(NODES) as PatchNode[];

/** One place at a time. */
export const PLACES: Readonly<Record<PatchPlace, string>> = { head: "Head", position: "Position", layer: "Layer" };
export const PLACE_LIST = Object.keys(PLACES) as PatchPlace[];

/** Inputs of a head that a path can end in. */
export const THROUGH = ["q", "k", "v"] as const;
