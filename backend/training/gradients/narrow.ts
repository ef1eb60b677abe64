import { ACTIVATIONS, type TrainedModel } from "../../kernels/gradient.ts";
import type { ModelConfig } from "../../models/config.ts";
import type { ParameterPlace } from "../../models/weights/trainable.ts";
import { outputWidth, type TaskShape } from "../task.ts";

/** Tensors before the blocks, of each block, behind them, of each readout layer, and of the output, in the kernel's order. */
const PARTS = {
  before: ["embed", "embed_bias", "pos_embed"],
  block: [
    ...["ln1.w", "ln1.b", "attn.qkv", "attn.o", "ln2.w", "ln2.b"],
    ...["mlp.in", "mlp.in_bias", "mlp.out", "mlp.out_bias"],
  ],
  behind: ["ln_final.w", "ln_final.b"],
  readout: ["weight", "bias"],
  output: ["unembed", "unembed_bias"],
} as const;

/** Fields of a config that say nothing more than the kernel's attributes and the parameters' places do. */
const FIELDS = new Set([
  "n_layers", "n_heads", "n_key_value_heads", "d_model", "d_head", "d_mlp", "n_ctx", "d_vocab", "d_vocab_out", "d_input",
  "act_fn", "gated_mlp", "attn_only", "normalization_type", "eps", "final_norm", "positional_embedding_type", "rotary_base",
  "rotary_dim", "tie_word_embeddings", "attn_scale", "readout_hidden",
]); // biome-ignore format: a table

function isKnown(config: ModelConfig): boolean {
  const { n_heads, n_key_value_heads, gated_mlp, tie_word_embeddings, positional_embedding_type } = config;
  return (
    Object.keys(config).every((field) => FIELDS.has(field)) &&
    n_heads === n_key_value_heads &&
    !gated_mlp &&
    !tie_word_embeddings &&
    (positional_embedding_type !== "rotary" || config.rotary_dim === config.d_head) &&
    ACTIVATIONS.some((name) => name === config.act_fn)
  );
}

/** A model and its task, and where its parameters lie in the vector of all. */
interface TrainedTask {
  config: ModelConfig;
  places: readonly ParameterPlace[];
  shape: TaskShape;
}

/** A model as the gradient's kernel is told of it; undefined where it has something that the kernel does not know. */
export function kernelModel({ config, places, shape }: TrainedTask): TrainedModel | undefined {
  const names = [
    ...PARTS.before,
    ...Array.from({ length: config.n_layers }, (_, l) => PARTS.block.map((part) => `blocks.${l}.${part}`)).flat(),
    ...PARTS.behind,
    ...(config.readout_hidden ?? []).flatMap((_, i) => PARTS.readout.map((part) => `readout.${i}.${part}`)),
    ...PARTS.output,
  ];
  if (shape.output.kind === "gaussian" || !isKnown(config) || !places.every(({ name }) => names.includes(name)))
    return undefined;
  const { input, output, positions } = shape;
  const offsetOf = (wanted: string): number => places.find(({ name }: ParameterPlace) => name === wanted)?.offset ?? -1;
  return {
    layers: config.n_layers, heads: config.n_heads, width: config.d_model, head: config.d_head,
    mlp: config.attn_only ? 0 : config.d_mlp, activation: config.act_fn as TrainedModel["activation"],
    norm: config.normalization_type ?? "none", epsilon: config.eps, scale: config.attn_scale,
    rotary: config.positional_embedding_type === "rotary", positions, last: shape.scored === "last",
    inputs: input.kind === "tokens" ? input.vocabulary : input.width,
    outputs: outputWidth(output),
    readout: config.readout_hidden ?? [], places: names.map(offsetOf),
  }; // biome-ignore format: a table
}
