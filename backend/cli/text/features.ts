import type { DictionaryFacts } from "../../circuits/features/dictionary.ts";
import type { ActiveFeature, FeatureReading } from "../../circuits/features/read-features.ts";
import type { Intervened } from "../../circuits/intervene.ts";
import { counted, signed } from "../../common/text.ts";
import type { Model } from "../../models/model.ts";
import { nextTexts } from "./ablation.ts";
import { bold, dim, number, right, table } from "./format.ts";

const ROWS_SHOWN = 4;
const FEATURES_SHOWN = 5;

/** A reading and what stands around it. */
export interface FeaturesShown {
  readonly model: Model;
  readonly facts: DictionaryFacts;
  /** Features that were scaled, and what that did. */
  readonly ablated?: Intervened;
  readonly features?: readonly number[];
  readonly scale?: number;
}

/** Prompts through a dictionary for people: the largest features, those of each position, and what taking some out does. */
export function featuresText(reading: FeatureReading, shown: FeaturesShown): string {
  const { hook, reconstruction, rows } = reading;
  const { model, facts } = shown;
  const { explainedVariance, explainedVarianceAfterFirst, l0, error } = reconstruction;
  const hidden = rows.length - ROWS_SHOWN;
  return [
    `${bold("Features")} of ${facts.path} (${facts.architecture}, ${counted(facts.size, "feature")}) at ${hook} of ${model.ref}`,
    `  explained variance ${share(explainedVariance)} (${share(explainedVarianceAfterFirst)} after the first position), error ${share(error)} of the square, ${number(l0, 1)} active at a position`,
    "",
    largestTable(reading, model),
    ...rows.slice(0, ROWS_SHOWN).flatMap((row, r) => [
      "",
      dim(`row ${r}`),
      table(
        [right("position"), "token", right("active"), right("error"), "largest"],
        row.map(({ token, l0: active, error: own, top }, position) => [
          String(position),
          tokenText(model, token),
          String(active),
          share(own),
          top.slice(0, FEATURES_SHOWN).map(activeText).join(" "),
        ]),
        "  ",
      ),
    ]),
    ...(hidden > 0 ? [dim(`  ${counted(hidden, "more row")}; --json has all`)] : []),
    ...ablatedTexts(shown),
  ].join("\n");
}

function share(value: number | null): string {
  return value === null ? "-" : number(value);
}

function tokenText({ tokenizer }: Model, id: number): string {
  return tokenizer ? JSON.stringify(tokenizer.token(id)) : String(id);
}

function activeText({ feature, activation }: ActiveFeature): string {
  return `${feature}(${number(activation, 2)})`;
}

function largestTable({ largest, rows }: FeatureReading, model: Model): string {
  if (largest.length === 0) return dim("  no feature is shown");
  return table(
    [right("feature"), right("largest"), "at", right("mean"), right("active at")],
    largest.map(({ feature, activation, row, position, mean, share: active }) => [
      String(feature),
      number(activation),
      `${rows.length > 1 ? `row ${row}, ` : ""}${position} ${tokenText(model, rows[row]![position]!.token)}`,
      number(mean),
      `${Math.round(100 * active)} %`,
    ]),
    "  ",
  );
}

function ablatedTexts({ ablated, features = [], scale }: FeaturesShown): string[] {
  if (!ablated) return [];
  const { clean, changed, nextToken } = ablated;
  const how = scale === 0 ? "without" : `times ${scale}:`;
  const rows = [
    ["as it is", number(clean.loss), ""],
    [`${how} ${features.join(", ")}`, number(changed.loss), signed(changed.loss - clean.loss)],
  ];
  return ["", table(["", right("loss"), right("")], rows, "  "), "", ...nextTexts(nextToken, "changed", "as it is")];
}
