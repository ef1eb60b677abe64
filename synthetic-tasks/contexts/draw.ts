import { HeadscopeError } from "../../backend/common/errors.ts";
import { Random } from "../../backend/common/random.ts";
import { counted } from "../../backend/common/text.ts";
import type { Tokenizer } from "../../backend/models/tokenizers/tokenizer.ts";
import type { ContextCase, ContextRoom, ContextTask } from "./base.ts";
import { type CasePrompt, casePrompt, promptTokens } from "./prompt.ts";

/** Place of a case among all that can be drawn. */
export interface CaseOptions {
  /** Tokens of its prompt with the first question. */
  readonly tokens: number;
  /** Number of the case, from 0; others of one seed are independent of it. */
  readonly number: number;
  /** Default 0. */
  readonly seed?: number | undefined;
}

/** A case with its token ids. */
export interface DrawnCase extends ContextCase {
  readonly prompt: CasePrompt;
}

/**
 * Draws a case for a tokenizer. The same task, parameters, tokens, seed and number give the same case.
 * @param params of the task, complete
 * @throws HeadscopeError (usage) where so many tokens are too few, with the fewest that do
 */
export function drawCase(
  tokenizer: Tokenizer,
  task: ContextTask,
  params: Readonly<Record<string, unknown>>,
  { tokens, number, seed = 0 }: CaseOptions,
): DrawnCase {
  const count: ContextRoom["count"] = (context, question) => promptTokens(tokenizer, task.scoring, context, question);
  const room: ContextRoom = { tokens, random: new Random(seed, number), count };
  const drawn = task.draw(room, params);
  return { ...drawn, prompt: casePrompt(tokenizer, drawn, task.scoring) };
}

/** A context of a number of units, such as sentences. @param units at least 0 */
export type Building = (units: number) => ContextCase;

/**
 * The largest case that a room holds.
 * @param task its name, for the error
 * @param build makes the case of so many units; every unit adds tokens
 * @param least fewest units of a case, default 0
 * @throws HeadscopeError (usage) where the fewest are too many, with the tokens they take
 */
export function largest(task: string, { tokens, count }: ContextRoom, build: Building, least = 0): ContextCase {
  const size = ({ context, questions }: ContextCase): number => count(context, questions[0]!);
  const smallest = build(least);
  const needs = size(smallest);
  if (needs > tokens)
    throw new HeadscopeError(
      "usage",
      `${task}: ${counted(tokens, "token")} are too few: its smallest case has ${needs.toLocaleString("en")}`,
      {
        remedy: `give a length of at least ${needs}, or ask for less by its parameters`,
        field: "lengths",
      },
    );
  let [best, low, high] = [smallest, least, 2 * least + 16];
  for (let tried = build(high); size(tried) <= tokens; tried = build(high)) [best, low, high] = [tried, high, 2 * high];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    const tried = build(middle);
    if (size(tried) <= tokens) [best, low] = [tried, middle];
    else high = middle;
  }
  return best;
}
