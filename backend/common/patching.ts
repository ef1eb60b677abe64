/** Activations that patching takes from the clean run: of heads, or of the stream around attention and MLP. */
export const PATCH_NODES = [
  "z", "q", "k", "v", "pattern", "resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_post", "mlp_out",
] as const; // biome-ignore format: a table
/** One of `PATCH_NODES`. */
export type PatchNode = (typeof PATCH_NODES)[number];

/** Places of which one is patched at a time. */
export const PATCH_PLACES = ["head", "position", "layer"] as const;
/** One of `PATCH_PLACES`. */
export type PatchPlace = (typeof PATCH_PLACES)[number];

/** Places of which a table has an axis more: one head at one position at a time. */
export const PATCH_GRIDS = ["head-position"] as const;
/** One of `PATCH_GRIDS`. */
export type PatchGrid = (typeof PATCH_GRIDS)[number];

/** Places of which a table has as many as groups are asked for: some of an MLP's neurons at a time. */
export const PATCH_GROUPS = ["neurons"] as const;
/** One of `PATCH_GROUPS`. */
export type PatchGroups = (typeof PATCH_GROUPS)[number];

/** Ways to a patching table: a run for every place, or all of them estimated from one gradient (Nanda 2023, attribution patching). */
export const PATCH_METHODS = ["exact", "attribution"] as const;
/** One of `PATCH_METHODS`. */
export type PatchMethod = (typeof PATCH_METHODS)[number];

/** Inputs of a head that a path can end in. */
export const PATH_ENDS = ["q", "k", "v"] as const;
/** One of `PATH_ENDS`. */
export type PathEnd = (typeof PATH_ENDS)[number];

/** Receivers of a path beside heads: the input of the final norm. MLPs are m0, m1 and so on. */
export const PATH_LOGITS = "logits";

/**
 * The MLPs on the way from a sender to its receivers. frozen: what the sender writes reaches them unchanged, and no MLP sees it:
 * the edge alone. recomputed: the MLPs on the way (and none of the heads) are computed again with it, as Wang et al. 2023 do. In
 * a model without MLPs both are the same.
 */
export const PATH_MLPS = ["frozen", "recomputed"] as const;
/** One of `PATH_MLPS`. */
export type PathMlps = (typeof PATH_MLPS)[number];

/** The two as results name them. */
export const PATH_MLPS_WORDS: Readonly<Record<PathMlps, string>> = {
  frozen: "direct edge",
  recomputed: "MLPs computed again",
};

/** Runs that are patched: denoise puts clean activations into the corrupt run, noise corrupt ones into the clean run. */
export const PATCH_DIRECTIONS = ["denoise", "noise"] as const;
/** One of `PATCH_DIRECTIONS`. */
export type PatchDirection = (typeof PATCH_DIRECTIONS)[number];
