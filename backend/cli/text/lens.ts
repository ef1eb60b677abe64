import type { Lens } from "../../circuits/attribution/lens.ts";
import type { Model } from "../../models/model.ts";
import { bold, count, dim, number, right, table } from "./format.ts";

const COLUMNS = ["stream", right("answer"), right("wrong"), right("rank"), "likeliest"];

/** The logit lens for people: a row a layer. */
export function lensText({ rows, notes = [] }: Lens, model: Model): string {
  const token = (id: number): string => (model.tokenizer ? JSON.stringify(model.tokenizer.token(id)) : String(id));
  // Ranks are means over prompts.
  const place = (rank: number): string => (Number.isInteger(rank) ? count(rank) : number(rank, 1));
  return [
    `${bold("Logit lens")} in ${model.ref}: logits of the answer and the wrong one, and the tokens above the answer`,
    table(
      COLUMNS,
      rows.map(({ at, answer, wrong, rank, top }) => [
        at.replace(/^blocks\./, "").replace(".hook_", " "),
        number(answer),
        number(wrong),
        place(rank),
        top.map(({ id }) => token(id)).join(" "),
      ]),
      "  ",
    ),
    ...notes.map((note) => dim(`  ${note}`)),
  ].join("\n");
}
