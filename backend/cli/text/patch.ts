import type { TokenPair } from "../../circuits/pairs.ts";
import type { PatchResult } from "../../circuits/patching/patch.ts";
import { formatHead, formatKvHead } from "../../common/heads/head.ts";
import { rankTable } from "../../common/heads/table.ts";
import type { Model } from "../../models/model.ts";
import { bold, dim, number, right, table } from "./format.ts";

const PLACES_SHOWN = 12;

/** Subject of a patching table. */
export interface PatchedPlaces {
  /** The activation, or the path. */
  readonly node: string;
  readonly by: "head" | "position" | "layer";
  /** True when its columns are KV heads. */
  readonly kv?: boolean;
  readonly metric: string;
  readonly model: Model;
  readonly pair: TokenPair;
}

/** A patching table for people: the places that bring back most of the clean prompt's metric. */
export function patchText({ clean, corrupt, patched, notes = [] }: PatchResult, how: PatchedPlaces): string {
  const { node, by, kv = false, metric, model, pair } = how;
  // Without a difference there is nothing to restore, and no share of it.
  const share = (value: number) => (clean === corrupt ? Number.NaN : (value - corrupt) / (clean - corrupt));
  const ranked = rankTable(patched.map((row) => row.map(share))).slice(0, PLACES_SHOWN);
  const token = (position: number) => {
    const id = pair.clean[position]!;
    return model.tokenizer ? JSON.stringify(model.tokenizer.token(id)) : String(id);
  };
  const place = (layer: number, column: number): string => {
    if (by === "layer") return `layer ${layer}`;
    if (by === "position") return `layer ${layer}, position ${column}`;
    return (kv ? formatKvHead : formatHead)({ layer, head: column });
  };
  const rows = ranked.map(({ layer, head: column, value }) => [
    place(layer, column),
    by === "position" ? token(column) : "",
    number(patched[layer]![column]!),
    Number.isNaN(value) ? "-" : `${Math.round(100 * value)} %`,
  ]);
  const columns = ["place", by === "position" ? "token" : "", right(metric), right("restored")];
  return [
    `${bold(`${node} by ${by}`)} in ${model.ref}: ${metric} ${number(clean)} clean, ${number(corrupt)} corrupt`,
    table(columns, rows, "  "),
    ...notes.map((note) => dim(`  ${note}`)),
  ].join("\n");
}
