import type { Matrix } from "../../common/numerics/matrix.ts";

/** A linear function of examples. */
export interface Linear {
  /** [dimensions, outputs] */
  readonly weights: Matrix;
  /** [outputs] */
  readonly intercepts: Float64Array;
}

/** A class for each training example, from 0. */
export type Labels = readonly number[];
