import type { HeadAgreement } from "../../common/api/documents.ts";
import { count, dim, number, percent, right, table } from "./format.ts";

/** Ways of finding heads beside each other for people: what each costs, then rank correlation over common best heads. */
export function agreementText({ model, finders, correlation, overlap, top, share, chance }: HeadAgreement): string {
  const numbers = finders.map((_, i) => right(String(i + 1)));
  const rows = finders.map(({ name, cost }, i) => [
    String(i + 1),
    name,
    cost ? number(cost.seconds, 1) : "–",
    cost ? count(cost.forwards) : "–",
    ...finders.map((_, j) => (i === j ? "" : cell(i < j ? correlation[i]![j]! : overlap[i]![j]!, i < j))),
  ]);
  return [
    `ways of finding heads in ${model.ref}: ${model.layers * model.kvHeads} KV heads`,
    table([right(""), "found by", right("seconds"), right("forwards"), ...numbers], rows, "  "),
    dim(
      `  above the diagonal Spearman's rank correlation, below it the share of the best ${top} KV heads (${percent(share)}) in common; by chance ${percent(chance)}`,
    ),
  ].join("\n");
}

function cell(value: number | null, signed: boolean): string {
  if (value === null) return "–";
  return signed ? number(value, 2) : percent(value);
}
