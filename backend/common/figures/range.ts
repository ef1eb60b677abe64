import type { HeatmapFigure } from "./figure.ts";

/** Smallest and largest number; undefined where there is none. */
export function extent(numbers: readonly (number | null)[]): [number, number] | undefined {
  const finite = numbers.filter((value) => value !== null && Number.isFinite(value)) as number[];
  if (finite.length === 0) return undefined;
  return [finite.reduce((a, b) => Math.min(a, b)), finite.reduce((a, b) => Math.max(a, b))];
}

/** Values of a heatmap's first and last colour: as the figure says, else what the table covers. */
export function heatRange({ scale, z: table }: HeatmapFigure): [number, number] {
  if (scale.range !== undefined) return scale.range;
  const [low, high] = extent(table.flat()) ?? [0, 1];
  return low < high ? [low, high] : [low - 0.5, high + 0.5];
}

/** Decimals that tell values of a range apart: two where it spans 1, none where it spans hundreds. */
export function decimalsOf([low, high]: readonly [number, number]): number {
  return Math.min(10, Math.max(0, 2 - Math.floor(Math.log10(high - low))));
}
