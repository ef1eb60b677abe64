import { Random } from "../backend/common/random.ts";
import { type Batch, outputWidth, type SyntheticTask, targetWidth } from "../backend/training/task.ts";

/** Rows of a task as data and as text. */
export interface SampledRows {
  readonly samples: readonly Readonly<Record<string, unknown>>[];
  readonly texts: readonly string[];
}

/**
 * Draws rows of a task: the batch of the first step of a run with this seed and as many rows.
 * @param params the task's, complete
 * @param count rows
 * @throws HeadscopeError (usage) for parameters that contradict each other
 */
export function sampleRows(
  task: SyntheticTask,
  params: Readonly<Record<string, unknown>>,
  { count, seed }: { count: number; seed: number },
): SampledRows {
  task.check(params);
  const world = task.world(params, seed);
  const batch = task.sample(world, params, new Random(seed, 1), count);
  const reference = task.document ? undefined : task.reference?.predict(world, params, batch);
  const rows = Array.from({ length: count }, (_, row) => row);
  return {
    samples: rows.map(
      (row) => task.document?.(world, params, batch, row) ?? document(task, params, batch, { row, reference }),
    ),
    texts: rows.map((row) => task.describe(world, params, batch, row)),
  };
}

/** Lists what goes in at every position, and the targets: null where a prediction counts for nothing. */
function document(
  task: SyntheticTask,
  params: Readonly<Record<string, unknown>>,
  { tokens, inputs, classes, values, weights }: Batch,
  { row, reference }: { row: number; reference: Float64Array | undefined },
): Record<string, unknown> {
  const { input, output, positions, scored } = task.shape(params);
  const outputs = scored === "all" ? positions : 1;
  const targets = nested((classes ?? values)!, row, outputs, targetWidth(output));
  return {
    ...(input.kind === "tokens"
      ? { tokens: nested(tokens!, row, positions, 1) }
      : { inputs: nested(inputs!, row, positions, input.width) }),
    targets: targets.map((target, i) => (weights[row * outputs + i] === 0 ? null : target)),
    ...(reference === undefined ? {} : { reference: nested(reference, row, outputs, outputWidth(output)) }),
  };
}

/** A row of [rows, length, width] as lists; numbers where the width is 1. */
function nested(values: ArrayLike<number>, row: number, length: number, width: number): (number | number[])[] {
  return Array.from({ length }, (_, i) => {
    const at = (row * length + i) * width;
    return width === 1 ? values[at]! : Array.from({ length: width }, (_, j) => values[at + j]!);
  });
}
