import type { HeadAxis } from "../../common/heads/head.ts";
import type { HeadMask } from "../../common/heads/mask.ts";
import { meaningOf } from "../../common/heads/meaning.ts";
import type { HeadScores } from "../../common/heads/scores.ts";

/** Numbers by head under the name that foreign files give them. */
export interface NamedTable {
  readonly name: string;
  readonly axis: HeadAxis;
  /** [layers, heads] or [layers, kvHeads] */
  readonly values: readonly (readonly number[])[];
}

/**
 * The tables of a document: the metrics of scores; of a mask head_mask (1 keep, 0 ablate) and kv_head_mask (1 full
 * attention, 0 streaming), all ones for an axis that the mask leaves alone.
 */
export function headTables(document: HeadScores | HeadMask): NamedTable[] {
  if (isScores(document))
    return Object.entries(document.metrics).map(([name, { axis, values }]) => ({ name, axis, values }));
  const { layers, heads, kvHeads } = document.model;
  const keep = filled(layers, heads, 1);
  const { ablated, full: whole } = meaningOf(document);
  for (const { layer, head } of ablated) keep[layer]![head] = 0;
  const full = filled(layers, kvHeads, 0);
  for (const { layer, head } of whole) full[layer]![head] = 1;
  return [
    { name: "head_mask", axis: "heads", values: keep },
    { name: "kv_head_mask", axis: "kvHeads", values: full },
  ];
}

function isScores(document: HeadScores | HeadMask): document is HeadScores {
  return "metrics" in document;
}

function filled(rows: number, columns: number, value: number): number[][] {
  return Array.from({ length: rows }, () => Array.from({ length: columns }, () => value));
}
