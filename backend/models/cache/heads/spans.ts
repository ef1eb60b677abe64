import { PAGE } from "../page-rows.ts";
import type { CachePage } from "../storage/storage.ts";
import type { Run } from "../window.ts";

/** Rows of a page, which hold consecutive positions. */
export interface Extent {
  readonly page: CachePage;
  readonly row: number;
  readonly position: number;
  readonly count: number;
}

/** Spans of what an eviction has left [n, 4], and what they were made of. */
export interface KeptSpans {
  readonly runs: readonly Run[];
  readonly pages: readonly CachePage[];
  readonly spans: Int32Array;
}

/** Runs as rows of pages. @param pages in which their slots lie */
export function extentsOf(runs: readonly Run[], pages: readonly CachePage[]): Extent[] {
  const extents: Extent[] = [];
  for (const { slot, position, count } of runs)
    for (let done = 0; done < count; ) {
      const row = (slot + done) % PAGE;
      const page = pages[Math.floor((slot + done) / PAGE)]!;
      const now = Math.min(count - done, PAGE - row);
      extents.push({ page, row, position: position + done, count: now });
      done += now;
    }
  return extents;
}

/** Runs as spans [n, 4] of rows of pages: page, row in it, position of that row, count. @param pages in which their slots lie */
export function spansOf(runs: readonly Run[], pages: readonly CachePage[]): Int32Array {
  let most = 0; // spans: a run begins one, and each end of a page that it reaches over another
  for (const { slot, count } of runs) most += 1 + Math.floor(((slot % PAGE) + count) / PAGE);
  const spans = new Int32Array(4 * most);
  let end = 0;
  for (const { slot, position, count } of runs)
    for (let done = 0; done < count; ) {
      const row = (slot + done) % PAGE;
      const now = Math.min(count - done, PAGE - row);
      spans[end++] = pages[Math.floor((slot + done) / PAGE)]!.id;
      spans[end++] = row;
      spans[end++] = position + done;
      spans[end++] = now;
      done += now;
    }
  return spans.subarray(0, end);
}

/** Spans without their first rows. @param spans [n, 4] */
export function spansFrom(spans: Int32Array, first: number): Int32Array {
  let before = 0;
  for (let i = 0; i < spans.length; before += spans[i + 3]!, i += 4) {
    const skipped = first - before;
    if (skipped >= spans[i + 3]!) continue;
    const rest = spans.slice(i);
    if (skipped > 0) rest.set([rest[1]! + skipped, rest[2]! + skipped, rest[3]! - skipped], 1);
    return rest;
  }
  return new Int32Array(0);
}
