import { forward } from "../backend/models/forward/forward.ts";
import type { Model } from "../backend/models/model.ts";
import { tf } from "../backend/runtime/tf.ts";
import { type Batch, sequencesOf } from "../backend/training/task.ts";
import { promptBatch, type RegressionPrompts } from "../synthetic-tasks/learners/index.ts";
import { mean } from "./curves.ts";

/** Outputs of a model at every position of a batch, those of a soft prompt left out [rows, positions, outputs]: logits of classes, or values. */
export async function outputsOf(model: Model, batch: Batch): Promise<Float32Array> {
  const { rows, tokens, inputs } = batch;
  const vectors =
    inputs && tf.tensor3d(inputs, [rows, inputs.length / (rows * model.config.d_input!), model.config.d_input!]);
  const input = vectors ? { inputs: vectors } : { tokens: sequencesOf(batch) };
  const positions = vectors ? vectors.shape[1] : tokens!.length / rows;
  const { soft_prompt: first } = model.config;
  const behind = first && {
    softPrompt: true,
    logitsAt: Array.from({ length: positions }, (_, position) => first + position),
  };
  const result = forward(model, { ...input, ...behind });
  try {
    return (await result.logits!.data()) as Float32Array;
  } finally {
    result.dispose();
    vectors?.dispose();
  }
}

/** A model's outputs at every x of prompts [rows, examples, outputs]. */
export async function promptOutputs(model: Model, prompts: RegressionPrompts): Promise<Float64Array> {
  const { rows, examples } = prompts;
  const outputs = await outputsOf(model, promptBatch(prompts)); // [rows, 2 examples - 1, outputs]
  const positions = 2 * examples - 1;
  const width = outputs.length / (rows * positions);
  return Float64Array.from({ length: rows * examples * width }, (_, i) => {
    const pair = Math.floor(i / width);
    const position = Math.floor(pair / examples) * positions + 2 * (pair % examples);
    return outputs[position * width + (i % width)]!;
  });
}

/** Mean over rows of a quantity of every pair, by pairs seen before [examples]. @param value of the pair at a place [rows, examples] */
export function byPairs({ rows, examples }: RegressionPrompts, value: (pair: number) => number): number[] {
  return Array.from({ length: examples }, (_, i) =>
    mean(Array.from({ length: rows }, (_, row) => value(row * examples + i))),
  );
}

/** Mean squared difference by pairs seen before [examples]. @param a @param b [rows, examples] */
export function differences(prompts: RegressionPrompts, a: ArrayLike<number>, b: ArrayLike<number>): number[] {
  return byPairs(prompts, (pair) => (a[pair]! - b[pair]!) ** 2);
}
