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
