import type { Steered, TopTokens } from "../../circuits/vectors/steer.ts";
import type { Model } from "../../models/model.ts";
import { bold, number, right, table, tokenText } from "./format.ts";

/** A steered run for people: the likeliest tokens without and with the direction. */
export function steeredText(
  { layer, positions, scale, norm, residNorm, base, steered }: Steered,
  { model, out }: { model: Model; out: string | undefined },
): string {
  const cells = ({ top }: TopTokens, i: number): string[] =>
    top[i] === undefined ? ["", ""] : [tokenText(model, top[i].id), number(top[i].logit)];
  const where =
    positions === "all"
      ? "all positions"
      : positions === "last"
        ? "the last position"
        : `positions ${positions.join(", ")}`;
  const columns = ["as it is", right("logit"), "steered", right("logit")];
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
