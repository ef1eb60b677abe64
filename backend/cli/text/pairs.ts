import type { PairSample } from "../../../synthetic-tasks/pairs/index.ts";
import type { AnswerMeans, MaskedAnswers, PairAnswers } from "../../circuits/pair-answers.ts";
import type { Pair } from "../../circuits/pairs.ts";
import { counted, signed } from "../../common/text.ts";
import type { Tokenizer } from "../../models/tokenizers/tokenizer.ts";
import { bold, number, percent, quoted, right, table } from "./format.ts";

/** Pairs that are shown in the terminal. */
const SHOWN = 5;

/** Surroundings of pairs that were drawn. */
export interface PairsPlace {
  readonly name: string;
  readonly out?: string | undefined;
  readonly tokenizer?: Tokenizer | undefined;
}

/** Pairs for people: how the model answers them, some of them, and where they are. */
export function pairsText(sample: PairSample, answers: PairAnswers, { name, out, tokenizer }: PairsPlace): string {
  const word = (token: string | number): string =>
    typeof token === "string" ? JSON.stringify(token) : (tokenizer?.token(token) ?? `[${token}]`);
  const words = (answer: Pair["answer"]): string =>
    Array.isArray(answer) ? answer.map(word).join(" | ") : word(answer as string | number);
  const shown = sample.pairs
    .slice(0, SHOWN)
    .map(({ clean, corrupt, answer, wrong }, p) => [
      ...[clean, corrupt].map((side) => (typeof side === "string" ? quoted(side, 48) : quoted(side.join(" "), 48))),
      words(answer),
      words(wrong),
      signed(answers.perPair[p]!.clean, 2),
      signed(answers.perPair[p]!.corrupt, 2),
    ]);
  const left = sample.unaligned === 0 ? "" : `; ${counted(sample.unaligned, "draw")} left out that did not align`;
  return [
    `${bold(name)}: ${counted(sample.pairs.length, "pair")}${left}`,
    `  the clean prompt prefers the answer in ${percent(answers.right)}, it is the likeliest token in ${percent(answers.first)}`,
    `  the corrupt prompt prefers the wrong one in ${percent(answers.turned)}`,
    `  mean logit difference ${number(answers.clean)} clean, ${number(answers.corrupt)} corrupt`,
    "",
    table([...["clean", "corrupt", "answer", "wrong"], ...["clean", "corrupt"].map(right)], shown, "  "),
    "",
    out === undefined ? "Keep them with --out FILE." : `Written to ${out}.`,
  ].join("\n");
}

/** A model's answers for people, beside those under a mask and under random masks of as many heads. */
export function answersText(
  answers: PairAnswers,
  masked: (MaskedAnswers & { readonly file: string }) | undefined,
): string {
  const row = (name: string, each: readonly AnswerMeans[]): string[] => [
    name,
    ...(["right", "first"] as const).map((field) =>
      range(
        each.map((means) => means[field]),
        percent,
      ),
    ),
    ...(["clean", "corrupt"] as const).map((field) =>
      range(
        each.map((means) => means[field]),
        number,
      ),
    ),
  ];
  const { full, kvHeads, ablated, heads } = masked?.heads ?? { full: 0, kvHeads: 0, ablated: 0, heads: 0 };
  const rows = [row("all heads", [answers])];
  if (masked) rows.push(row(masked.file, [masked]));
  if (masked && masked.controls.length > 0)
    rows.push(row(`${counted(masked.controls.length, "random mask")}`, masked.controls));
  return [
    `${counted(answers.perPair.length, "pair")}: share whose clean prompt prefers the answer, share where it is the likeliest token, logit difference`,
    table(["", ...["right", "likeliest", "clean", "corrupt"].map(right)], rows, "  "),
    ...(masked
      ? [
          `  ${masked.file}: ${full} of ${counted(kvHeads, "KV head")} keep everything, ${ablated} of ${counted(heads, "head")} write 0`,
        ]
      : []),
  ].join("\n");
}

/** The lowest and the highest of some values. */
function range(values: readonly number[], show: (value: number) => string): string {
  const [low, high] = [show(Math.min(...values)), show(Math.max(...values))];
  return low === high ? low : `${low} to ${high}`;
}
