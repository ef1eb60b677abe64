import { tf } from "../../../runtime/tf.ts";
import type { AttentionKernel } from "./kernel.ts";

/** Softmax of the scores. */
export const softmax: AttentionKernel = {
  name: "softmax",
  title: "softmax attention",
  source: "Vaswani et al. 2017, Attention Is All You Need",
  fused: true,
  normalised: true,
  weigh: (scores) => tf.softmax(scores),
};

/** Softmax with a learned key a head whose value is 0: a place for attention that is to do nothing. */
export const keyBias: AttentionKernel = {
  ...softmax,
  name: "key-bias",
  title: "softmax attention with a learned key bias of value 0",
  source: "Gu et al. 2025, When Attention Sink Emerges in Language Models, table 4 (K biases)",
  fused: false,
  extra: ["keyBias"],
};

/** Softmax with a learned key and value a head. */
export const keyValueBias: AttentionKernel = {
  ...keyBias,
  name: "key-value-bias",
  title: "softmax attention with learned key and value biases",
  source: "Gu et al. 2025, table 4 (KV biases); Sun et al. 2024, Massive Activations in Large Language Models",
  extra: ["keyBias", "valueBias"],
};

/** Softmax over the scores and a learned logit a head, whose share is lost. */
export const sinkLogit: AttentionKernel = {
  ...keyBias,
  name: "sink-logit",
  title: "softmax attention with a learned sink logit",
  source: "OpenAI 2025, gpt-oss model card; Miller 2023, Attention Is Off By One (with the logit 0)",
  extra: ["sinkLogit"],
};
