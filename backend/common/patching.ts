/** Activations that patching takes from the clean run: of heads, or of the stream around attention and MLP. */
export const PATCH_NODES = ["z", "q", "k", "v", "pattern", "resid_pre", "resid_mid", "attn_out", "mlp_out"] as const;
/** One of `PATCH_NODES`. */
export type PatchNode = (typeof PATCH_NODES)[number];

/** Places of which one is patched at a time. */
export const PATCH_PLACES = ["head", "position", "layer"] as const;
/** One of `PATCH_PLACES`. */
export type PatchPlace = (typeof PATCH_PLACES)[number];

/** Metrics of a patched run. */
export const PATCH_METRICS = ["logit-diff"] as const;
/** One of `PATCH_METRICS`. */
export type PatchMetric = (typeof PATCH_METRICS)[number];

/** Inputs of a head that a path can end in. */
export const PATH_ENDS = ["q", "k", "v"] as const;
/** One of `PATH_ENDS`. */
export type PathEnd = (typeof PATH_ENDS)[number];

/**
 * Ways from a sender to its receivers. direct: what the sender writes reaches them unchanged, and no MLP sees it. mlps: the
 * MLPs on the way (and none of the heads) are computed again with it, as Wang et al. 2023 do. In a model without MLPs both are
 * the same.
 */
export const PATH_FORMS = ["direct", "mlps"] as const;
/** One of `PATH_FORMS`. */
export type PathForm = (typeof PATH_FORMS)[number];

/** The forms as results name them. */
export const PATH_FORM_WORDS: Readonly<Record<PathForm, string>> = {
  direct: "direct edge",
  mlps: "MLPs computed again",
};
