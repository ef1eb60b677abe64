import { open } from "node:fs/promises";
import { join } from "node:path";
import { counted } from "../../common/text.ts";
import { formatJson } from "../../json.ts";
import { hasUnequalHeads, headShape, localWindow, type ModelConfig, outputWidth } from "../../models/config.ts";
import type { Model } from "../../models/model.ts";
import { parameter, parameterShapes } from "../../models/weights/parameters.ts";
import { tf } from "../../runtime/tf.ts";
import type { ExportOptions, Written } from "../export.ts";
import { writeFolder, writeSynced } from "../folder.ts";
import { floatBytes, layoutSafetensors, type TensorSlot } from "./safetensors-header.ts";

/** A parameter of a model, and what TransformerLens calls it. */
interface ExportedParameter extends TensorSlot {
  /** Its name in headscope; undefined for zeros that TransformerLens needs and the model does without. */
  readonly parameter: string | undefined;
}

/**
 * Writes a model as a folder for TransformerLens 2: config.json for `HookedTransformerConfig.from_dict` and
 * model.safetensors, float32, with the names and shapes of its `state_dict` (without its buffers, the causal masks and
 * rotary tables, which it makes itself: load with strict=False).
 *
 * Weights are as they are, not folded and not centred; biases that the model lacks are zeros. With fewer key-value heads
 * than heads, keys and values are `_W_K`, `_W_V`, `_b_K` and `_b_V`, as in its grouped-query attention. A model without
 * positions becomes one with learned positions that are all zero, which computes the same. What TransformerLens cannot
 * express (`transformerLensLimits`) is exported all the same: read-in `embed.W_E` [d_input, d_model] and `embed.b_E`, readout
 * layers `readout.{i}.W` [in, out] and `readout.{i}.b`; config.json then has a field `headscope` with what is missing
 * and why, at which `from_dict` stops rather than build another model.
 * @param path the folder to make, whole or not at all
 * @throws HeadscopeError `input` when the folder cannot be replaced
 */
export function writeTransformerLens(model: Model, path: string, options: ExportOptions = {}): Promise<Written> {
  return writeFolder(path, options, async (folder) => {
    await writeSynced(join(folder, "config.json"), `${formatJson(transformerLensConfig(model))}\n`);
    await writeParameters(join(folder, "model.safetensors"), model, options.signal);
  });
}

/** Writes one parameter after the other, so that no second copy of the model is held. */
async function writeParameters(path: string, model: Model, signal: AbortSignal | undefined): Promise<void> {
  const parameters = exportedParameters(model.config);
  const { header } = layoutSafetensors(parameters, {
    format: "pt", // Hugging Face's readers refuse a file without it
    "headscope.model": model.ref,
    "headscope.family": model.family,
    "headscope.digest": model.digest,
    "headscope.positions": model.config.positional_embedding_type,
  });
  const file = await open(path, "wx");
  try {
    await file.writeFile(header);
    for (const exported of parameters) {
      signal?.throwIfAborted();
      await file.writeFile(floatBytes(await valuesOf(model, exported)));
    }
    await file.sync();
  } finally {
    await file.close();
  }
}

async function valuesOf(model: Model, { parameter: name, shape }: ExportedParameter): Promise<Float32Array> {
  if (name === undefined) return new Float32Array(tf.util.sizeFromShape([...shape]));
  const tensor = parameter(model, name);
  try {
    const values = (await tensor.data()) as Float32Array;
    // TransformerLens keeps the factor on embeddings in the embeddings.
    const { embed_scale = 1 } = model.config;
    return name === "embed.W_E" && embed_scale !== 1 ? values.map((value) => value * embed_scale) : values;
  } finally {
    tensor.dispose();
  }
}

/** Every parameter in the order of the file. */
function exportedParameters(config: ModelConfig): ExportedParameter[] {
  const grouped = config.n_key_value_heads !== config.n_heads;
  const parameters = [...parameterShapes(config)].map(([parameter, shape]) => ({
    parameter,
    name: grouped ? parameter.replace(/\.([Wb]_[KV])$/, "._$1") : parameter,
    shape,
  }));
  if (config.positional_embedding_type !== "none") return parameters;
  return [...parameters, { parameter: undefined, name: "pos_embed.W_pos", shape: [config.n_ctx, config.d_model] }];
}

/**
 * config.json of the folder: fields of HookedTransformerConfig, and `headscope` where that is not enough.
 * TransformerLens divides by its `attn_scale`, and has null key-value heads where every head has its own.
 */
