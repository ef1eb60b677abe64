import { HeadscopeError } from "../../common/errors.ts";
import type { ModelConfig } from "../../models/config.ts";
import { type PartTensor, tensorsOf } from "../../models/families/inverse.ts";
import { llama } from "../../models/families/llama.ts";
import type { CheckpointInput } from "../export.ts";

/**
 * Refuses a model that transformers' LlamaForCausalLM does not compute.
 * @throws HeadscopeError `unsupported` naming the first thing that differs
 */
export function checkLlama(config: ModelConfig, ref: string): void {
  const scale = 1 / Math.sqrt(config.d_head);
  const differences: [boolean, string][] = [
    [config.normalization_type !== "RMS", `normalisation ${config.normalization_type ?? "none"}`],
    [!config.final_norm, "no final norm"],
    [config.positional_embedding_type !== "rotary", `${config.positional_embedding_type} positions`],
    [config.rotary_dim !== config.d_head, "partly rotated heads"],
    [config.attn_only, "no MLP"],
    [!config.gated_mlp, "an MLP without a gate"],
    [config.act_fn !== "silu", `activation ${config.act_fn}`],
    [config.parallel_attn_mlp === true, "attention beside the MLP"],
    [(config.norm_placement ?? "pre") !== "pre", "norms after attention and MLP"],
    [config.qk_norm !== undefined, "query and key norms"],
    [config.attn_scores_soft_cap !== undefined || config.output_logits_soft_cap !== undefined, "soft caps"],
    [config.window_size !== undefined, "local attention"],
    [config.embed_scale !== undefined, "scaled embeddings"],
    [config.rotary_scaling !== undefined, `${config.rotary_scaling?.type} rope scaling`],
    [Math.abs(config.attn_scale / scale - 1) > 1e-6, `attention scale ${config.attn_scale}`],
  ];
  const difference = differences.find(([differs]) => differs);
  if (difference !== undefined)
    throw new HeadscopeError("unsupported", `${ref} is no Llama model: it has ${difference[1]}`, {
      remedy: "a checkpoint folder can be written for models of the Llama family only",
    });
}

/** The tensors of LlamaForCausalLM, [out, in], in the order in which its own checkpoints hold them. */
export function llamaTensors(config: ModelConfig): PartTensor[] {
  const [embed, ...tensors] = tensorsOf(llama.huggingFace.parts(config, () => false));
  const inBlock = ({ shares }: PartTensor): boolean => shares[0]!.part.startsWith("blocks.");
  return [embed!, ...tensors.filter(inBlock), ...tensors.filter((tensor) => !inBlock(tensor))];
}

/** config.json and generation_config.json of a Llama checkpoint folder. */
export function llamaConfig({ config, bos, eos }: CheckpointInput): { config: object; generation: object } {
  const special = {
    ...(bos === undefined ? {} : { bos_token_id: bos }),
    ...(eos === undefined ? {} : { eos_token_id: eos }),
  };
  return {
    config: {
      architectures: ["LlamaForCausalLM"],
      model_type: "llama",
      hidden_size: config.d_model,
      intermediate_size: config.d_mlp,
      num_hidden_layers: config.n_layers,
      num_attention_heads: config.n_heads,
      num_key_value_heads: config.n_key_value_heads,
      head_dim: config.d_head,
      hidden_act: "silu",
      max_position_embeddings: config.n_ctx,
      rms_norm_eps: config.eps,
      rope_theta: config.rotary_base,
      rope_scaling: null,
      vocab_size: config.d_vocab,
      tie_word_embeddings: config.tie_word_embeddings,
      attention_bias: false,
      mlp_bias: false,
      attention_dropout: 0,
      initializer_range: 0.02,
      use_cache: true,
      torch_dtype: "float32",
      ...special,
    },
    generation: { ...special },
  };
}
