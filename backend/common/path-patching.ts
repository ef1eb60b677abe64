/** Inputs of a head that a path can end in. */
export const PATH_ENDS = ["q", "k", "v"] as const;
export type PathEnd = (typeof PATH_ENDS)[number];

/**
 * What lies between a sender and its receivers. direct: nothing, what the sender writes reaches them unchanged, and no MLP sees
 * it. mlps: the MLPs on the way (and none of the heads) are computed again with it, as Wang et al. do. In a model without MLPs
 * both are the same.
 */
export const PATH_FORMS = ["direct", "mlps"] as const;
export type PathForm = (typeof PATH_FORMS)[number];

/** The forms in the words of results: "direct edge", "MLPs computed again". */
export const PATH_FORM_WORDS: Readonly<Record<PathForm, string>> = {
  direct: "direct edge",
  mlps: "MLPs computed again",
};
