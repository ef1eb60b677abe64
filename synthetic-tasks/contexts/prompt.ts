import type { Scoring } from "../../backend/common/words.ts";
import type { Tokenizer } from "../../backend/models/tokenizers/tokenizer.ts";
import type { ContextCase, ContextQuestion } from "./base.ts";
import { type Frame, frameFor } from "./frame.ts";

/** Token ids of a question, for both places where it may stand. */
export interface QuestionIds {
  /** Behind the context: a prompt of its own is `[...context, ...request]`. */
  readonly request: readonly number[];
  /**
   * Behind the answer to the question before it, whose stop isn't among the answer's tokens: what ends that answer, then the
   * question. Of the first question the same as `request`.
   */
  readonly turn: readonly number[];
  /** Text that is scored, behind either; empty where an answer is written. */
  readonly scored: readonly number[];
}

/** Token ids of a case. */
export interface CasePrompt {
  /** Opening and context: the beginning of every prompt of the case, which can be read once. */
  readonly context: readonly number[];
  readonly questions: readonly QuestionIds[];
  /** Texts that end an answer, beside the model's own stops. */
  readonly stop: readonly string[];
}

/**
 * Turns a case into token ids. Each part is encoded by itself, and prompts are the parts put together: what is read up to the end
 * of the context is then the same whatever follows. Parts begin and end at line breaks, where tokenizers cut texts anyway; where one
 * would join characters over such a seam, its ids of the whole text are others, and these are the ones that count.
 * @throws HeadscopeError as `chat` does
 */
export function casePrompt(tokenizer: Tokenizer, { context, questions }: ContextCase, scoring: Scoring): CasePrompt {
  const frame = frameFor(tokenizer, scoring);
  return {
    context: contextIds(tokenizer, frame, context),
    questions: questions.map((question, q) => questionIds(tokenizer, frame, { question, first: q === 0, scoring })),
    stop: frame.stop,
  };
}

/** Tokens of a case at most: context, all questions as turns, and as many tokens for each answer. */
export function caseTokens({ context, questions }: CasePrompt, answerTokens: number): number {
  return questions.reduce((sum, { turn, scored }) => sum + turn.length + scored.length + answerTokens, context.length);
}

/** Tokens of a context with a question behind it, text that is scored included. */
export function promptTokens(
  tokenizer: Tokenizer,
  scoring: Scoring,
  context: string,
  question: ContextQuestion,
): number {
  const frame = frameFor(tokenizer, scoring);
  const { request, scored } = questionIds(tokenizer, frame, { question, first: true, scoring });
  return contextIds(tokenizer, frame, context).length + request.length + scored.length;
}

function contextIds(tokenizer: Tokenizer, { opening, front }: Frame, context: string): number[] {
  const ids = tokenizer.encode(opening + context, { prependBos: false });
  return front ? [...tokenizer.front, ...ids] : ids;
}

/** @param part.first where no question stands before it */
function questionIds(
  tokenizer: Tokenizer,
  frame: Frame,
  part: { question: ContextQuestion; first: boolean; scoring: Scoring },
): QuestionIds {
  const { question, lead, answers } = part.question;
  const encode = (text: string): number[] => (text === "" ? [] : tokenizer.encode(text, { prependBos: false }));
  const asked = question + frame.answers + (lead === undefined ? "" : frame.lead + lead);
  const request = encode(frame.asks + asked);
  return {
    request,
    turn: part.first ? request : encode(frame.next + asked),
    scored: part.scoring === "text" ? encode(answers[0]!) : [],
  };
}
