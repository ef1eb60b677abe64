import type { MaskPoint } from "../../../probes/mask-search.ts";
import { formatKvHead } from "../../common/heads/head.ts";
import type { HeadMask } from "../../common/heads/mask.ts";
import { meaningOf } from "../../common/heads/meaning.ts";
import { counted } from "../../common/text.ts";
import { dim, number, right, table } from "./format.ts";

/** Shows what a mask keeps, and the curve by which it was found where it was searched for. @param out the file that it was written to */
export function maskText(mask: HeadMask, out: string | undefined): string {
  const full = meaningOf(mask).full;
  const { layers, kvHeads, ref } = mask.model;
  const search = searchOf(mask);
  return [
    `${full.length} of ${counted(layers * kvHeads, "KV head")} of ${ref} keep everything; the others keep the first ${mask.sink} and the latest ${mask.recent} tokens.`,
    `  ${full.map(formatKvHead).join(" ")}`,
    ...(search === undefined ? [] : ["", searchText(search)]),
    out === undefined ? "Write it with --out FILE." : `Written to ${out}.`,
  ].join("\n");
}

/** The search that a mask's source tells of. */
interface Search {
  readonly asked: number;
  readonly answered: number;
  readonly points: readonly MaskPoint[];
}

function searchOf({ source }: HeadMask): Search | undefined {
  return typeof source === "object" ? (source["search"] as Search | undefined) : undefined;
}

/** The quality of each budget that was tried. */
export function searchText({ asked, answered, points }: Search): string {
  const rows = points.map((point) => [String(point.kvHeads), `${point.right} of ${answered}`, number(point.loss, 3)]);
  return [
    dim(`${answered} of ${counted(asked, "needle question")} are answered with all heads full`),
    table(["KV heads kept", "answered", "loss"].map(right), rows, "  "),
  ].join("\n");
}
