import type { Matrix } from "../../common/numerics/matrix.ts";
import type { Labels, Linear } from "./linear.ts";

const MOST_STEPS = 1_000;
/** Largest entry of a gradient at which a fit has settled, for each example. */
const SETTLED = 1e-7;
/** Steps that the estimate of the curvature remembers. */
const MEMORY = 12;
/** Share of the foretold gain that a step must have, and most halvings until it does. */
const GAIN = 1e-4;
const MOST_HALVINGS = 40;

/**
 * Multinomial logistic regression: the least sum of cross-entropies + l2 / 2 |W|², by L-BFGS.
 * @param x centred examples [examples, dimensions]
 * @see Nocedal and Wright 2006, Numerical Optimization, algorithm 7.5
 */
export function logistic(x: Matrix, labels: Labels, classes: number, l2: number): Linear {
  const size = (x.columns + 1) * classes; // weights, then intercepts
  const objective = (at: Float64Array): Point => pointOf(x, labels, { at, classes, l2 });
  const pairs: Pair[] = [];
  let here = objective(new Float64Array(size));
  for (let step = 0; step < MOST_STEPS; step++) {
    if (here.gradient.every((g) => Math.abs(g) <= SETTLED * x.rows)) break;
    const direction = descent(here.gradient, pairs);
    const next = search(objective, here, direction, pairs.length === 0 ? 1 / Math.max(1, norm(here.gradient)) : 1);
    if (next === undefined) break; // as near as rounding lets it come
    const s = minus(next.at, here.at);
    const y = minus(next.gradient, here.gradient);
    const sy = dot(s, y);
    if (sy > 0) pairs.push({ s, y, sy });
    if (pairs.length > MEMORY) pairs.shift();
    here = next;
  }
  const cut = x.columns * classes;
  return {
    weights: { rows: x.columns, columns: classes, data: here.at.slice(0, cut) },
    intercepts: here.at.slice(cut),
  };
}

/** Parameters with the objective's value and gradient there. */
interface Point {
  readonly at: Float64Array;
  readonly value: number;
  readonly gradient: Float64Array;
}

/** A step, the change of the gradient over it, and their product. */
interface Pair {
  readonly s: Float64Array;
  readonly y: Float64Array;
  readonly sy: number;
}

function pointOf(
  { rows, columns: d, data }: Matrix,
  labels: Labels,
  { at, classes, l2 }: { at: Float64Array; classes: number; l2: number },
): Point {
  const intercepts = d * classes;
  const gradient = at.map((w, i) => (i < intercepts ? l2 * w : 0));
  let value = 0;
  for (let i = 0; i < intercepts; i++) value += (l2 / 2) * at[i]! ** 2;
  for (let e = 0; e < rows; e++) {
    const scores = at.slice(intercepts);
    for (let j = 0; j < d; j++) {
      const feature = data[e * d + j]!;
      for (let c = 0; c < classes; c++) scores[c]! += feature * at[j * classes + c]!;
    }
    const largest = Math.max(...scores);
    const own = scores[labels[e]!]!;
    const powers = scores.map((score) => Math.exp(score - largest));
    const sum = powers.reduce((a, b) => a + b, 0);
    value += Math.log(sum) + largest - own;
    for (let c = 0; c < classes; c++) {
      const error = powers[c]! / sum - (c === labels[e] ? 1 : 0);
      gradient[intercepts + c]! += error;
      for (let j = 0; j < d; j++) gradient[j * classes + c]! += data[e * d + j]! * error;
    }
  }
  return { at, value, gradient };
}

/** The quasi-Newton direction: two loops over the pairs. */
function descent(gradient: Float64Array, pairs: readonly Pair[]): Float64Array {
  const q = gradient.map((g) => -g);
  const newestFirst = pairs.toReversed();
  const shares = newestFirst.map(({ s, y, sy }) => {
    const share = dot(s, q) / sy;
    addTo(q, y, -share);
    return share;
  });
  const [newest] = newestFirst;
  if (newest !== undefined) {
    const scale = newest.sy / dot(newest.y, newest.y);
    for (let i = 0; i < q.length; i++) q[i]! *= scale;
  }
  newestFirst
    .map(({ s, y, sy }, i) => ({ s, y, sy, share: shares[i]! }))
    .toReversed()
    .forEach(({ s, y, sy, share }) => {
      addTo(q, s, share - dot(y, q) / sy);
    });
  return q;
}

/** The first of ever shorter steps that gains enough; undefined where none does. */
function search(
  objective: (at: Float64Array) => Point,
  here: Point,
  direction: Float64Array,
  first: number,
): Point | undefined {
  const slope = dot(here.gradient, direction);
  let length = first;
  for (let halving = 0; halving < MOST_HALVINGS; halving++, length /= 2) {
    const next = objective(here.at.map((value, i) => value + length * direction[i]!));
    if (next.value <= here.value + GAIN * length * slope && next.value < here.value) return next;
  }
  return undefined;
}

/** Adds a multiple of one vector to another, in place. */
function addTo(target: Float64Array, vector: Float64Array, factor: number): void {
  for (let i = 0; i < target.length; i++) target[i]! += factor * vector[i]!;
}

function minus(a: Float64Array, b: Float64Array): Float64Array {
  return a.map((value, i) => value - b[i]!);
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}

function norm(a: Float64Array): number {
  return Math.sqrt(dot(a, a));
}
