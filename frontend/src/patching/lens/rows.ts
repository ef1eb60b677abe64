import type { LensResponse } from "../../../../backend/common/api/attribution.ts";
import type { Table } from "../../components/card/files.ts";
import { visible } from "../../format.ts";

/** A row of the lens as it is shown. */
export interface LensLine {
  readonly at: string;
  /** The layer that it stands before, or "end". */
  readonly name: string;
  readonly rank: number;
  /** Logit of the answer less that of the wrong one. */
  readonly difference: number;
  readonly top: LensResponse["rows"][number]["top"];
}

/** The rows of a lens, the first layer first. */
export function lensRows({ rows }: LensResponse): LensLine[] {
  return rows.map(({ at, answer, wrong, rank, top }) => ({
    ...{ at, rank, top, difference: answer - wrong },
    name: at.endsWith("hook_resid_post") ? "end" : (/\d+/.exec(at)?.[0] ?? at),
  }));
}

/** A token for people; by its id where nothing of it can be seen. */
export function tokenText({ id, text }: Pick<LensLine["top"][number], "id" | "text">): string {
  const shown = visible(text);
  return /^[\s\p{C}\p{Z}]*$/u.test(shown) ? `#${id}` : shown;
}

/** A rank for people: whole, unless it is a mean. */
export function rankText(rank: number): string {
  return Number.isInteger(rank) ? rank.toLocaleString("en") : rank.toLocaleString("en", { maximumFractionDigits: 1 });
}

/** The lens as a table, a token a column behind the others. */
export function lensTable(lens: LensResponse): Table {
  const most = Math.max(0, ...lens.rows.map(({ top }) => top.length));
  const places = Array.from({ length: most }, (_, i) => i);
  return {
    columns: ["at", "answer", "wrong", "rank", ...places.flatMap((i) => [`token_${i}`, `logit_${i}`])],
    rows: lens.rows.map(({ at, answer, wrong, rank, top }) => [
      ...[at, answer, wrong, rank],
      ...places.flatMap((i) => [top[i]?.text ?? "", top[i]?.logit ?? ""]),
    ]),
  };
}
