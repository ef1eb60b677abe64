import { HeadscopeError } from "../common/errors.ts";
import type { Model } from "../models/model.ts";
import { checkId, encodeText } from "../models/tokens.ts";

/** A token, or several that count as one answer. */
export type AnswerSet = number | readonly number[];

/** The two answers that a metric is measured between. */
export interface Answers {
  readonly answer: AnswerSet;
  readonly wrong: AnswerSet;
}

/** A token as users give it: its id, or a text that is one token. */
type GivenToken = number | string;
/** The two answers as users give them. */
export type GivenAnswers = Readonly<Record<keyof Answers, GivenToken | readonly GivenToken[]>>;

/** The tokens of an answer, at least one. */
export function tokensIn(answer: AnswerSet): readonly number[] {
  return typeof answer === "number" ? [answer] : answer;
}

/** Mean of an answer's logits: what `logit(answer)` is of several tokens. @param logits [outputs] */
export function logitOf(logits: ArrayLike<number>, answer: AnswerSet): number {
  const tokens = tokensIn(answer);
  return tokens.reduce((sum, id) => sum + logits[id]!, 0) / tokens.length;
}

/**
 * Ids of the two answers; a list of one token is that token.
 * @param label stands before errors
 * @throws HeadscopeError (input) for what is not one token, a token that is listed twice or on both sides, and empty lists
 */
export function answerIds(model: Model, given: GivenAnswers, label: string): Answers {
  const side = (name: keyof Answers): AnswerSet => {
    const answer = given[name];
    if (!Array.isArray(answer)) return tokenId(model, answer as GivenToken, `${label}${name}`, label);
    const tokens = answer as readonly GivenToken[];
    if (tokens.length === 0)
      throw new HeadscopeError("input", `${label}${name} is an empty list`, { remedy: "give a token, or several" });
    const ids = tokens.map((token, i) => tokenId(model, token, `${label}${name} ${i}`, label));
    const twice = ids.findIndex((id, i) => ids.indexOf(id) < i);
    if (twice >= 0)
      throw new HeadscopeError("input", `${label}${name} has the token ${JSON.stringify(tokens[twice])} twice`, {
        remedy: "list every token once",
      });
    return ids.length === 1 ? ids[0]! : ids;
  };
  const [answer, wrong] = [side("answer"), side("wrong")];
  const both = tokensIn(answer).find((id) => tokensIn(wrong).includes(id));
  if (both === undefined) return { answer, wrong };
  const single = typeof answer === "number" && typeof wrong === "number";
  throw new HeadscopeError(
    "input",
    single
      ? `${label}the answer and the wrong one are the same token`
      : `${label}the token ${both} is among both answers`,
    { remedy: single ? "give two different ones" : "list it on one side alone" },
  );
}

/** Id of a token. @param name of its field, label included @param label stands before errors */
function tokenId(model: Model, given: GivenToken, name: string, label: string): number {
  const ids = typeof given === "string" ? encodeText(model, given, false, { label }) : [given];
  const first = ids.length > 1 ? `, or its first alone (${ids[0]})` : "";
  if (ids.length !== 1)
    throw new HeadscopeError("input", `${name} ${JSON.stringify(given)} is ${ids.length} tokens`, {
      remedy: `give one token: its id, or a text that is one token (mind the space in front)${first}`,
    });
  checkId(ids[0], name, model.config);
  return ids[0]!;
}
