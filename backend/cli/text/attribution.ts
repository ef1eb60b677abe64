import type { Attribution } from "../../circuits/attribution/direct.ts";
import { formatHead } from "../../common/heads/head.ts";
import { signed } from "../../common/text.ts";
import type { Model } from "../../models/model.ts";
import { bold, dim, number, right, table } from "./format.ts";

/** Names of the parts beside heads and MLPs. */
const OTHERS = {
  embed: "embedding",
  posEmbed: "positions",
  finalNormBias: "final norm's bias",
  unembedBias: "unembedding's bias",
  softCap: "soft cap",
  interventions: "interventions",
} as const;

const PARTS = ["part", right("logit difference")];

/** Direct logit attribution for people: sums of each kind, then the largest parts either way. @param top parts that are shown */
export function attributionText(
  { logitDiff, sum, parts, neurons = [], notes = [] }: Attribution,
  { model, top }: { model: Model; top: number },
): string {
  const { heads, mlps, attnBias } = parts;
  const total = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
  const other = (name: keyof typeof OTHERS): [string, number] => [OTHERS[name], parts[name] ?? 0];
  const kinds: [string, number][] = [
    other("embed"),
    other("posEmbed"),
    ["heads", total(heads.flat())],
    ["MLPs", total(mlps)],
    ["attention's bias", total(attnBias)],
    other("finalNormBias"),
    other("unembedBias"),
    other("softCap"),
    other("interventions"),
  ];
  const places: [string, number][] = [
    ...heads.flatMap((row, layer) => row.map((value, head): [string, number] => [formatHead({ layer, head }), value])),
    ...mlps.map((value, layer): [string, number] => [`MLP ${layer}`, value]),
  ];
  return [
    `${bold("Direct logit attribution")} in ${model.ref}: logit difference ${number(logitDiff)}, sum of the parts ${number(sum)}`,
    table(PARTS, [...kinds.filter(([, value]) => value !== 0).map(shown), ["", ""], ...largest(places, top)], "  "),
    ...neurons.flatMap(({ layer, values, bias }) => [
      dim(`  neurons of MLP ${layer}, bias ${signed(bias)}`),
      table(
        ["neuron", PARTS[1]!],
        largest(
          values.map((value, i) => [String(i), value]),
          top,
        ),
        "  ",
      ),
    ]),
    ...notes.map((note) => dim(`  ${note}`)),
  ].join("\n");
}

/** The largest parts by absolute value, as rows. */
function largest(parts: readonly [string, number][], count: number): string[][] {
  return parts
    .toSorted(([, a], [, b]) => Math.abs(b) - Math.abs(a))
    .slice(0, count)
    .map(shown);
}

function shown([name, value]: [string, number]): string[] {
  return [name, signed(value)];
}
