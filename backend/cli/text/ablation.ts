import type { Ablation, PartEffect } from "../../circuits/ablation/ablate.ts";
import type { AblatedEach } from "../../circuits/ablation/each.ts";
import type { Intervened } from "../../circuits/intervene.ts";
import type { NextToken } from "../../circuits/next-tokens.ts";
import type { TokenPair } from "../../circuits/pairs.ts";
import { formatHead } from "../../common/heads/head.ts";
import { METRIC_WORDS } from "../../common/metrics.ts";
import { counted, signed } from "../../common/text.ts";
import type { Model } from "../../models/model.ts";
import { bold, dim, number, right, table, tokenText } from "./format.ts";

const ROWS_SHOWN = 4;
/** Tokens less likely than this in both runs are left out. */
const UNLIKELY = 0.01;

/** Makes the document of `headscope ablate --json`: the ablation with heads as users write them. @param random rows that stood in for a reference */
export function ablationDocument(
  { heads, control, ...rest }: Ablation,
  random?: readonly unknown[],
): Record<string, unknown> {
  const draws = control?.draws.map((draw) => ({ ...draw, heads: draw.heads.map(formatHead) }));
  return {
    ...rest,
    reference: random && "random",
    heads: heads.map(formatHead),
    control: control && { ...control, draws },
  };
}

function likely({ clean, ablated }: NextToken): boolean {
  return Math.max(clean, ablated) >= UNLIKELY;
}

/** An ablation for people: losses beside the control's, and what comes next before and after. */
export function ablationText(result: Ablation, random?: readonly unknown[]): string {
  const { control, noControl, heads, method, model, nextToken, part } = result;
  const { clean, ablated, spread } = shownValues(result);
  const row = (name: string, value: number, note = "") => [
    name,
    number(value),
    value === clean ? "" : signed(value - clean),
    note,
  ];
  const rows = [
    row("all heads", clean),
    row(`${counted(heads.length, "head")} by ${method}`, ablated, heads.map(formatHead).join(" ")),
  ];
  if (control !== undefined && spread !== undefined) {
    const [low, high] = spread.range;
    const all =
      control.ways === undefined
        ? ""
        : ` of the ${counted(control.ways, "set")} there ${control.ways === 1 ? "is" : "are"}`;
    const note = `${counted(control.draws.length, "draw")}${all}, ${number(low)} to ${number(high)}`;
    rows.push(row("other heads of these layers", spread.mean, note));
  }
  const short = (control?.short ?? []).map(({ layer, others }) =>
    dim(`  layer ${layer} has only ${counted(others, "other head")}: its draws hold them all`),
  );
  return [
    `${bold("Ablation")} in ${model.ref}, ${part === undefined ? "loss in nats a token" : partWords(part)}`,
    table(["", right(part?.metric ?? "loss"), right(""), ""], rows, "  "),
    ...short,
    ...(noControl === undefined ? [] : [dim(`  no control: ${noControl}`)]),
    ...(random
      ? [dim(`  ${method} over ${random.length} rows of random tokens; --reference-file gives it rows of your own`)]
      : []),
    "",
    ...nextTexts(nextToken, "ablated"),
  ].join("\n");
}

/** The values of the part that was asked for, else the losses of the whole rows. */
function shownValues({ part, clean, ablated, control }: Ablation) {
  if (part !== undefined) return { clean: part.clean, ablated: part.ablated, spread: part.control };
  return { clean: clean.loss, ablated: ablated.loss, spread: control };
}

/** A part in words, after the model's name. */
function partWords({ over, metric, tokens }: PartEffect): string {
  if (over === "answer") return `${METRIC_WORDS[metric!].words} of the answer against the wrong one`;
  return `loss in nats a token over ${over} (${counted(tokens, "token")})`;
}

const LOSSES = ["", right("loss"), right(""), ""];

/** Shows what comes next in either run, for the first rows. @param changed names the other run @param plain names the one as it is */
export function nextTexts(nextToken: readonly NextToken[][], changed: string, plain = "all heads"): string[] {
  return nextToken.slice(0, ROWS_SHOWN).flatMap((tokens, r) => [
    dim(`after row ${r}`),
    table(
      ["token", right(plain), right(changed)],
      tokens
        .filter(likely)
        .map(({ id, text, clean: before, ablated: after }) => [
          text === undefined ? String(id) : JSON.stringify(text),
          number(before),
          number(after),
        ]),
      "  ",
    ),
  ]);
}

/** Shows people what interventions do. @param count of them */
export function interventionText({ model, clean, changed, nextToken }: Intervened, count: number): string {
  const rows = [
    ["as it is", number(clean.loss), ""],
    [`with ${counted(count, "intervention")}`, number(changed.loss), signed(changed.loss - clean.loss)],
  ];
  return [
    `${bold("Interventions")} in ${model.ref}, loss in nats a token`,
    table(LOSSES.slice(0, 3), rows, "  "),
    "",
    ...nextTexts(nextToken, "changed"),
  ].join("\n");
}

const PLACES_SHOWN = 12;

/** Ablation of each part in turn, for people: the parts without which the metric moves furthest, beside their likes. */
export function ablatedEachText(
  { clean, ablated, control, each, method, metric, notes = [] }: AblatedEach,
  { model, pair }: { model: Model; pair: TokenPair },
): string {
  const token = (position: number): string => tokenText(model, pair.clean[position]!);
  const place = (layer: number, column: number): string => {
    if (each === "head") return formatHead({ layer, head: column });
    return each === "source"
      ? `layer ${layer}, position ${column} ${token(column)}`
      : `${each === "mlp" ? "MLP" : "layer"} ${layer}`;
  };
  const rows = ablated
    .flatMap((row, layer) => row.map((value, column) => ({ layer, column, value, other: control[layer]![column]! })))
    .toSorted((a, b) => Math.abs(b.value - clean) - Math.abs(a.value - clean))
    .slice(0, PLACES_SHOWN)
    .map(({ layer, column, value, other }) => [
      place(layer, column),
      number(value),
      signed(value - clean),
      other === null ? "" : signed(other - clean),
    ]);
  const others = each === "head" ? "other heads of the layer" : "other layers";
  return [
    `${bold(`Each ${each}`)} of ${model.ref} by ${method}: ${metric} ${number(clean)} clean`,
    table(["without", right(metric), right("change"), right(`of ${others}`)], rows, "  "),
    ...notes.map((note) => dim(`  ${note}`)),
  ].join("\n");
}
