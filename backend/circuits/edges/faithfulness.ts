/**
 * The share of the clean prompt's advantage over the corrupt one that a run keeps: 1 the clean metric, 0 the corrupt one.
 * @returns null where there is no advantage
 */
export function faithfulnessOf(metric: number, { clean, corrupt }: { clean: number; corrupt: number }): number | null {
  return clean === corrupt ? null : (metric - corrupt) / (clean - corrupt);
}

/** A circuit's faithfulness at a size. */
export interface CurvePoint {
  /** Of all edges of the model. */
  readonly share: number;
  readonly faithfulness: number | null;
}

/**
 * Areas of a faithfulness curve over the share of edges, as trapezoids from its first point to all edges, where faithfulness is 1:
 * CPR that under the curve, CMD that between it and 1.
 * @param curve by rising share @returns null where the faithfulness is
 * @see Mueller et al. 2025, MIB: A Mechanistic Interpretability Benchmark, section 3
 */
export function curveAreas(curve: readonly CurvePoint[]): { cpr: number | null; cmd: number | null } {
  const points = [...curve, { share: 1, faithfulness: 1 }];
  const area = (value: (faithfulness: number) => number): number | null =>
    points.slice(1).reduce<number | null>((sum, { share, faithfulness }, i) => {
      const before = points[i]!;
      if (sum === null || faithfulness === null || before.faithfulness === null) return null;
      return sum + ((share - before.share) * (value(faithfulness) + value(before.faithfulness))) / 2;
    }, 0);
  return { cpr: area((f) => f), cmd: area((f) => Math.abs(1 - f)) };
}
