import { HeadscopeError } from "./errors.ts";

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

/** Neurons that are patched together unless a number is given: a share of the MLP's. */
const GROUPS_OF_NEURONS = 32;
/** Runs of a table of neurons on one pair, beyond which it is refused. */
const MOST_RUNS = 20_000;

/**
 * Neurons of a group.
 * @param group as it is asked for; default a 32nd of the MLP's neurons @param layers how many are patched
 * @throws HeadscopeError (usage) for a group larger than the MLP, and, where every place is a run, for more places than can be run
 */
export function groupSize(
  { d_mlp }: { readonly d_mlp: number },
  {
    group = Math.ceil(d_mlp / GROUPS_OF_NEURONS),
    layers,
    runEach,
  }: { readonly group?: number | undefined; readonly layers: number; readonly runEach: boolean },
): number {
  if (group > d_mlp)
    throw new HeadscopeError("usage", `a group of ${group} neurons is asked for, and an MLP has ${d_mlp}`, {
      remedy: "give a smaller one, or patch the node by layer",
      field: "group",
    });
  const runs = layers * Math.ceil(d_mlp / group);
  if (!runEach || runs <= MOST_RUNS) return group;
  throw new HeadscopeError(
    "usage",
    `groups of ${group} of ${d_mlp} neurons in ${layers} layers are ${runs} runs a pair: ${MOST_RUNS} are the most`,
    {
      remedy: "give larger groups or fewer layers, or the method attribution, which takes one gradient",
      field: "group",
    },
  );
}
