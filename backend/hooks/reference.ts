import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError } from "../common/errors.ts";
import { Random, randomRows } from "../common/random.ts";
import type { AblationMethod } from "../common/words.ts";
import type { Model } from "../models/model.ts";
import { tokenPool } from "../models/tokens.ts";
import { tf } from "../runtime/tf.ts";

/** Activations that stand in for a run's own: what `mean` averages and `resample` draws from. */
export interface ReferenceActivations {
  /** [reference rows, positions, ...] */
  activation: Tensor;
  /** Real tokens of each reference row; what lies beyond is padding. */
  lengths: readonly number[];
  /** True where the reference rows are the run's own rows: a row then never stands in for itself. */
  own: boolean;
}

/** The run that is changed. */
export interface RunShape {
  rows: number;
  /** Positions of the longest row. */
  positions: number;
  /** Real tokens of each row. */
  lengths: readonly number[];
}

/** Rows that stand in where a single row is measured. */
const RANDOM_ROWS = 8;

/**
 * Rows that mean and resample draw from where one row is measured and no others are given: eight rows of as many tokens, BOS (or
 * id 0) and then random ids.
 * @returns undefined where they draw from the measured rows themselves, or from nothing
 */
export function randomReference(
  model: Model,
  rows: readonly (readonly number[])[],
  method: AblationMethod,
  seed = 0,
): number[][] | undefined {
  const [row, ...others] = rows;
  if (method === "zero" || row === undefined || others.length > 0) return undefined;
  return randomRows(tokenPool(model), RANDOM_ROWS, row.length, new Random(seed, 4));
}

const MORE_ROWS = "give reference rows (other prompts), or an input of at least two rows";

/**
 * Mean activation over the reference rows, for each row of the run; of own rows, over all rows but that one.
 * Pooled over positions (padding left out) unless `byPosition`.
 * @returns [rows or 1, positions or 1, ...]; the caller disposes it
 * @throws HeadscopeError (usage) when a single row would be its own mean, or positions differ with `byPosition`
 */
export function meanActivation(reference: ReferenceActivations, target: RunShape, byPosition: boolean): Tensor {
  const { activation, lengths, own } = reference;
  const count = lengths.length;
  if (own && count < 2)
    throw new HeadscopeError("usage", "mean over the other rows needs more than one row", { remedy: MORE_ROWS });
  if (byPosition && Math.min(...lengths) < target.positions) {
    throw new HeadscopeError(
      "usage",
      `mean by position needs reference rows of at least ${target.positions} tokens, the shortest has ${Math.min(...lengths)}`,
      {
        remedy: "give rows of one length, or take the mean over all positions",
      },
    );
  }
  return tf.tidy(() => {
    const longest = activation.shape[1]!;
    const sums = byPosition
      ? tf.slice(activation, [0, 0], [count, target.positions])
      : tf.sum(
          Math.min(...lengths) === longest
            ? activation
            : tf.mul(activation, realPositions(lengths, longest, activation.rank)),
          1,
          true,
        );
    const weights = tf.reshape(tf.tensor1d(lengths.map((n) => (byPosition ? 1 : n))), [
      count,
      ...new Array(activation.rank - 1).fill(1),
    ]);
    const total = tf.sum(sums, 0, true);
    const weight = tf.sum(weights, 0, true);
    return own ? tf.div(tf.sub(total, sums), tf.sub(weight, weights)) : tf.div(total, weight);
  });
}

/**
 * Activation of another row for each row of the run, paired by a seeded permutation without fixed points.
 * @param seed of the pairing
 * @returns [rows, positions, ...]; the caller disposes it
 * @throws HeadscopeError (usage) when there is no other row, or it is shorter than the row that it stands in for
 */
export function resampleOf(reference: ReferenceActivations, target: RunShape, seed: number): Tensor {
  const { activation, lengths, own } = reference;
  if (own && lengths.length < 2)
    throw new HeadscopeError("usage", "resample needs another row to draw from", { remedy: MORE_ROWS });
  const order = pairing(lengths.length, seed);
  const partner = Array.from({ length: target.rows }, (_, r) => order[r % order.length]!);
  partner.forEach((other, r) => {
    if (lengths[other]! >= target.lengths[r]!) return;
    throw new HeadscopeError(
      "usage",
      `resample: row ${r} has ${target.lengths[r]} tokens and its partner, row ${other} of the reference, ${lengths[other]}`,
      {
        remedy: "give rows of one length",
      },
    );
  });
  return tf.tidy(() => {
    const rows = tf.gather(activation, tf.tensor1d(partner, "int32"));
    const length = rows.shape[1]!;
    if (length >= target.positions) return tf.slice(rows, [0, 0], [target.rows, target.positions]);
    return tf.pad(
      rows,
      rows.shape.map((_, axis) => [0, axis === 1 ? target.positions - length : 0] as [number, number]),
    );
  });
}

/** The reference row that each row takes: a cyclic order, so that none takes itself. @param rows of the reference */
export function pairing(rows: number, seed: number): number[] {
  return rows < 2 ? [0] : new Random(seed, 1).derangement(rows);
}

/** 1 where a row has a token, 0 at its padding [rows, positions, 1, ...]. */
function realPositions(lengths: readonly number[], positions: number, rank: number): Tensor {
  const values = lengths.map((n) => Array.from({ length: positions }, (_, t) => (t < n ? 1 : 0)));
  return tf.reshape(tf.tensor2d(values), [lengths.length, positions, ...new Array(rank - 2).fill(1)]);
}
