import { HeadscopeError } from "../../../common/errors.ts";
import type { AttentionKernelName } from "../../../common/words.ts";
import type { ModelConfig } from "../../config.ts";
import { requireAttention } from "../mixers/index.ts";
import { requireEqualHeads } from "../unequal-heads.ts";
import type { AttentionKernel } from "./kernel.ts";
import { linear } from "./linear.ts";
import { polynomial } from "./polynomial.ts";
import { sigmoid, sigmoidNormalised } from "./sigmoid.ts";
import { keyBias, keyValueBias, sinkLogit, softmax } from "./softmax.ts";

const KERNELS: Readonly<Record<AttentionKernelName, AttentionKernel>> = {
  softmax,
  sigmoid,
  "sigmoid-normalised": sigmoidNormalised,
  linear,
  polynomial,
  "key-bias": keyBias,
  "key-value-bias": keyValueBias,
  "sink-logit": sinkLogit,
};

/** The attention kernel of a model, default softmax. */
export function kernelOf({ attention = "softmax" }: Pick<ModelConfig, "attention">): AttentionKernel {
  return KERNELS[attention];
}

/** Fields of a config by which attention can be another than plain softmax over keys and values of one shape. */
type SoftmaxFields = Pick<ModelConfig, "attention" | "mixer"> & Parameters<typeof requireEqualHeads>[0];

/**
 * Insists on plain softmax attention over keys and values of one shape, for whoever reckons with it.
 * @param who the subject of the error, such as "probe on-the-fly"
 * @throws HeadscopeError (unsupported) for a model of another kernel, with layers without attention, or with keys and values that differ in number or width
 */
export function requireSoftmax(config: SoftmaxFields, who: string): void {
  requireAttention(config, who);
  requireEqualHeads(config, who);
  const { name, title } = kernelOf(config);
  if (name === "softmax") return;
  throw new HeadscopeError("unsupported", `${who} reckons with softmax attention, and this model has ${title}`, {
    remedy: "take a model of softmax attention",
    field: "attention",
  });
}
