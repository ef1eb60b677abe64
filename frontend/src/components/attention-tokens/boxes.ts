/** A rectangle, in pixels. */
export interface TokenBox {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

export interface PixelPoint {
  readonly x: number;
  readonly y: number;
}

/** Distance from a token within which the pointer means it. */
export const REACH = 36;

/** The box nearest to a point, at most `reach` from its edge; undefined where there is none. */
export function nearestBox(boxes: readonly TokenBox[], { x, y }: PixelPoint, reach = REACH): number | undefined {
  let [best, least] = [-1, reach];
  for (const [i, box] of boxes.entries()) {
    const distance = Math.hypot(outside(x, box.x, box.width), outside(y, box.y, box.height));
    if (distance > least || (distance === least && best >= 0)) continue;
    [best, least] = [i, distance];
    if (distance === 0) break;
  }
  return best < 0 ? undefined : best;
}

/** The box in the line of boxes above (-1) or below (1) that is nearest in x; the same box where there is no such line. */
export function acrossLines(boxes: readonly TokenBox[], from: number, direction: -1 | 1): number {
  const start = boxes[from];
  if (!start) return from;
  const beyond = boxes.filter(({ y }) => (y - start.y) * direction > 1);
  if (beyond.length === 0) return from;
  const line = beyond.reduce((near, { y }) => (direction > 0 ? Math.min(near, y) : Math.max(near, y)), beyond[0]!.y);
  const distance = (i: number): number => Math.abs(middle(boxes[i]!).x - middle(start).x);
  return boxes
    .map((_, i) => i)
    .filter((i) => Math.abs(boxes[i]!.y - line) <= 1)
    .reduce(
      (near, i) => (distance(i) < distance(near) ? i : near),
      boxes.findIndex(({ y }) => Math.abs(y - line) <= 1),
    );
}

/** A curve between two boxes: from the edge of one over a control point to the edge of the other. */
export interface Connector {
  readonly from: PixelPoint;
  readonly over: PixelPoint;
  readonly to: PixelPoint;
}

/**
 * A curve from the middle of one box to that of another, clipped at their edges.
 * @param side bends it up (-1), as outgoing attention is drawn, or down (1)
 */
export function connector(from: TokenBox, to: TokenBox, side: -1 | 1): Connector {
  const [start, end] = [middle(from), middle(to)];
  const bow = Math.min(28, 12 + Math.hypot(end.x - start.x, end.y - start.y) * 0.1);
  const over = { x: (start.x + end.x) / 2, y: (start.y + end.y) / 2 + side * bow };
  return { from: clipped(from, over), over, to: clipped(to, over) };
}

/** The point at which the line from a box's middle leaves the box; the middle where the point is inside. */
export function clipped(box: TokenBox, towards: PixelPoint): PixelPoint {
  const { x, y } = middle(box);
  const [dx, dy] = [towards.x - x, towards.y - y];
  const share = Math.min(box.width / 2 / Math.abs(dx), box.height / 2 / Math.abs(dy));
  return share < 1 ? { x: x + dx * share, y: y + dy * share } : { x, y };
}

export function middle({ x, y, width, height }: TokenBox): PixelPoint {
  return { x: x + width / 2, y: y + height / 2 };
}

function outside(at: number, start: number, length: number): number {
  return Math.max(start - at, 0, at - start - length);
}
