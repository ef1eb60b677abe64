import { z } from "zod";

/** Schema of cfg.json beside the weights of a sparse dictionary, as SAELens 6 writes it; fields that reading needs not pass. */
export const dictionaryConfig = z.looseObject({
  architecture: z.string().describe("rule by which features become active"),
  d_in: z.int().min(1).describe("numbers that it reads at a position"),
  d_sae: z.int().min(1).describe("features"),
  apply_b_dec_to_input: z.boolean().default(true).describe("the decoder's bias is taken off what it reads"),
  normalize_activations: z.string().default("none").describe("scaling of what it reads"),
  k: z.int().min(1).optional().describe("of topk: features that may be active at a position"),
  rescale_acts_by_decoder_norm: z.boolean().default(false).describe("of topk: features count by what they write"),
  metadata: z
    .looseObject({
      model_name: z.string().nullish().describe("model that it was trained on"),
      hook_name: z.string().nullish().describe("hook point that it was trained on"),
      hook_head_index: z.int().nullish().describe("the head alone that it was trained on"),
    })
    .default({}),
});
/** A sparse dictionary as its cfg.json describes it. */
export type DictionaryConfig = z.output<typeof dictionaryConfig>;
