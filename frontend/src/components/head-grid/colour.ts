import { inkOn } from "../../../../backend/common/figures/palette.ts";
import type { HeadTable } from "../../../../backend/common/heads/table.ts";
import { diverging as divergingColour, heat, heatStops } from "../../colours.ts";
import { share } from "./grid.ts";

/** A cell's colour and the ink that can be read on it, both #rrggbb. */
export interface CellColour {
  readonly paint: string;
  readonly ink: string;
}

/** The colour of a value in a range; undefined for what is no number. */
export function cellColour(value: number, range: readonly [number, number], diverging = false): CellColour | undefined {
  if (Number.isNaN(value)) return undefined;
  const at = share(value, range);
  const paint = diverging ? divergingColour(2 * at - 1) : heat(at);
  return { paint, ink: inkOn(paint) };
}

/** The colours of a table, cell by cell. */
export function cellColours(
  values: HeadTable,
  range: readonly [number, number],
  diverging: boolean,
): readonly (readonly (CellColour | undefined)[])[] {
  return values.map((row) => row.map((value) => cellColour(value, range, diverging)));
}

/** The colours of a legend, from the lowest value to the highest. */
export function scaleStops(diverging: boolean): readonly string[] {
  return diverging ? [-1, -2 / 3, -1 / 3, 0, 1 / 3, 2 / 3, 1].map(divergingColour) : heatStops();
}
