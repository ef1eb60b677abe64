import { z } from "zod";
import type { Definition } from "../../backend/common/definitions/definition.ts";
import type { Random } from "../../backend/common/random.ts";
import type { Scoring } from "../../backend/common/words.ts";

/** A part of a context that a question is about. */
export interface ContextNeedle {
  /** As it stands in the context. */
  readonly text: string;
  /** Its place: 0 where it begins the context, 1 where it ends it. */
  readonly depth: number;
}

/** A question about a context. */
export interface ContextQuestion {
  /** Of a task that scores text: what stands between the context and the text that is scored, "" for nothing. */
  readonly question: string;
  /** Beginning of the answer that the model is given, without a space at its end; default none. */
  readonly lead?: string | undefined;
  /** Text between the lead and the answer, default a space. */
  readonly joint?: string | undefined;
  /** Texts that a right answer holds; of a task that scores text the one whose tokens are scored. */
  readonly answers: readonly string[];
  /** Parts of the context that hold the answers, in the order in which they stand there. */
  readonly needles: readonly ContextNeedle[];
  /**
   * Expected score of a guess: of one who sees all values that could be the answer in this context and not which of them belongs
   * to the question; where there is only one, of one who has not read the context. 0 for text that is scored.
   */
  readonly chance: number;
}

/** A long context and what is asked about it. */
export interface ContextCase {
  readonly context: string;
  /** In the order in which they are asked; the first is that of a single request. */
  readonly questions: readonly ContextQuestion[];
}

/** The place that a case has, and the chance that it is drawn by. */
export interface ContextRoom {
  /** Most tokens of the context with the first question: frame, lead and text that is scored included. */
  readonly tokens: number;
  readonly random: Random;
  /** Tokens of a context with a question, as `tokens` counts them. */
  count(context: string, question: ContextQuestion): number;
}

/** A task over a long context: cases of as many tokens as one likes, each with its questions. */
export interface ContextTask<S extends z.ZodObject = z.ZodObject> extends Definition<S> {
  /**
   * "answers": the model writes, and the answers are looked for in its text. "text": the tokens of a given text are scored behind
   * context and question, by their loss and by the share of them that are the likeliest.
   */
  readonly scoring: Scoring;
  /** Most tokens that an answer may take; 0 where text is scored. */
  answerTokens(params: z.output<S>): number;
  /**
   * Refuses parameters that contradict each other and files that can't be read; called before a model is loaded.
   * @throws HeadscopeError
   */
  check?(params: z.output<S>): void;
  /**
   * A case that fills the room but for at most one unit of its text, such as a sentence or a line.
   * @throws HeadscopeError (usage) for a room too small, with the fewest tokens
   */
  draw(room: ContextRoom, params: z.output<S>): ContextCase;
}

/** Questions of a case, a parameter of every task. @param most for which there are things to ask about */
export function questionsParameter(most: number, byDefault = 3) {
  return z.int().min(1).max(most).default(byDefault).describe("questions of a case; a single request asks the first");
}

/** Place of what the first question of a case asks for, a parameter of tasks with needles. */
export const depthParameter = z
  .number()
  .min(0)
  .max(1)
  .optional()
  .describe("place of what the first question asks for, 0 at the start, 1 at the end; default anywhere");

/**
 * Expected share of what was asked for that a guess of as many values names.
 * @param asked values that were asked for
 * @param seen values in the context that could be asked for
 * @param possible values that there could be; they count where all that are seen were asked for
 */
export function amongChance(asked: number, seen: number, possible: number): number {
  return asked / (seen > asked ? seen : possible);
}

/** A part of a context with its place. */
export function placed(context: string, text: string): ContextNeedle {
  return { text, depth: context.indexOf(text) / Math.max(1, context.length - text.length) };
}

/** Sentences of a context with their places, in the order in which they stand there. */
export function needlesIn(context: string, texts: readonly string[]): ContextNeedle[] {
  return texts.map((text) => placed(context, text)).sort((a, b) => a.depth - b.depth);
}

/** A task over a long context as it is written: its parameters' types are inferred. */
export function contextTask<S extends z.ZodObject>(definition: ContextTask<S>): ContextTask<S> {
  return definition;
}
