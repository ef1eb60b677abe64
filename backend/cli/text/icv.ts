import type { Intervened } from "../../circuits/intervene.ts";
import type { InContextVector } from "../../circuits/vectors/in-context-vectors.ts";
import { counted, signed } from "../../common/text.ts";
import type { Model } from "../../models/model.ts";
import { nextTexts } from "./ablation.ts";
import { bold, number, right, table } from "./format.ts";

/** In-context vectors for people: by layer, and what adding them does. */
export function vectorsText(
  vectors: readonly InContextVector[],
  shown: { model: Model; examples: number; strength: number; effect: Intervened | undefined; out: string | undefined },
): string {
  const { model, examples, strength, effect, out } = shown;
  const rows = vectors.map(({ layer, length, share, residNorm }) => [
    String(layer),
    number(length, 2),
    number(residNorm, 2),
    number(share),
  ]);
  return [
    `${bold("In-context vectors")} of ${model.ref} from ${counted(examples, "example")}: principal directions from sources to targets`,
    table([right("layer"), right("length"), right("of streams of"), right("share of the differences")], rows, "  "),
    ...(effect ? ["", ...effectTexts(effect, strength)] : []),
    ...(out === undefined ? [] : [`Interventions written to ${out}.`]),
  ].join("\n");
}

function effectTexts({ clean, changed, nextToken }: Intervened, strength: number): string[] {
  const rows = [
    ["as it is", number(clean.loss), ""],
    [`with ${strength} of the vectors`, number(changed.loss), signed(changed.loss - clean.loss)],
  ];
  return [table(["", right("loss"), right("")], rows, "  "), "", ...nextTexts(nextToken, "with them", "as it is")];
}
