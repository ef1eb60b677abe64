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
  /** Beginning of the answer that the model is given, behind either; empty where there is none. */
  readonly lead: readonly number[];
  /** Tokens whose loss is taken, behind the lead: the text that is scored, or the first of the answers. */
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

/** Tokens of a case at most: context, all questions as turns, and as many tokens for each answer, or what is scored. */
export function caseTokens({ context, questions }: CasePrompt, answerTokens: number): number {
  return questions.reduce(
    (sum, { turn, lead, scored }) => sum + turn.length + lead.length + Math.max(scored.length, answerTokens),
    context.length,
  );
}

/** Tokens before an answer in two parts. */
export interface SplitPrompt {
  /** Context and question, at whose end policies act. */
  readonly prompt: readonly number[];
  /** Beginning of the answer, at least one token: read on what policies have left, so that every token of the answer is foretold by that. */
  readonly lead: readonly number[];
}

/** Splits what stands before an answer into prompt and lead; where a question has no lead, the prompt's last token takes its place. */
export function splitPrompt(prompt: readonly number[], { lead }: Pick<QuestionIds, "lead">): SplitPrompt {
  return lead.length > 0 ? { prompt, lead } : { prompt: prompt.slice(0, -1), lead: prompt.slice(-1) };
}

/** Tokens of a context with a question behind it, lead and text that is scored included. */
export function promptTokens(
  tokenizer: Tokenizer,
  scoring: Scoring,
  context: string,
  question: ContextQuestion,
): number {
  const frame = frameFor(tokenizer, scoring);
  const { request, lead, scored } = questionIds(tokenizer, frame, { question, first: true, scoring });
  const text = scoring === "text" ? scored.length : 0;
  return contextIds(tokenizer, frame, context).length + request.length + lead.length + text;
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
  const { question, lead, joint = " ", answers } = part.question;
  const encode = (text: string): number[] => (text === "" ? [] : tokenizer.encode(text, { prependBos: false }));
  const asked = question + frame.answers;
  const request = encode(frame.asks + asked);
  const before = lead === undefined ? frame.lead : joint;
  return {
    request,
    turn: part.first ? request : encode(frame.next + asked),
    lead: lead === undefined ? [] : encode(frame.lead + lead),
    scored: encode(part.scoring === "text" ? answers[0]! : before + answers[0]!),
  };
}
