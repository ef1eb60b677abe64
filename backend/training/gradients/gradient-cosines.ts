import type { Tensor } from "@tensorflow/tfjs";
import { tf } from "../../runtime/tf.ts";
import { pause } from "../../runtime/turn.ts";
import { stepPlan } from "../plan.ts";
import type { TrainSpec } from "../spec.ts";
import { batchGradients } from "../step.ts";
import { type Batch, rowOf, type SyntheticTask } from "../task.ts";

/** Most numbers of gradients that are held at a time. */
const HELD = 2 ** 24;

/** Sequences, and what their gradients are compared with. */
export interface GradientComparison {
  readonly sequences: Batch;
  /** Batch whose mean loss is the one to be helped. */
  readonly target: Batch;
  readonly onProgress?: (done: number, total: number) => void;
  readonly signal?: AbortSignal;
}

/** The gradient of one sequence's loss, beside the target's. */
export interface GradientCosine {
  /** Of the angle between the two; 0 where one of them is nothing. */
  readonly cosine: number;
  /** Length of the sequence's gradient. */
  readonly norm: number;
  /** The sequence's loss. */
  readonly loss: number;
}

/**
 * Cosines of the gradients of single sequences' losses with the gradient of another loss, at the same parameters: a step on a sequence
 * of a positive one lowers the other loss, to first order.
 * @param spec of the run @param parameters as a checkpoint has them [parameters]
 * @returns by sequence
 * @throws what the signal was aborted with
 * @see Han et al. 2023, Understanding In-Context Learning via Supportive Pretraining Data, section 2
 */
export async function gradientCosines(
  task: SyntheticTask,
  spec: TrainSpec,
  parameters: Float32Array,
  { sequences, target, onProgress, signal }: GradientComparison,
): Promise<GradientCosine[]> {
  const { plan, dispose } = stepPlan(task, spec);
  const at = tf.tensor1d(parameters);
  const [loss, wanted] = batchGradients(plan, at, [target]); // [1], [1, parameters]
  const found: GradientCosine[] = [];
  const size = Math.max(1, Math.floor(HELD / parameters.length));
  try {
    for (let first = 0; first < sequences.rows; first += size) {
      signal?.throwIfAborted();
      const count = Math.min(size, sequences.rows - first);
      const part = Array.from({ length: count }, (_, i) => rowOf(sequences, first + i));
      const [losses, gradients] = batchGradients(plan, at, part);
      const [each, products, squares] = read(losses, tf.matMul(gradients, wanted, false, true), squaredLengths(gradients, wanted)); // biome-ignore format: one line
      gradients.dispose();
      const length = Math.sqrt(squares!.at(-1)!);
      part.forEach((_, i) => {
        const norm = Math.sqrt(squares![i]!);
        const cosine = norm * length > 0 ? products![i]! / (norm * length) : 0;
        found.push({ cosine, norm, loss: each![i]! });
      });
      onProgress?.(found.length, sequences.rows);
      await pause();
    }
    return found;
  } finally {
    tf.dispose([at, loss, wanted]);
    dispose();
  }
}

/** Squared lengths of rows and, last, of another. */
function squaredLengths(rows: Tensor, other: Tensor): Tensor {
  return tf.tidy(() => tf.sum(tf.square(tf.concat([rows, other])), 1));
}

/** The values of tensors, which are disposed. */
function read(...tensors: Tensor[]): Float32Array[] {
  const values = tensors.map((tensor) => tensor.dataSync() as Float32Array);
  tf.dispose(tensors);
  return values;
}
