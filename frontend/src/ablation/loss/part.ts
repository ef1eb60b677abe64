import {
  HELD_PARTS,
  partPositions,
  repeatedPositions,
  TEXT_PARTS,
  type TextPart,
} from "../../../../backend/common/texts/parts.ts";
import { visible } from "../../format.ts";

/** The choice of a part in the URL; "auto" for what fits the question. */
export const PART_CHOICES = ["auto", ...TEXT_PARTS] as const;

/** The text and the question, which decide the parts that there are. */
export interface PartInput {
  readonly ids: readonly number[];
  readonly tokens: readonly string[];
  /** Position that is held; undefined for none. */
  readonly held: number | undefined;
  /** True if the question has a wrong answer, to the held token or to what comes next. */
  readonly answered: boolean;
  /** The part that the model was trained on, where its task says so. */
  readonly trained: "repeated" | undefined;
}

/** The parts of a text, with what each is called, in the order of a list. */
export function textParts({ ids, tokens, held, answered }: PartInput): readonly { part: TextPart; label: string }[] {
  const within = held !== undefined && held >= 1 && held < ids.length;
  const repeated = repeatedPositions(ids).length;
  const name = within ? `${held} ${visible(tokens[held]!)}` : "";
  const like = within ? partPositions("word", ids, held).length : 0;
  const labels: Readonly<Record<TextPart, string | undefined>> = {
    all: "all tokens",
    repeated: repeated > 0 ? `repeated tokens (${repeated} of ${ids.length - 1})` : undefined,
    token: within ? `token ${name}` : undefined,
    word: like > 1 ? `every ${visible(tokens[held!]!)} (${like} of ${ids.length - 1})` : undefined,
    from: within ? `from ${name} on` : undefined,
    answer: answered ? "answer less wrong answer" : undefined,
  };
  return TEXT_PARTS.flatMap((part) => (labels[part] === undefined ? [] : [{ part, label: labels[part] }]));
}

/** The part that a verdict is about: the chosen one where the text has it, else what the question is about. */
export function partFor(chosen: (typeof PART_CHOICES)[number], input: PartInput): TextPart {
  const there = textParts(input).map(({ part }) => part);
  if (chosen !== "auto" && there.includes(chosen)) return chosen;
  if (there.includes("answer")) return "answer";
  if (there.includes("token")) return "token";
  return input.trained !== undefined && there.includes(input.trained) ? input.trained : "all";
}

/** The part that a verdict is about, as the sentence names it and the command line asks for it. */
export interface ShownPart {
  readonly part: TextPart;
  /** As a list calls it. */
  readonly label: string;
  /** As a sentence calls it; undefined for the whole text. */
  readonly over: string | undefined;
  /** Positions of its tokens. */
  readonly positions: readonly number[];
  /** Position of the held token, where the part is about it. */
  readonly held: number | undefined;
}

/** Says what a part of a text is. */
export function shownPart(part: TextPart, input: PartInput): ShownPart {
  const label = textParts(input).find((each) => each.part === part)?.label ?? part;
  const over: Readonly<Record<TextPart, string | undefined>> = {
    all: undefined,
    repeated: "the repeated tokens",
    token: label,
    word: label,
    from: `the tokens ${label}`,
    answer: undefined,
  };
  return {
    part,
    label,
    over: over[part],
    positions: partPositions(part, input.ids, input.held),
    held: HELD_PARTS.includes(part) ? input.held : undefined,
  };
}
