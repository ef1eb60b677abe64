/** One measurement. */
export interface CurvePoint {
  readonly step: number;
  readonly value: number;
}

/** A run's measurements by metric name, each ascending by step; not every metric is measured at every step. */
export type Curves = ReadonlyMap<string, readonly CurvePoint[]>;
