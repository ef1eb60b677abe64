import {
  formatHead,
  type Head,
  type HeadAxis,
  type HeadShape,
  readHead,
} from "../../../../backend/common/heads/head.ts";
import { type HeadTable, type RankedHead, rankTable } from "../../../../backend/common/heads/table.ts";

/** Direction in which the layers run: down the page, or from left to right. */
export type Orientation = "layers-down" | "layers-across";

/** A table in which nothing is measured. @param columns heads or KV heads of a layer */
export function emptyTable(layers: number, columns: number): number[][] {
  return Array.from({ length: layers }, () => new Array<number>(columns).fill(Number.NaN));
}

/** The form of a grid of a model's heads: layers from left to right where they are many, or no fewer than the heads. */
export function gridForm(shape: HeadShape, axis: HeadAxis = "heads") {
  return {
    groups: axis === "heads" ? shape.heads / shape.kvHeads : 1,
    prefix: axis === "heads" ? ("H" as const) : ("KV" as const),
    orientation:
      shape.layers > 12 || shape.layers >= shape[axis] ? ("layers-across" as const) : ("layers-down" as const),
  };
}

/** The value of a head in a table; undefined outside it. */
export function valueIn(values: HeadTable, name: string): number | undefined {
  const place = readHead(name);
  return place === undefined ? undefined : values[place.layer]?.[place.head];
}

/** A ranked head with its name, and the places of all that have the same value. */
export interface Ranked extends RankedHead {
  readonly name: string;
  /** First and last place of the heads that have the same value. */
  readonly ties: readonly [number, number];
}

/** A head's rank in words: "3", or "1 to 146" where others have the same value. */
export function rankText({ ties: [first, last] }: Pick<Ranked, "ties">): string {
  return first === last ? String(first) : `${first} to ${last}`;
}

/** All heads of a table, highest first, as the command line ranks them. */
export function rank(values: HeadTable): Ranked[] {
  const ranked = rankTable(values);
  const last = new Map(ranked.map(({ value, rank: place }) => [value, place]));
  const first = new Map(ranked.map(({ value, rank: place }) => [value, place] as const).toReversed());
  return ranked.map((entry) => ({
    ...entry,
    name: formatHead(entry),
    ties: [first.get(entry.value)!, last.get(entry.value)!],
  }));
}

/** Rank in words by name. */
export function ranksByName(ranked: readonly Ranked[]): ReadonlyMap<string, string> {
  return new Map(ranked.map((each) => [each.name, rankText(each)]));
}

/**
 * The range that a colour scale spans: lowest to highest value that is a finite number, from 0 where the lowest is hardly above it;
 * [0, 1] where there is none.
 * @param diverging makes it as long on both sides of 0
 */
export function tableExtent(values: HeadTable, diverging = false): readonly [number, number] {
  let low = Infinity;
  let high = -Infinity;
  for (const row of values)
    for (const value of row) {
      if (!Number.isFinite(value)) continue;
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
  if (low > high) return [0, 1];
  if (!diverging) return [low > 0 && low < high / 20 ? 0 : low, high];
  const far = Math.max(Math.abs(low), Math.abs(high));
  return [-far, far];
}

/** The place of a value in a range, from 0 to 1; the middle of a range of no length. */
export function share(value: number, [low, high]: readonly [number, number]): number {
  return high > low ? Math.min(1, Math.max(0, (value - low) / (high - low))) : 0.5;
}

/** The heads of the rectangle between two corners, in order of layer, then head. */
export function rectangle(a: Head, b: Head): string[] {
  const [fromLayer, toLayer] = [Math.min(a.layer, b.layer), Math.max(a.layer, b.layer)];
  const [fromHead, toHead] = [Math.min(a.head, b.head), Math.max(a.head, b.head)];
  const heads: string[] = [];
  for (let layer = fromLayer; layer <= toLayer; layer++)
    for (let head = fromHead; head <= toHead; head++) heads.push(formatHead({ layer, head }));
  return heads;
}

/**
 * The place that a key leads to in the grid: arrows by one as the eye sees it, Home and End along the line, PageUp and PageDown
 * to the first and last line. At an edge it stays.
 * @returns undefined for a key that does not move
 */
export function moved(place: Head, key: string, values: HeadTable, orientation: Orientation): Head | undefined {
  const down = orientation === "layers-down";
  const lastLayer = values.length - 1;
  const lastHead = (values[0]?.length ?? 1) - 1;
  const to = (layer: number, head: number): Head => ({
    layer: Math.min(lastLayer, Math.max(0, layer)),
    head: Math.min(lastHead, Math.max(0, head)),
  });
  const along = (step: number): Head =>
    down ? to(place.layer, place.head + step) : to(place.layer + step, place.head);
  const across = (step: number): Head =>
    down ? to(place.layer + step, place.head) : to(place.layer, place.head + step);
  const steps: Readonly<Record<string, () => Head>> = {
    ArrowRight: () => along(1),
    ArrowLeft: () => along(-1),
    ArrowDown: () => across(1),
    ArrowUp: () => across(-1),
    Home: () => along(-Infinity),
    End: () => along(Infinity),
    PageUp: () => across(-Infinity),
    PageDown: () => across(Infinity),
  };
  return steps[key]?.();
}

/** The way in which the selection takes in heads. */
export type SelectMode = "replace" | "toggle" | "add";

/** The mode that the keys held during a click or drag ask for. */
export function modeOf(event: { ctrlKey: boolean; metaKey: boolean; shiftKey: boolean }): SelectMode {
  if (event.ctrlKey || event.metaKey) return "toggle";
  return event.shiftKey ? "add" : "replace";
}

/** Items by a key, in order of first appearance. */
export function groupBy<T, K>(items: readonly T[], keyOf: (item: T) => K): Map<K, T[]> {
  const groups = new Map<K, T[]>();
  for (const item of items) {
    const key = keyOf(item);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [item]);
    else group.push(item);
  }
  return groups;
}
