import { z } from "zod";

const selectors = z.array(z.string().min(1).max(40)).min(1).max(64);

/** Structures that pruning takes away one by one. */
export const PRUNED = ["weights", "heads"] as const;

/**
 * Parameters of what happens to weights beside the optimiser's updates. All may be absent: a run without them is what it was before
 * they existed.
 */
export const changeParameters = z.object({
  freeze: selectors.optional().describe("weights that stay as they are: embed, pos_embed, attention, mlp, norm, codes, readout, unembed, soft_prompt, a layer such as 0, a part of it such as 0.attention (default: none)"),
  train_only: selectors.optional().describe("weights that are trained, named as in freeze, while all others stay as they are (default: all)"),
  reset: selectors.optional().describe("weights that reset_every draws anew, named as in freeze (default: embed)"),
  reset_every: z.int().min(1).optional().describe("steps after which these weights are drawn anew, again and again: active forgetting (default: never)"),
  reset_until: z.int().min(1).optional().describe("last step after which they are drawn anew: temporary forgetting (default: to the end)"),
  commitment: z.number().min(0).optional().describe("bottleneck: weight of the loss by which the stream comes near its codes (default: 0.25)"),
  code_restart: z.int().min(1).optional().describe("bottleneck: steps between restarts of the codes that no prediction of a batch takes, the first one before step 1 (default: never)"),
  code_restart_until: z.int().min(0).optional().describe("bottleneck: last step after which codes restart (default: half of the steps)"),
  prune: z.enum(PRUNED).optional().describe("what gradual pruning takes away: the weights of smallest magnitude of each matrix, or the attention heads of smallest norm (default: nothing)"),
  prune_sparsity: z.number().gt(0).lt(1).optional().describe("share that is taken away in the end (default: 0.5)"),
  prune_parts: selectors.optional().describe("matrices that lose weights, named as in freeze (default: attention and mlp)"),
  prune_start: z.int().min(0).optional().describe("step at which pruning begins, with nothing taken away (default: 0)"),
  prune_end: z.int().min(1).optional().describe("step at which the final share is reached (default: half of the steps)"),
  prune_every: z.int().min(1).optional().describe("steps from one pruning to the next (default: a twentieth of those between start and end)"),
}); // biome-ignore format: a table

/** Parameters of freezing, resets, codes and pruning. */
export type ChangeParams = z.output<typeof changeParameters>;
