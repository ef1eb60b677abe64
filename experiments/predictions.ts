import { forward } from "../backend/models/forward/forward.ts";
import type { Model } from "../backend/models/model.ts";
import { tf } from "../backend/runtime/tf.ts";
import type { Batch } from "../backend/training/task.ts";

/** Outputs of a model at every position of a batch [rows, positions, outputs]: logits of classes, or values. */
export async function outputsOf(model: Model, { rows, tokens, inputs }: Batch): Promise<Float32Array> {
  const own = (values: Int32Array, row: number) =>
    Array.from(values.subarray((row * values.length) / rows, ((row + 1) * values.length) / rows));
  const vectors =
    inputs && tf.tensor3d(inputs, [rows, inputs.length / (rows * model.config.d_input!), model.config.d_input!]);
  const result = forward(
    model,
    vectors ? { inputs: vectors } : { tokens: Array.from({ length: rows }, (_, row) => own(tokens!, row)) },
  );
  try {
    return (await result.logits!.data()) as Float32Array;
  } finally {
    result.dispose();
    vectors?.dispose();
  }
}
