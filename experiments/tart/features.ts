import { type Matrix, matrixOf } from "../../backend/common/numerics/matrix.ts";
import { eigen } from "../../backend/common/numerics/symmetric-eigen.ts";

/** Items in coordinates of the shots' principal components: the shots themselves, and the others. */
export interface Components {
  /** [shots, components] */
  readonly shots: Matrix;
  /** [others, components] */
  readonly others: Matrix;
}

/** Least variance of a component, in shares of the largest: below it stands rounding. */
const LEAST = 1e-9;

/**
 * Principal components that are fitted on the shots, which is all that a task may learn from, of shots and other items.
 * @param products inner products of all items, the shots first [items][items]: whatever the width of what they are products of
 * @param options.count components, at most; of those that are not there, as the shots are too few or alike, nothing is given
 * @param options.white true for a variance of 1 of each component over the shots, as Bhatia et al. 2023 have it
 */
export function components(
  products: readonly (readonly number[])[],
  shots: number,
  { count, white }: { count: number; white: boolean },
): Components {
  const own = Array.from({ length: shots }, (_, i) => i);
  const toShots = products.map((row) => own.reduce((sum, i) => sum + row[i]!, 0) / shots);
  const total = own.reduce((sum, i) => sum + toShots[i]!, 0) / shots;
  // Inner products with the shots once their mean is taken from everything [items][shots].
  const centred = products.map((row, a) => own.map((i) => row[i]! - toShots[a]! - toShots[i]! + total));
  const { values, vectors } = eigen(Float64Array.from(centred.slice(0, shots).flat()), shots);
  const order = [...values.keys()].sort((a, b) => values[b]! - values[a]!);
  const kept = order.slice(0, count).filter((c) => values[c]! > LEAST * values[order[0]!]!);
  const coordinates = centred.map((row) =>
    kept.map((c) => {
      const along = row.reduce((sum, value, i) => sum + value * vectors[c * shots + i]!, 0) / Math.sqrt(values[c]!);
      return white ? along * Math.sqrt((shots - 1) / values[c]!) : along;
    }),
  );
  return { shots: matrixOf(coordinates.slice(0, shots)), others: matrixOf(coordinates.slice(shots)) };
}
