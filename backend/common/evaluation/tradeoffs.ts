import type { EvaluatedPoint } from "../api/evaluations.ts";
import type { EvaluationCost } from "../words.ts";

/** A point of which one wants a low cost and a high quality. */
export interface Tradeoff {
  readonly cost: number;
  readonly quality: number;
}

/**
 * The points that no other one dominates: none costs no more and is as good, and cheaper or better.
 * @param points of which those with a number that is none are left out
 * @returns ascending by cost; equal points all
 */
export function paretoFront<P extends Tradeoff>(points: readonly P[]): P[] {
  const sound = points.filter(({ cost, quality }) => Number.isFinite(cost) && Number.isFinite(quality));
  const sorted = sound.toSorted((a, b) => a.cost - b.cost || b.quality - a.quality);
  const front: P[] = [];
  for (const point of sorted) {
    const last = front.at(-1);
    if (!last || point.quality > last.quality || (point.cost === last.cost && point.quality === last.quality))
      front.push(point);
  }
  return front;
}

/** Amount of a cost of an evaluated point: bytes as a share of full attention's, milliseconds; NaN where it was not measured. */
export function costOf(
  point: Pick<EvaluatedPoint, "bytes" | "bytesFull" | "prefillMs" | "decodeMsPerToken">,
  cost: EvaluationCost,
): number {
  if (cost === "bytes") return point.bytes / point.bytesFull;
  return cost === "prefill" ? point.prefillMs : (point.decodeMsPerToken ?? Number.NaN);
}

/** Quality by which evaluated points are compared: of text that is scored its loss, below 0, else the score. */
export function qualityOf({ scoring, loss, score }: Pick<EvaluatedPoint, "scoring" | "loss" | "score">): number {
  return scoring === "text" ? -loss.value : score.value;
}
