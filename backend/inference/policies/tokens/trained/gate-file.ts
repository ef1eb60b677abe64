import type { Tensor } from "@tensorflow/tfjs";
import { fileParameter } from "../../../../common/definitions/parameters.ts";
import { HeadscopeError } from "../../../../common/errors.ts";
import { checkModel, headModel } from "../../../../common/heads/model.ts";
import { type GatesFile, readGates } from "../../../../heads/gate-files.ts";
import type { ModelConfig } from "../../../../models/config.ts";
import type { ModelDescription } from "../../../../models/sources/source.ts";
import { tf } from "../../../../runtime/tf.ts";

/** The parameter that names a policy's trained numbers. */
export const gatesParameter = fileParameter(
  "gates",
  "what headscope train-gates has trained for this policy and the model",
).optional();

/**
 * Reads a policy's trained numbers, before a model is loaded.
 * @param field the parameter that names the file
 * @throws HeadscopeError (usage) where none is given, (missing, input, mismatch) for a file that is none of its own; each says by which
 *   command they are made
 */
export async function trainedGates(path: string | undefined, policy: string, field: string): Promise<GatesFile> {
  if (path === undefined)
    throw new HeadscopeError("usage", `${policy} needs what is trained for it, and no file is given`, {
      remedy: `make one with headscope train-gates --for ${policy} --model MODEL --out FILE, and give ${field}=FILE`,
      field,
    });
  return readGates(path, policy);
}

/** @throws HeadscopeError (mismatch) for numbers of another model, or in another shape than a layer's part has */
export function checkGates(
  { about, tensors }: GatesFile,
  model: ModelDescription,
  shapes: (config: ModelConfig) => Readonly<Record<string, readonly number[]>>,
): void {
  checkModel(about, headModel(model), `the file of ${about.method}`);
  for (let layer = 0; layer < model.config.n_layers; layer++)
    for (const [part, shape] of Object.entries(shapes(model.config))) {
      const found = tensors.get(`blocks.${layer}.${part}`)?.shape;
      if (found?.join() === shape.join()) continue;
      throw new HeadscopeError(
        "mismatch",
        `blocks.${layer}.${part} of the file of ${about.method} is ${found ? `[${found}]` : "absent"}, expected [${shape}]`,
        { remedy: `make it again with headscope train-gates --for ${about.method} --model ${model.ref}` },
      );
    }
}

/** A part of a layer as a tensor, the caller's. */
export function gateTensor({ tensors }: GatesFile, layer: number, part: string): Tensor {
  const { shape, values } = tensors.get(`blocks.${layer}.${part}`)!;
  return tf.tensor(values, [...shape]);
}
