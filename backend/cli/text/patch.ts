import type { TokenPair } from "../../circuits/pairs.ts";
import type { PatchResult } from "../../circuits/patching/patch.ts";
import type { PathResult, SenderTable } from "../../circuits/patching/path.ts";
import type { PatchedTogether } from "../../circuits/patching/together.ts";
import { formatHead, formatKvHead } from "../../common/heads/head.ts";
import type { PatchDirection, PatchGrid, PatchGroups, PatchPlace } from "../../common/patching.ts";
import type { Model } from "../../models/model.ts";
import { bold, dim, number, right, table, tokenText } from "./format.ts";

const PLACES_SHOWN = 12;

/** The run that was patched, for people. */
interface PatchedRun {
  readonly metric: string;
  readonly direction: PatchDirection;
  readonly model: Model;
  readonly pair: TokenPair;
}

/** Subject of a patching table. */
export interface PatchedPlaces extends PatchedRun {
  /** The activation. */
  readonly node: string;
  readonly by: PatchPlace | PatchGrid | PatchGroups;
  /** True when its columns are KV heads. */
  readonly kv?: boolean;
}

/** Metric of the two sides, means over the pairs. */
interface SideMetrics {
  readonly clean: number;
  readonly corrupt: number;
  readonly notes?: readonly string[] | undefined;
}

/** One row of a table of places. */
interface PlaceRow {
  readonly place: string;
  readonly token?: string;
  readonly value: number;
}

/** A patching table for people: the places that move the metric furthest from the patched run's to the other's. */
export function patchText(
  { patched, group = 1, ...sides }: PatchResult<number[][] | number[][][]>,
  { node, by, kv = false, ...run }: PatchedPlaces,
): string {
  const format = kv ? formatKvHead : formatHead;
  const { model, pair } = run;
  const token = (position: number): string => tokenText(model, pair.clean[position]!);
  const rows = patched.flatMap((row, layer) =>
    row.flatMap((entry, column): PlaceRow[] => {
      if (typeof entry !== "number")
        return entry.map((value, position) => ({
          place: `${format({ layer, head: column })}, position ${position}`,
          token: token(position),
          value,
        }));
      if (by === "neurons") return [{ place: `layer ${layer}, neurons from ${column * group}`, value: entry }];
      if (by === "layer") return [{ place: `layer ${layer}`, value: entry }];
      if (by === "head") return [{ place: format({ layer, head: column }), value: entry }];
      return [{ place: `layer ${layer}, position ${column}`, token: token(column), value: entry }];
    }),
  );
  return tableText(`${node} by ${by}`, rows, sides, run);
}

/** Path patching for people: the senders that move the metric furthest. @param what the receivers */
export function pathText(
  { patched, patchedMlps = [], patchedEmbed, ...sides }: PathResult<SenderTable>,
  what: string,
  run: PatchedRun,
): string {
  const row = (place: string, value: number | null | undefined): PlaceRow[] =>
    value === null || value === undefined ? [] : [{ place, value }];
  const rows = [
    ...patched.flatMap((values, layer) => values.flatMap((value, head) => row(formatHead({ layer, head }), value))),
    ...patchedMlps.flatMap((value, layer) => row(`MLP ${layer}`, value)),
    ...row("embedding", patchedEmbed),
  ];
  return tableText(what, rows, sides, run);
}

/** One run with several places patched, for people. */
export function patchedText({ patched, places, ...sides }: PatchedTogether, run: PatchedRun): string {
  return tableText("together", [{ place: places.join(", "), value: patched }], sides, run);
}

function tableText(
  what: string,
  rows: readonly PlaceRow[],
  { clean, corrupt, notes = [] }: SideMetrics,
  { metric, direction, model }: PatchedRun,
): string {
  // Without a difference there is nothing to restore, and no share of it.
  const [from, to] = direction === "denoise" ? [corrupt, clean] : [clean, corrupt];
  const share = (value: number): number => (from === to ? Number.NaN : (value - from) / (to - from));
  const height = (value: number): number => (Number.isNaN(value) ? Number.NEGATIVE_INFINITY : value);
  const ranked = rows
    .map((row) => ({ ...row, share: share(row.value) }))
    .toSorted((a, b) => (height(a.share) === height(b.share) ? 0 : height(b.share) - height(a.share)))
    .slice(0, PLACES_SHOWN);
  const tokens = rows.some(({ token }) => token !== undefined);
  const columns = ["place", tokens ? "token" : "", right(metric), right(direction === "denoise" ? "restored" : "lost")];
  const cells = ranked.map(({ place, token = "", value, share }) => [
    place,
    token,
    number(value),
    Number.isNaN(share) ? "-" : `${Math.round(100 * share)} %`,
  ]);
  return [
    `${bold(what)} in ${model.ref}: ${metric} ${number(clean)} clean, ${number(corrupt)} corrupt`,
    table(columns, cells, "  "),
    ...notes.map((note) => dim(`  ${note}`)),
  ].join("\n");
}
