import type { Steered, TopTokens } from "../../circuits/vectors/steer.ts";
import type { Model } from "../../models/model.ts";
import { bold, number, table } from "./format.ts";

/** A steered run for people: the likeliest tokens without and with the direction. */
export function steeredText(
  { layer, positions, scale, norm, residNorm, base, steered }: Steered,
  { model, out }: { model: Model; out: string | undefined },
): string {
  const token = (id: number): string => (model.tokenizer ? JSON.stringify(model.tokenizer.token(id)) : String(id));
  const cells = ({ top }: TopTokens, i: number): string[] =>
    top[i] === undefined ? ["", ""] : [token(top[i].id), number(top[i].logit)];
  const where =
    positions === "all"
      ? "all positions"
      : positions === "last"
        ? "the last position"
        : `positions ${positions.join(", ")}`;
  const columns = [
    { head: "as it is" },
    { head: "logit", align: "right" as const },
    { head: "steered" },
    { head: "logit", align: "right" as const },
  ];
  return [
    `${bold("steered")} ${model.ref} behind layer ${layer} at ${where}: ${number(scale, 2)} times a vector of length ${number(norm, 2)}, added to streams of ${number(residNorm, 2)}`,
    table(
      columns,
      base.top.map((_, i) => [...cells(base, i), ...cells(steered, i)]),
      "  ",
    ),
    ...(out === undefined ? [] : [`Logits written to ${out}.`]),
  ].join("\n");
}
