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
  /** Tokens of the prompt with the first question, lead and text that is scored included. */
  readonly tokens: number;
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
  return {
    ...drawn,
    tokens: count(drawn.context, drawn.questions[0]!),
    prompt: casePrompt(tokenizer, drawn, task.scoring),
  };
}

/** A context of a number of units, such as sentences. @param units at least 0 */
export type Building = (units: number) => ContextCase;

/** Bounds of the units of a case. */
export interface UnitBounds {
  /** Fewest, default 0. */
  readonly least?: number;
  /** Most that there are, default as many as one likes. */
  readonly most?: number;
}

/**
 * The largest case that a room holds.
 * @param task its name, for the error
 * @param build makes the case of so many units; every unit adds tokens
 * @throws HeadscopeError (usage) where the fewest units are too many or the most too few, with the tokens they take
 */
export function largest(
  task: string,
  { tokens, count }: ContextRoom,
  build: Building,
  { least = 0, most = Number.POSITIVE_INFINITY }: UnitBounds = {},
): ContextCase {
  const size = ({ context, questions }: ContextCase): number => count(context, questions[0]!);
  const refused = (why: string, remedy: string): HeadscopeError =>
    new HeadscopeError("usage", `${task}: a case of ${counted(tokens, "token")} can't be made: ${why}`, {
      remedy,
      field: "lengths",
    });
  let best = build(least);
  if (size(best) > tokens)
    throw refused(
      `its shortest has ${size(best)}`,
      `give a length of at least ${size(best)}, or ask for less by its parameters`,
    );
  let [low, high] = [least, least];
  while (low === high) {
    high = Math.min(most, 2 * low + 16);
    const tried = build(high);
    if (size(tried) > tokens) break;
    if (high === most) throw refused(`its longest has ${size(tried)}`, `give a length of at most ${size(tried)}`);
    [best, low] = [tried, high];
  }
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    const tried = build(middle);
    if (size(tried) <= tokens) [best, low] = [tried, middle];
    else high = middle;
  }
  return best;
}
