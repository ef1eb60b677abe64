import { z } from "zod";
import { UNBOUNDED } from "../common/api/fields.ts";
import { type PairInput, pairInput } from "../common/api/patching.ts";
import { HeadscopeError } from "../common/errors.ts";
import type { Model } from "../models/model.ts";
import { checkRow, encodeText } from "../models/tokens.ts";
import { type Answers, answerIds } from "./answers.ts";

const pairSchema = pairInput(UNBOUNDED);
/** Schema of a pair file: one pair or several. */
export const pairFileSchema = z.union([pairSchema, z.array(pairSchema).min(1)]);
/** Two prompts of one length that differ in what decides between two answers. */
export type Pair = PairInput;

/** A pair in token ids. */
export interface TokenPair extends Answers {
  clean: number[];
  corrupt: number[];
  /** Name of the wording that it was made by, where it says so. */
  template?: string;
}

/** Options of reading pairs. */
export interface PairOptions {
  /** For texts: whether BOS comes first. Default: as the tokenizer does. */
  prependBos?: boolean | undefined;
  /** Origin of the pairs, such as a file's path; errors start with it. */
  source?: string | undefined;
}

const SHAPE = 'a pair is {"clean": ids or text, "corrupt": ids or text, "answer": id, text or a list, "wrong": alike}';

/**
 * Pairs in token ids: every rule of pairs, for scripts, files and requests alike.
 * @param content one pair or several
 * @throws HeadscopeError (input) naming the pair: unknown or missing fields, sides of different lengths (both given) or beyond the
 * context, texts without a tokenizer, an answer that is not one token or a list of such, ids outside the vocabulary, and what leaves nothing to
 * measure: two equal prompts, or a token among both answers
 */
export function tokenPairs(model: Model, content: unknown, options: PairOptions = {}): TokenPair[] {
  const { source } = options;
  const pairs: unknown[] = Array.isArray(content) ? content : [content];
  if (pairs.length === 0)
    throw new HeadscopeError("input", source ? `${source} holds no pair` : "there is no pair to patch", {
      remedy: "give at least one",
    });
  return pairs.map((pair, p) => {
    const label = [source, Array.isArray(content) && (pairs.length > 1 || source) ? `pair ${p}` : undefined]
      .filter((part) => part !== undefined)
      .join(": ");
    return tokenPair(model, checked(pair, label), options, label === "" ? "" : `${label}: `);
  });
}

function checked(pair: unknown, label: string): Pair {
  const result = pairSchema.safeParse(pair);
  if (result.success) return result.data;
  const place = label === "" ? "the pair" : label;
  if (pair === null || typeof pair !== "object" || Array.isArray(pair))
    throw new HeadscopeError("input", `${place} is ${Array.isArray(pair) ? "an array" : JSON.stringify(pair)}`, {
      remedy: SHAPE,
    });
  const issue = result.error.issues[0]!;
  const where = issue.path.length === 0 ? "" : `${String(issue.path[0])}: `;
  throw new HeadscopeError("input", `${place}: ${where}${problem(issue, pair)}`, { remedy: SHAPE });
}

function problem(issue: z.core.$ZodIssue, pair: object): string {
  if (issue.code === "unrecognized_keys") return `unknown field ${issue.keys.map((key) => `"${key}"`).join(", ")}`;
  const value = (pair as Record<string, unknown>)[String(issue.path[0])];
  return value === undefined ? "it is missing" : `it cannot be ${JSON.stringify(value)}`;
}

function tokenPair(model: Model, pair: Pair, { prependBos }: PairOptions, label: string): TokenPair {
  const refuse = (what: string, remedy: string) => new HeadscopeError("input", `${label}${what}`, { remedy });
  const [clean, corrupt] = (["clean", "corrupt"] as const).map((name) =>
    promptIds(model, pair[name], `${label}${name}`, prependBos),
  ) as [number[], number[]];
  if (clean.length !== corrupt.length)
    throw refuse(
      `the clean prompt has ${clean.length} tokens and the corrupt one ${corrupt.length}`,
      "patching goes position by position: give two sides of one length",
    );
  const answers = answerIds(model, pair, label);
  if (clean.join() === corrupt.join())
    throw refuse("the two prompts are the same", "change what decides between the answers");
  return { clean, corrupt, ...answers, ...(pair.template === undefined ? {} : { template: pair.template }) };
}

/** Ids of a prompt that is given as a text or as ids. @param label names it; errors start with it */
export function promptIds(
  model: Model,
  prompt: string | readonly number[],
  label: string,
  prependBos: boolean | undefined,
): number[] {
  const ids = typeof prompt === "string" ? encodeText(model, prompt, prependBos, { label: `${label}: ` }) : [...prompt];
  checkRow(ids, label, model);
  return ids;
}

/**
 * The doubt about a pair whose prompts have been run; undefined where all is well.
 * @param clean logit(answer) - logit(wrong) after the clean prompt @param corrupt after the corrupt one; left out where there is none
 */
export function doubtOf(clean: number, corrupt = Number.NEGATIVE_INFINITY): string | undefined {
  if (clean <= 0)
    return `the clean prompt does not prefer its answer (logit difference ${clean.toFixed(3)}): are the answers swapped, or is a space in front missing?`;
  if (clean <= corrupt)
    return `the corrupt prompt prefers the answer as much as the clean one (logit differences ${corrupt.toFixed(3)} and ${clean.toFixed(3)}): there is nothing to restore`;
  return undefined;
}

/** The doubts about pairs that have been run, each with its pair's number where there are several. @param runs logit differences by pair */
export function pairDoubts(runs: readonly { clean: number; corrupt: number }[]): string[] {
  return runs.flatMap(({ clean, corrupt }, p) => {
    const doubt = doubtOf(clean, corrupt);
    return doubt === undefined ? [] : [runs.length > 1 ? `pair ${p}: ${doubt}` : doubt];
  });
}
