import { type Pair, type TokenPair, tokenPairs } from "../../backend/circuits/pairs.ts";
import { HeadscopeError } from "../../backend/common/errors.ts";
import { Random } from "../../backend/common/random.ts";
import type { Model } from "../../backend/models/model.ts";
import { encodeText, tokenPool } from "../../backend/models/tokens.ts";
import type { PairKind, PairTask, WordPool } from "./base.ts";

/** Draws for one pair of a kind before the task counts as exhausted: unaligned ones and ones that there are already. */
const DRAWS = 200;

/** Pairs of a task, aligned on a model's tokens. */
export interface PairSample {
  /** As a pair file holds them: texts where the model's tokenizer gives the same ids again, ids elsewhere; of several kinds each by its name. */
  readonly pairs: readonly Pair[];
  /** The same in ids. */
  readonly tokens: readonly TokenPair[];
  /** By pair, the name of its kind. */
  readonly kinds: readonly string[];
  /** Draws that were left out because a side had more tokens than the other, or an answer did not follow as a token. */
  readonly unaligned: number;
}

/** Options of drawing pairs. */
export interface PairSampleOptions {
  /** Pairs to draw. */
  readonly count: number;
  readonly seed: number;
  /** BOS comes first in texts; default: as the tokenizer does. */
  readonly prependBos?: boolean;
}

/**
 * Draws different pairs of a task for a model. Every block of as many pairs as the task has kinds holds each kind once, in a
 * random order, so that kinds are balanced whatever the count is.
 * @param params the task's, complete
 * @throws HeadscopeError for a model without a tokenizer where the task needs one, a tokenizer that cuts the task's words, and
 * more pairs than there are
 */
export function samplePairs(
  model: Model,
  task: PairTask,
  params: Readonly<Record<string, unknown>>,
  options: PairSampleOptions,
): PairSample {
  const kinds = task.kinds(params, vocabularyOf(model, task));
  const random = new Random(options.seed);
  const seen = new Set<string>();
  const drawn: { kind: PairKind; pair: Pair; tokens: TokenPair }[] = [];
  let unaligned = 0;
  const next = (kind: PairKind): void => {
    for (let attempt = 0; attempt < DRAWS; attempt++) {
      const given = kind.draw(random);
      const found = aligned(model, given, options);
      if (found === undefined) unaligned++;
      else if (!seen.has(JSON.stringify(found.tokens))) {
        seen.add(JSON.stringify(found.tokens));
        drawn.push({ kind, ...found });
        return;
      }
    }
    throw new HeadscopeError(
      "unsupported",
      `${task.name} (${kind.name}): no further pair in ${DRAWS} draws after ${drawn.length} pairs`,
      { remedy: "ask for fewer pairs, or choose other parameters" },
    );
  };
  while (drawn.length < options.count)
    for (const k of random.permutation(kinds.length).slice(0, options.count - drawn.length)) next(kinds[k]!);
  const named = <P extends object>(pair: P, { name }: PairKind): P & { template?: string } =>
    kinds.length > 1 ? { ...pair, template: name } : pair;
  return {
    pairs: drawn.map(({ pair, kind }) => named(pair, kind)),
    tokens: drawn.map(({ tokens, kind }) => named(tokens, kind)),
    kinds: drawn.map(({ kind }) => kind.name),
    unaligned,
  };
}

function vocabularyOf(model: Model, task: PairTask): WordPool {
  const behind = "The";
  const encode = (text: string): number[] => encodeText(model, text, false, { label: `${task.name}: ` });
  const single = (words: readonly string[], noun: string, least = 4): readonly string[] => {
    const start = encode(behind).length;
    const found = words.filter((word) => encode(`${behind} ${word}`).length === start + 1);
    if (found.length >= least) return found;
    throw new HeadscopeError(
      "unsupported",
      `${task.name}: ${found.length} of its ${words.length} ${noun} are one token of this model, ${least} are needed`,
      {
        remedy: task.wordless ? "choose another model" : "choose another task, such as induction, which needs no words",
      },
    );
  };
  return { single, ids: tokenPool(model) };
}

/** A pair whose sides have one length and whose answers follow the prompts as a token; undefined for any other. */
function aligned(
  model: Model,
  pair: Pair,
  { prependBos }: PairSampleOptions,
): { pair: Pair; tokens: TokenPair } | undefined {
  const { clean, corrupt, answer, wrong } = pair;
  if (
    typeof clean !== "string" ||
    typeof corrupt !== "string" ||
    typeof answer !== "string" ||
    typeof wrong !== "string"
  )
    return { pair, tokens: tokenPairs(model, pair)[0]! };
  const encode = (text: string): number[] => encodeText(model, text, prependBos);
  const ids = { clean: encode(clean), corrupt: encode(corrupt) };
  /** The token that a text begins with where it follows a prompt. */
  const follows = (prompt: string, row: number[], text: string): number | undefined => {
    const whole = encode(prompt + text);
    return row.every((id, i) => id === whole[i]) ? whole[row.length] : undefined;
  };
  const [right, other] = [follows(clean, ids.clean, answer), follows(corrupt, ids.corrupt, wrong)];
  if (right === undefined || other === undefined || right === other) return undefined;
  if (ids.clean.length !== ids.corrupt.length || ids.clean.join() === ids.corrupt.join()) return undefined;
  const tokens = { ...ids, answer: right, wrong: other };
  const spelled = (text: string, id: number): string | number => {
    const alone = encodeText(model, text, false);
    return alone.length === 1 && alone[0] === id ? text : id;
  };
  return { pair: { clean, corrupt, answer: spelled(answer, right), wrong: spelled(wrong, other) }, tokens };
}
