import { HeadscopeError } from "../common/errors.ts";
import { describeJson } from "../json.ts";
import type { Model } from "../models/model.ts";
import { answerIds } from "./answers.ts";
import { doubtOf, type Pair, type PairOptions, promptIds, type TokenPair } from "./pairs.ts";

/** A prompt and two answers, of which the first is right: a pair without its corrupt side. */
export type Question = Omit<Pair, "corrupt">;
/** A question in token ids. */
export type TokenQuestion = Omit<TokenPair, "corrupt">;

/**
 * Questions in token ids: of pairs the clean sides.
 * @throws HeadscopeError (input) naming the question: texts without a tokenizer, ids outside the vocabulary, prompts beyond the
 * context, answers that are not one token each, or the same one
 */
export function tokenQuestions(
  model: Model,
  questions: readonly Question[],
  { prependBos }: PairOptions = {},
): TokenQuestion[] {
  if (!Array.isArray(questions) || questions.length === 0)
    throw new HeadscopeError("input", "there is no prompt", { remedy: "give at least one" });
  return questions.map((question: Question, q) => {
    const label = questions.length > 1 ? `prompt ${q}: ` : "";
    const { clean, answer, wrong } = question ?? {};
    if ([clean, answer, wrong].includes(undefined as never))
      throw new HeadscopeError("input", `${label}${describeJson(question)} is no question`, {
        remedy: 'give {"clean": ids or text, "answer": id or text, "wrong": id or text}',
      });
    return {
      clean: promptIds(model, clean, `${label}clean`, prependBos),
      ...answerIds(model, { answer, wrong }, label),
    };
  });
}

/**
 * A position of each of some prompts.
 * @param position negative ones count from each prompt's end
 * @throws HeadscopeError (usage) naming the prompt that has no such position
 */
export function positionsIn(questions: readonly TokenQuestion[], position: number): number[] {
  return questions.map(({ clean: { length } }, q) => {
    const place = position < 0 ? length + position : position;
    if (place >= 0 && place < length) return place;
    const which = questions.length > 1 ? `prompt ${q}` : "the prompt";
    throw new HeadscopeError("usage", `${which} has ${length} tokens, none at position ${position}`, {
      remedy: `choose a position from 0 to ${length - 1}, or from the end with -1 to -${length}`,
      field: "position",
    });
  });
}

/** The doubts about prompts that have been run, each with its number where there are several. @param differences logit(answer) - logit(wrong) */
export function questionNotes(differences: readonly number[]): { notes?: string[] } {
  const notes = differences.flatMap((difference, q) => {
    const doubt = doubtOf(difference);
    return doubt === undefined ? [] : [differences.length > 1 ? `prompt ${q}: ${doubt}` : doubt];
  });
  return notes.length > 0 ? { notes } : {};
}
