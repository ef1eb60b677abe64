import { rankTable } from "../heads/scores.ts";
import type { Model } from "../models/model.ts";
import type { PromptPair } from "./case-files.ts";
import { bold, number, table } from "./format.ts";

/** Metric values of a patching run: clean, corrupt, and with one place patched at a time. */
export interface PatchTable {
  readonly clean: number;
  readonly corrupt: number;
  /** [layers][heads, positions or one] */
  readonly patched: readonly (readonly number[])[];
}

const PLACES_SHOWN = 12;

/** A patching table for people: the places that bring back most of the clean prompt's metric. */
export function patchText(
  { clean, corrupt, patched }: PatchTable,
  how: { node: string; by: "head" | "position" | "layer"; metric: string; model: Model; pair: PromptPair },
): string {
  const { node, by, metric, model, pair } = how;
  const share = (value: number) => (clean === corrupt ? 0 : (value - corrupt) / (clean - corrupt));
  const ranked = rankTable(patched.map((row) => row.map(share))).slice(0, PLACES_SHOWN);
  const token = (position: number) => {
    const id = pair.clean[position]!;
    return model.tokenizer ? JSON.stringify(model.tokenizer.token(id)) : String(id);
  };
  const rows = ranked.map(({ layer, head: column, value }) => [
    by === "layer" ? `layer ${layer}` : by === "head" ? `${layer}.${column}` : `layer ${layer}, position ${column}`,
    by === "position" ? token(column) : "",
    number(patched[layer]![column]!),
    `${Math.round(100 * value)} %`,
  ]);
  const columns = [
    { head: "place" },
    { head: by === "position" ? "token" : "" },
    { head: metric, align: "right" as const },
    { head: "restored", align: "right" as const },
  ];
  return [
    `${bold(`${node} by ${by}`)} in ${model.ref}: ${metric} ${number(clean)} clean, ${number(corrupt)} corrupt`,
    table(columns, rows, "  "),
  ].join("\n");
}
