import { headModel } from "../../common/heads/model.ts";
import { FAMILIES } from "../../models/families/index.ts";
import { pieceRows } from "../../models/families/parts.ts";
import type { Model } from "../../models/model.ts";
import { partTensors } from "../../models/weights/weights.ts";
import { tf } from "../../runtime/tf.ts";
import { pause } from "../../runtime/turn.ts";
import type { CheckpointInput, NamedTensor } from "../export.ts";
import { writeHuggingFace } from "./hugging-face.ts";
import { llamaTensors } from "./llama-checkpoint.ts";

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
    bos: tokenizer?.bos,
    eos: tokenizer?.eos,
  };
}

/** The tensors of Llama that a model has. */
async function* tensors({ config, weights }: Model): AsyncGenerator<NamedTensor> {
  const parts = partTensors(weights);
  for (const { name, shape, shares } of llamaTensors(config)) {
    const { part, start, piece } = shares[0]!;
    const weight = parts.get(part);
    if (!weight) continue;
    const rows = tf.tidy(() => {
      const whole = "widen" in weight ? weight.widen() : weight;
      return tf.slice(whole, [start, ...shape.slice(1).fill(0)], [pieceRows(piece), ...whole.shape.slice(1)]);
    });
    // Outside the tidy, which would look for tensors among the numbers.
    const data = rows.dataSync() as Float32Array;
    rows.dispose();
    yield { name, shape: rows.shape, data };
    await pause();
  }
}
