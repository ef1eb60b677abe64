import type { Tensor } from "@tensorflow/tfjs";
import { tf } from "../../../runtime/tf.ts";
import type { Stretch } from "../kinds/reads.ts";

/** The best scores' places by KV head, ascending. @param scores [KV heads, places] @param count at most all */
export function placesOf(scores: Tensor, count: number): number[][] {
  const [heads, all] = scores.shape as [number, number];
  const taken = Math.min(count, all);
  if (taken <= 0) return Array.from({ length: heads }, () => []);
  const best = tf.topk(scores, taken, false).indices.dataSync() as Int32Array;
  return Array.from({ length: heads }, (_, g) => Array.from(best.slice(g * taken, (g + 1) * taken).sort()));
}

/** Places one by one as stretches. @param places ascending */
export function single(places: readonly number[]): Stretch[] {
  return places.map((place) => [place, place + 1] as const);
}

/** Stretches with those joined that meet or overlap. @param stretches ascending by their first places */
export function stretchesOf(stretches: readonly Stretch[]): Stretch[] {
  const joined: [number, number][] = [];
  for (const [first, end] of stretches) {
    const last = joined.at(-1);
    if (end <= first) continue;
    if (last && first <= last[1]) last[1] = Math.max(last[1], end);
    else joined.push([first, end]);
  }
  return joined;
}

/** Places that stretches hold. */
export function countOf(stretches: readonly Stretch[]): number {
  return stretches.reduce((sum, [first, end]) => sum + end - first, 0);
}

/**
 * The parts of spans that hold the places of stretches.
 * @param spans [n, 4]: page, row in it, position of that row, count; the places are counted through them
 */
export function cutSpans(spans: Int32Array, stretches: readonly Stretch[]): Int32Array {
  const cut: number[] = [];
  let [i, before] = [0, 0]; // places that lie before span i
  for (const [first, end] of stretches)
    for (let place = first; place < end; ) {
      while (before + spans[4 * i + 3]! <= place) before += spans[4 * i++ + 3]!;
      const skipped = place - before;
      const count = Math.min(end - place, spans[4 * i + 3]! - skipped);
      cut.push(spans[4 * i]!, spans[4 * i + 1]! + skipped, spans[4 * i + 2]! + skipped, count);
      place += count;
    }
  return Int32Array.from(cut);
}

/** Spans in the order of their positions. @param spans [n, 4] */
export function inOrder(spans: Int32Array): Int32Array {
  const rows = spans.length / 4;
  let ordered = true;
  for (let i = 1; i < rows && ordered; i++) ordered = spans[4 * i + 2]! > spans[4 * i - 2]!;
  if (ordered) return spans;
  const order = [...Array(rows).keys()].sort((a, b) => spans[4 * a + 2]! - spans[4 * b + 2]!);
  return Int32Array.from(order.flatMap((i) => [...spans.subarray(4 * i, 4 * i + 4)]));
}
