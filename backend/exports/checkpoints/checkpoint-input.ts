import type { Tensor } from "@tensorflow/tfjs";
import { headModel } from "../../common/heads/model.ts";
import { FAMILIES } from "../../models/families/index.ts";
import type { Model } from "../../models/model.ts";
import type { Matrix } from "../../models/weights/matrix.ts";
import { tf } from "../../runtime/tf.ts";
import type { CheckpointInput, NamedTensor } from "../export.ts";
import { writeHuggingFace } from "./hugging-face.ts";

/** A loaded model as the exports that write weights take it: in its family's layout, or as Llama's tensors. */
export function checkpointInput(model: Model): CheckpointInput {
  const { config, tokenizer } = model;
  return {
    model: headModel(model),
    config,
    tensors: () => tensors(model),
    ...(FAMILIES.some(({ name }) => name === model.family)
      ? { write: (path, ablated, options) => writeHuggingFace(model, path, { ...options, ablated }) }
      : {}),
    ...(tokenizer?.bos === undefined ? {} : { bos: tokenizer.bos }),
    ...(tokenizer?.eos === undefined ? {} : { eos: tokenizer.eos }),
  };
}

async function* tensors({ config, weights }: Model): AsyncGenerator<NamedTensor> {
  const { n_heads, n_key_value_heads, d_head, d_mlp, tie_word_embeddings } = config;
  yield named("model.embed_tokens.weight", weights.embed);
  for (const [layer, block] of weights.blocks.entries()) {
    const prefix = `model.layers.${layer}`;
    const queries = n_heads * d_head;
    const keys = n_key_value_heads * d_head;
    if (block.ln1) yield named(`${prefix}.input_layernorm.weight`, block.ln1.w);
    yield named(`${prefix}.self_attn.q_proj.weight`, block.qkv, [0, queries]);
    yield named(`${prefix}.self_attn.k_proj.weight`, block.qkv, [queries, keys]);
    yield named(`${prefix}.self_attn.v_proj.weight`, block.qkv, [queries + keys, keys]);
    yield named(`${prefix}.self_attn.o_proj.weight`, block.o);
    if (block.ln2) yield named(`${prefix}.post_attention_layernorm.weight`, block.ln2.w);
    if (block.mlpIn) {
      yield named(`${prefix}.mlp.gate_proj.weight`, block.mlpIn, [0, d_mlp]);
      yield named(`${prefix}.mlp.up_proj.weight`, block.mlpIn, [d_mlp, d_mlp]);
    }
    if (block.mlpOut) yield named(`${prefix}.mlp.down_proj.weight`, block.mlpOut);
    await new Promise(setImmediate);
  }
  if (weights.lnFinal) yield named("model.norm.weight", weights.lnFinal.w);
  if (!tie_word_embeddings) yield named("lm_head.weight", weights.unembed);
}

/** @param rows first row and number of rows of a matrix, default all */
function named(name: string, from: Matrix | Tensor, rows?: readonly [number, number]): NamedTensor {
  const part = tf.tidy(() => {
    const whole = "widen" in from ? from.widen() : from;
    return rows ? tf.slice(whole, [rows[0], 0], [rows[1], whole.shape[1]!]) : tf.clone(whole);
  });
  // Outside the tidy, which would look for tensors among the numbers.
  const data = part.dataSync() as Float32Array;
  part.dispose();
  return { name, shape: part.shape, data };
}
