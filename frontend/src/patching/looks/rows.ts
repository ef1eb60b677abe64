import type { Table } from "../../components/card/files.ts";
import type { Looks } from "./looks.svelte.ts";

/** Tokens up to which all of a prompt are shown. */
const ALL = 40;
/** Weight from which on a token of a longer prompt is shown, as a share of the largest. */
const SEEN = 0.05;

/** The positions of a prompt that are shown: of a long one those that some head looks at, and the last. */
export function shownPositions({ tokens, heads }: Pick<Looks, "tokens" | "heads">): number[] {
  const positions = tokens.map((_, position) => position);
  if (tokens.length <= ALL) return positions;
  const most = largestWeight(heads);
  const seen = (p: number): boolean => heads.some(({ weights }) => weights[p]! >= SEEN * most);
  return positions.filter((p) => seen(p) || p === tokens.length - 1);
}

/** The largest weight of all heads; 1 where there is none. */
export function largestWeight(heads: Looks["heads"]): number {
  return Math.max(0, ...heads.flatMap(({ weights }) => weights)) || 1;
}

/** All weights as a table, a head and a token a row. */
export function looksTable({ heads, tokens }: Looks): Table {
  return {
    columns: ["head", "position", "token", "weight"],
    rows: heads.flatMap(({ head, weights }) => weights.map((weight, p) => [head, p, tokens[p]!, weight])),
  };
}