function transformerLensConfig({ ref, config }: Pick<Model, "ref" | "config">): Record<string, unknown> {
  const rotary = config.positional_embedding_type === "rotary";
  const limits = transformerLensLimits(config);
  const scaling = config.rotary_scaling?.type === "llama3" ? config.rotary_scaling : undefined;
  return {
    model_name: ref,
    n_layers: config.n_layers,
    n_heads: config.n_heads,
    n_key_value_heads: config.n_key_value_heads === config.n_heads ? null : config.n_key_value_heads,
    d_model: config.d_model,
    d_head: config.d_head,
    d_mlp: config.attn_only ? null : config.d_mlp,
    n_ctx: config.n_ctx,
    d_vocab: config.d_vocab,
    d_vocab_out: outputWidth(config),
    act_fn: config.act_fn,
    gated_mlp: config.gated_mlp,
    attn_only: config.attn_only,
    normalization_type: config.normalization_type,
    eps: config.eps,
    positional_embedding_type: rotary ? "rotary" : "standard",
    rotary_base: config.rotary_base,
    rotary_dim: rotary ? config.rotary_dim : null,
    use_attn_scale: true,
    attn_scale: 1 / config.attn_scale,
    attention_dir: "causal",
    // Fields that most models do without, so that older versions read their folders too.
    ...(config.parallel_attn_mlp ? { parallel_attn_mlp: true } : {}),
    ...(config.norm_placement === "both" ? { use_normalization_before_and_after: true } : {}),
    ...(config.qk_norm ? { use_qk_norm: true } : {}),
    ...(config.attn_scores_soft_cap ? { attn_scores_soft_cap: config.attn_scores_soft_cap } : {}),
    ...(config.output_logits_soft_cap ? { output_logits_soft_cap: config.output_logits_soft_cap } : {}),
    ...(config.window_size === undefined
      ? {}
      : {
          use_local_attn: true,
          window_size: config.window_size,
          attn_types: Array.from({ length: config.n_layers }, (_, l) =>
            localWindow(config, l) === undefined ? "global" : "local",
          ),
        }),
    ...(scaling
      ? {
          use_NTK_by_parts_rope: true,
          NTK_by_parts_factor: scaling.factor,
          NTK_by_parts_low_freq_factor: scaling.low_freq_factor,
          NTK_by_parts_high_freq_factor: scaling.high_freq_factor,
          NTK_original_ctx_len: scaling.original_context,
        }
      : {}),
    tie_word_embeddings: config.tie_word_embeddings,
    ...(limits.length === 0
      ? {}
      : {
          headscope: {
            limits,
            ...(config.d_input === undefined ? {} : { d_input: config.d_input }),
            ...(config.readout_hidden?.length ? { readout_hidden: config.readout_hidden } : {}),
            ...(config.bottleneck ? { bottleneck: config.bottleneck } : {}),
            final_norm: config.final_norm,
          },
        }),
  };
}

/** Sentences on what a model has and TransformerLens has no field for; none for a model that it can run. */
export function transformerLensLimits(config: ModelConfig): string[] {
  return [
    ...(config.d_input
      ? [`reads vectors of ${config.d_input} numbers: vector @ embed.W_E + embed.b_E in place of an embedding`]
      : []),
    ...(config.readout_hidden?.length
      ? ["has readout layers before the unembedding: relu(x @ readout.{i}.W + readout.{i}.b)"]
      : []),
    ...(config.bottleneck
      ? ["computes its outputs from codes of the position before and the token, as headscope's docs/bottleneck.md says"]
      : []),
    ...(config.normalization_type !== null && !config.final_norm ? ["has no norm before the unembedding"] : []),
    ...(config.norm_placement === "post"
      ? ["has norms (ln1_post, ln2_post) after attention and MLP only, none before them"]
      : []),
    ...(config.qk_norm === "all" ? ["has a norm of queries and of keys over all heads together"] : []),
    ...(config.rotary_scaling && config.rotary_scaling.type !== "llama3"
      ? [`stretches its rotary frequencies (${config.rotary_scaling.type})`]
      : []),
    ...(config.rotary_local ? [`rotates its local layers with a base of ${config.rotary_local.base}`] : []),
    ...(hasUnequalHeads(config)
      ? [
          `has ${headShape(config).keys} key heads of ${headShape(config).keyWidth} and ${headShape(config).values} value heads of ${headShape(config).valueWidth} numbers: query head h reads those of h * heads / n_heads, rounded down`,
        ]
      : []),
    ...(config.mixer
      ? [
          `has recurrent layers, whose equations are in headscope's docs/recurrent-layers.md: ${config.mixer.join(", ")}`,
        ]
      : []),
    ...(config.soft_prompt
      ? [
          `has ${counted(config.soft_prompt, "learned vector")} before its sequences (soft_prompt.W_P), without positions`,
        ]
      : []),
    ...(config.act_fn === "quick_gelu" ? ["has the activation quick_gelu: x * sigmoid(1.702 x)"] : []),
  ];
}
