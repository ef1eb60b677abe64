import { HeadscopeError } from "../../../common/errors.ts";
import type { AttentionKernelName } from "../../../common/words.ts";
import type { ModelConfig } from "../../config.ts";
import { requireAttention } from "../mixers/index.ts";
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

/**
 * Insists on plain softmax attention, for whoever reckons with it.
 * @param who the subject of the error, such as "probe on-the-fly"
 * @throws HeadscopeError (unsupported) for a model of another kernel, or with layers without attention
 */
export function requireSoftmax(config: Pick<ModelConfig, "attention" | "mixer">, who: string): void {
  requireAttention(config, who);
  const { name, title } = kernelOf(config);
  if (name === "softmax") return;
  throw new HeadscopeError("unsupported", `${who} reckons with softmax attention, and this model has ${title}`, {
    remedy: "take a model of softmax attention",
    field: "attention",
  });
}
