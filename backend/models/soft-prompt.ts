import type { Tensor } from "@tensorflow/tfjs";
import type { Model } from "./model.ts";
import { Matrix } from "./weights/matrix.ts";

/** A model without its soft prompt. It shares all else with the model and owns nothing: whoever makes it never disposes it. */
export function withoutSoftPrompt(model: Model): Model {
  const { soft_prompt: _, ...config } = model.config;
  const { softPrompt: __, ...weights } = model.weights;
  return model.with({ config, weights });
}

/** A model with other vectors as its soft prompt [vectors, d_model], which stay the caller's; else as `withoutSoftPrompt`. */
export function withSoftPrompt(model: Model, vectors: Tensor): Model {
  const config = { ...model.config, soft_prompt: vectors.shape[0]! };
  return model.with({ config, weights: { ...model.weights, softPrompt: Matrix.dense(vectors) } });
}
