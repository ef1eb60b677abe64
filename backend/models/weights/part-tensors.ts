import type { Tensor } from "@tensorflow/tfjs";
import type { BlockWeights, NormWeights } from "./block-parts.ts";
import type { Matrix } from "./matrix.ts";
import type { Weights } from "./weights.ts";

/** A model's weights by the names of the families' parts (families/family.ts): what loading put where. */
export function partTensors(weights: Weights): Map<string, Matrix | Tensor> {
  const parts = new Map<string, Matrix | Tensor>();
  const put = (name: string, value: Matrix | Tensor | undefined) => value && parts.set(name, value);
  const norm = (name: string, value: NormWeights | undefined) => {
    put(`${name}.w`, value?.w);
    put(`${name}.b`, value?.b);
  };
  put("embed", weights.embed);
  put("embed_bias", weights.embedBias);
  put("pos_embed", weights.posEmbed);
  for (const [l, block] of weights.blocks.entries()) putBlock(`blocks.${l}`, block, put, norm);
  norm("ln_final", weights.lnFinal);
  for (const [i, { weight, bias }] of (weights.readout ?? []).entries()) {
    put(`readout.${i}`, weight);
    put(`readout.${i}_bias`, bias);
  }
  if (weights.unembed !== weights.embed) put("unembed", weights.unembed);
  put("unembed_bias", weights.unembedBias);
  return parts;
}

function putBlock(
  at: string,
  block: BlockWeights,
  put: (name: string, value: Matrix | Tensor | undefined) => void,
  norm: (name: string, value: NormWeights | undefined) => void,
): void {
  norm(`${at}.ln1`, block.ln1);
  put(`${at}.attn.qkv`, block.qkv);
  put(`${at}.attn.qkv_bias`, block.qkvBias);
  put(`${at}.attn.q_norm.w`, block.qNorm);
  put(`${at}.attn.k_norm.w`, block.kNorm);
  put(`${at}.attn.o`, block.o);
  put(`${at}.attn.o_bias`, block.oBias);
  norm(`${at}.ln1_post`, block.ln1Post);
  norm(`${at}.ln2`, block.ln2);
  put(`${at}.mlp.in`, block.mlpIn);
  put(`${at}.mlp.in_bias`, block.mlpInBias);
  put(`${at}.mlp.out`, block.mlpOut);
  put(`${at}.mlp.out_bias`, block.mlpOutBias);
  norm(`${at}.ln2_post`, block.ln2Post);
}
