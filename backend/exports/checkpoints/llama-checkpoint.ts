import { HeadscopeError } from "../../common/errors.ts";
import type { ModelConfig } from "../../models/config.ts";
import type { CheckpointInput } from "../export.ts";
import type { TensorSlot } from "./safetensors-header.ts";

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
export function llamaTensors(config: ModelConfig): TensorSlot[] {
  const { d_model, d_mlp, d_head, d_vocab } = config;
  const queries = config.n_heads * d_head;
  const keys = config.n_key_value_heads * d_head;
  const slots: TensorSlot[] = [{ name: "model.embed_tokens.weight", shape: [d_vocab, d_model] }];
  for (let layer = 0; layer < config.n_layers; layer++) {
    const parts: [string, number[]][] = [
      ["input_layernorm", [d_model]],
      ["self_attn.q_proj", [queries, d_model]],
      ["self_attn.k_proj", [keys, d_model]],
      ["self_attn.v_proj", [keys, d_model]],
      ["self_attn.o_proj", [d_model, queries]],
      ["post_attention_layernorm", [d_model]],
      ["mlp.gate_proj", [d_mlp, d_model]],
      ["mlp.up_proj", [d_mlp, d_model]],
      ["mlp.down_proj", [d_model, d_mlp]],
    ];
    slots.push(...parts.map(([part, shape]) => ({ name: `model.layers.${layer}.${part}.weight`, shape })));
  }
  slots.push({ name: "model.norm.weight", shape: [d_model] });
  if (!config.tie_word_embeddings) slots.push({ name: "lm_head.weight", shape: [d_vocab, d_model] });
  return slots;
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
