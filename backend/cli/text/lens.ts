import type { Lens, LensReading } from "../../circuits/attribution/lens.ts";
import type { TunedLens } from "../../circuits/attribution/tuned-lens.ts";
import type { Model } from "../../models/model.ts";
import { bold, count, dim, number, right, table, tokenText } from "./format.ts";

const COLUMNS = ["stream", right("answer"), right("wrong"), right("rank"), "likeliest"];
const TUNED = ["stream", right("answer"), right("rank"), "likeliest through its map", right("KL"), right("without")];

/** The lens for people: a row a layer; with maps a second table of what is read through them. */
export function lensText({ rows, notes = [] }: Lens, model: Model, tuned?: TunedLens): string {
  // Ranks are means over prompts.
  const place = (rank: number): string => (Number.isInteger(rank) ? count(rank) : number(rank, 1));
  const point = (at: string): string => at.replace(/^blocks\./, "").replace(".hook_", " ");
  const likeliest = ({ top }: Pick<LensReading, "top">): string => top.map(({ id }) => tokenText(model, id)).join(" ");
  const plain = rows.map((row) => [
    point(row.at),
    number(row.answer),
    number(row.wrong),
    place(row.rank),
    likeliest(row),
  ]);
  const through = rows.flatMap(({ at, tuned: own }, r) => {
    const quality = tuned?.quality[r];
    if (!own || !quality) return [];
    const kl = [number(quality.tuned), number(quality.logit)];
    return [[point(at), number(own.answer), place(own.rank), likeliest(own), ...kl]];
  });
  return [
    `${bold("Logit lens")} in ${model.ref}: logits of the answer and the wrong one, and the tokens above the answer`,
    table(COLUMNS, plain, "  "),
    ...(tuned
      ? [
          `${bold("Through an affine map a layer")}, fitted on ${count(tuned.fitted)} tokens; KL from the model's own distribution on ${count(tuned.heldOut)} others, in nats`,
          table(TUNED, through, "  "),
        ]
      : []),
    ...notes.map((note) => dim(`  ${note}`)),
  ].join("\n");
}
