import { visible } from "../../format.ts";

/** Parts of a text that a verdict can be about; "auto" for what fits the question. */
export const TEXT_PARTS = ["auto", "all", "repeated", "token", "from", "answer"] as const;
export type TextPart = Exclude<(typeof TEXT_PARTS)[number], "auto">;

/** The text and the question, which decide the parts that there are. */
export interface PartInput {
  readonly ids: readonly number[];
  readonly tokens: readonly string[];
  /** Position that is held; undefined for none. */
  readonly held: number | undefined;
  /** True if the question has a wrong answer to the held token. */
  readonly answered: boolean;
  /** The part that the model was trained on, where its task says so. */
  readonly trained: "repeated" | undefined;
}

/**
 * Positions of the tokens that copying foretells: the token before them and they themselves stood one after the other earlier
 * in the text.
 */
export function repeatedPositions(ids: readonly number[]): number[] {
  const seen = new Set<string>();
  const found: number[] = [];
  for (let t = 1; t < ids.length; t++) {
    const pair = `${ids[t - 1]} ${ids[t]}`;
    if (seen.has(pair)) found.push(t);
    seen.add(pair);
  }
  return found;
}

/** The parts of a text, with what each is called, in the order of a list. */
export function textParts({ ids, tokens, held, answered }: PartInput): readonly { part: TextPart; label: string }[] {
  const within = held !== undefined && held >= 1 && held < ids.length;
  const repeated = repeatedPositions(ids).length;
  const name = within ? `${held} ${visible(tokens[held]!)}` : "";
  return [
    { part: "all" as const, label: "all tokens" },
    ...(repeated > 0
      ? [{ part: "repeated" as const, label: `repeated tokens (${repeated} of ${ids.length - 1})` }]
      : []),
    ...(within ? [{ part: "token" as const, label: `token ${name}` }] : []),
    ...(within ? [{ part: "from" as const, label: `from ${name} on` }] : []),
    ...(within && answered ? [{ part: "answer" as const, label: "answer less wrong answer" }] : []),
  ];
}

/** The part that a verdict is about: the chosen one where the text has it, else what the question is about. */
export function partFor(chosen: (typeof TEXT_PARTS)[number], input: PartInput): TextPart {
  const there = textParts(input).map(({ part }) => part);
  if (chosen !== "auto" && there.includes(chosen)) return chosen;
  if (there.includes("answer")) return "answer";
  if (there.includes("token")) return "token";
  return input.trained !== undefined && there.includes(input.trained) ? input.trained : "all";
}

/** Positions of the tokens of a part, from 1 on: the first token has no loss. */
export function positionsOf(part: TextPart, { ids, held }: Pick<PartInput, "ids" | "held">): number[] {
  const all = Array.from({ length: Math.max(0, ids.length - 1) }, (_, i) => i + 1);
  if (part === "repeated") return repeatedPositions(ids);
  if (held === undefined || part === "all") return all;
  return part === "from" ? all.filter((t) => t >= held) : [held];
}

/** Mean loss over the tokens at some positions. @param nll of each token from the second on */
export function meanAt(nll: readonly number[], positions: readonly number[]): number {
  return positions.reduce((sum, t) => sum + nll[t - 1]!, 0) / positions.length;
}
