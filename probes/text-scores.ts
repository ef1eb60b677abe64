import type { Tensor } from "@tensorflow/tfjs";
import { attribute } from "../backend/circuits/attribution/direct.ts";
import { HeadscopeError } from "../backend/common/errors.ts";
import { ANYTHING, checkOptions, FUNCTION, type Rules, whole } from "../backend/common/options.ts";
import {
  DIRECT_EFFECT,
  MOST_SCORED_TOKENS,
  PATTERN_SCORES,
  type PatternScore,
} from "../backend/common/texts/head-scores.ts";
import type { Model } from "../backend/models/model.ts";
import { checkRow } from "../backend/models/tokens.ts";
import { loopTurn, type Turn } from "../backend/runtime/turn.ts";
import { type PatternInput, patternRule, type RowMask, rowMask, sharesAlong } from "./patterns/along.ts";
import { readExpression } from "./patterns/expression.ts";

/** A question about a text: which of two tokens stands at a position. */
export interface TextQuestion {
  /** Of the answer, from 1 on: it is foretold by the tokens before it. May be the number of tokens, with `answer`. */
  readonly position: number;
  /** Default the token that stands there. */
  readonly answer?: number | undefined;
  readonly wrong: number;
}

/** Inputs of the scores beside the text. */
export interface TextScoresOptions {
  /** Position of the held token, from 0. Default none: scores that need one are absent. */
  held?: number | undefined;
  /** A pattern of one's own. Default none. */
  pattern?: PatternInput | undefined;
  /** Of the direct effect. Default none. */
  question?: TextQuestion | undefined;
  /** Residual stream [1, positions, d_model] before each layer of the text's run, where it is at hand; the giver frees them. */
  streams?: readonly Tensor[] | undefined;
  progress?: ((done: number, total: number, label: string) => void) | undefined;
  signal?: AbortSignal | undefined;
  /** Lets others in between two layers. */
  turn?: Turn | undefined;
}

const OPTIONS: Rules<TextScoresOptions> = {
  held: whole(0),
  pattern: { wants: "an expression or pairs", fits: (value) => typeof value === "object" && value !== null },
  question: { wants: "a position and a wrong token", fits: (value) => typeof value === "object" && value !== null },
  streams: ANYTHING,
  progress: FUNCTION,
  signal: ANYTHING,
  turn: FUNCTION,
};

/** One score of every head on a text. */
export interface TextScore {
  /** Of `PATTERN_SCORES`, or "direct-effect". */
  name: string;
  /** [layers][heads]; absent with `absent`. */
  values?: number[][];
  /** Of shares of attention: the value of a head that attends evenly. */
  chance?: number;
  /** Of shares of attention: queries that have a key of the pattern. */
  queries?: number;
  /** Of the direct effect: the logit difference that all parts of the model add up to. */
  logitDiff?: number;
  /** Why the text has no such score. */
  absent?: string;
}

/**
 * Scores every head on one text: shares of attention along each pattern of `PATTERN_SCORES`, in one pass, and the direct effect on the
 * answer of a question. They equal those of the probes first-token, current-token and pattern, and of `attribute`.
 * @param ids of the text
 * @throws HeadscopeError for a text that is too long, a held token or question outside it, and a pattern that cannot be read
 */
export async function textScores(
  model: Model,
  ids: readonly number[],
  options: TextScoresOptions = {},
): Promise<TextScore[]> {
  checkOptions("textScores", options, OPTIONS);
  const { held, question, streams, progress, signal, turn = loopTurn(signal) } = options;
  checkRow(ids, "the text", model);
  if (ids.length > MOST_SCORED_TOKENS)
    throw new HeadscopeError(
      "input",
      `heads are scored on texts of at most ${MOST_SCORED_TOKENS} tokens, and this has ${ids.length}`,
      {
        remedy: "give a shorter text, or measure one score of it with headscope probe",
      },
    );
  if (held !== undefined) checkPlace(ids, held, "the held token", [0, ids.length - 1]);
  if (question)
    checkPlace(ids, question.position, "the answer", [1, ids.length - (question.answer === undefined ? 1 : 0)]);
  const own = options.pattern && patternRule(options.pattern);
  const entries: { name: string; mask?: RowMask | undefined; absent?: string }[] = [];
  for (const score of PATTERN_SCORES) {
    const absent = lacking(score, options);
    const rule =
      absent === undefined
        ? score.needs === "pattern"
          ? own!
          : readExpression(score.expression(held ?? 0))
        : undefined;
    const mask = rule && rowMask(ids, rule, score.needs === "pattern" ? options.pattern?.pairs : []);
    entries.push(
      mask && mask.queries > 0 ? { name: score.name, mask } : { name: score.name, absent: absent ?? noKeys(score) },
    );
    await turn();
  }
  const masks = entries.flatMap(({ mask }) => mask ?? []);
  const total = model.config.n_layers * (question ? 2 : 1);
  const onLayer = (layer: number): void => {
    signal?.throwIfAborted();
    progress?.(layer, total, "heads on the text, layers");
  };
  const shares = await sharesAlong(model, { row: ids, masks, streams, onLayer, turn });
  const scores = entries.map(({ name, mask, absent }): TextScore => {
    if (mask === undefined) return { name, absent: absent! };
    return { name, values: shares[masks.indexOf(mask)]!, chance: mask.even, queries: mask.queries };
  });
  return [...scores, await directEffect(model, ids, options)];
}

/** @throws HeadscopeError (input) for a position outside [first, last] */
function checkPlace(ids: readonly number[], position: number, what: string, [first, last]: [number, number]): void {
  if (Number.isInteger(position) && position >= first && position <= last) return;
  throw new HeadscopeError("input", `${what} cannot stand at ${position} of a text of ${ids.length} tokens`, {
    remedy: `choose a position from ${first} to ${last}`,
  });
}

/** Why a score cannot be measured without another input; undefined where it can. */
function lacking({ needs }: PatternScore, { held, pattern }: TextScoresOptions): string | undefined {
  if (needs === "held" && held === undefined) return "no token is held";
  if (needs === "pattern" && pattern === undefined) return "no pattern is given";
  return undefined;
}

/** Why a pattern gives no query of a text a key. */
function noKeys({ name, needs }: PatternScore): string {
  if (needs === "pattern") return "the pattern gives no query of this text a key that it may attend to";
  if (needs === "held") return "no token stands behind the held one";
  return name === "previous-token" ? "the text has one token alone" : "no token of this text stood earlier in it";
}

/** The share of each head in the logit difference of the question, by direct attribution. */
async function directEffect(
  model: Model,
  ids: readonly number[],
  { question, signal, turn, progress }: TextScoresOptions,
): Promise<TextScore> {
  const { name } = DIRECT_EFFECT;
  if (question === undefined) return { name, absent: "no question is asked: an answer and a wrong one" };
  const { position, answer = ids[position]!, wrong } = question;
  const { n_layers } = model.config;
  try {
    const { logitDiff, parts } = await attribute(model, {
      prompts: [{ clean: ids.slice(0, position), answer, wrong }],
      ...(progress
        ? {
            progress: (done, total) =>
              progress(n_layers + (n_layers * done) / total, 2 * n_layers, "direct effect, layers"),
          }
        : {}),
      ...(signal ? { signal } : {}),
      ...(turn ? { turn } : {}),
    });
    return { name, values: parts.heads, logitDiff };
  } catch (error) {
    // A model of which nothing can be attributed directly has its other scores all the same.
    if (error instanceof HeadscopeError && error.kind === "unsupported") return { name, absent: error.line };
    throw error;
  }
}
