import type { HeadMask } from "../common/heads/mask.ts";
import type { MaskMeaning } from "../common/heads/meaning.ts";
import { randomMask } from "../common/heads/random-mask.ts";
import { Random } from "../common/random.ts";
import { notFinite } from "../hooks/finite.ts";
import { compileInterventions, disposeInterventions, zeroHeads } from "../hooks/interventions.ts";
import { maskMeaning } from "../hooks/mask-meaning.ts";
import { forwardInTurns } from "../models/forward/turns.ts";
import type { Model } from "../models/model.ts";
import { tf } from "../runtime/tf.ts";
import { loopTurn, type Turn } from "../runtime/turn.ts";
import { logitOf, tokensIn } from "./answers.ts";
import { evenBatches } from "./batches.ts";
import type { TokenPair } from "./pairs.ts";

/** One pair's answers. */
export interface PairAnswer {
  /** logit(answer) - logit(wrong) after the clean prompt; of several tokens their mean logits. */
  clean: number;
  /** After the corrupt prompt. */
  corrupt: number;
  /** True where the answer, or one of its tokens, is the likeliest token of all after the clean prompt. */
  first: boolean;
}

/** A model's answers to pairs, over all of them. */
export interface AnswerMeans {
  /** Mean logit(answer) - logit(wrong) after the clean prompts. */
  clean: number;
  /** After the corrupt prompts. */
  corrupt: number;
  /** Share of pairs whose clean prompt prefers the answer to the wrong one. */
  right: number;
  /** Share whose corrupt prompt prefers the wrong one. */
  turned: number;
  /** Share whose answer is the likeliest token of all after the clean prompt. */
  first: number;
}

/** A model's answers to pairs. */
export interface PairAnswers extends AnswerMeans {
  perPair: PairAnswer[];
}

/** Options of `answerPairs`. */
export interface AnswerOptions {
  /** Its streaming heads see the mask's first and recent tokens only, its ablated heads write 0. */
  readonly mask?: HeadMask | undefined;
  readonly progress?: ((done: number, total: number, label: string) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Runs both prompts of every pair: how often the model is right, and by how much.
 * @param pairs at least one, in ids, of any lengths
 * @throws HeadscopeError (input) for logits that are no numbers, (mismatch) for a mask of another shape
 */
export async function answerPairs(
  model: Model,
  pairs: readonly TokenPair[],
  options: AnswerOptions = {},
): Promise<PairAnswers> {
  const { mask, progress, signal } = options;
  const meaning = mask && maskMeaning(model, mask);
  const turn = loopTurn(signal);
  const longest = Math.max(...pairs.map(({ clean }) => clean.length));
  const perPair: PairAnswer[] = [];
  for (const { first, count } of evenBatches(pairs.length, 2 * longest)) {
    const part = pairs.slice(first, first + count);
    const run = await lastLogits(
      model,
      part.flatMap(({ clean, corrupt }) => [clean, corrupt]),
      meaning,
      turn,
    );
    part.forEach(({ answer, wrong }, p) => {
      const [clean, corrupt] = [2 * p, 2 * p + 1].map((row) => logitOf(run[row]!, answer) - logitOf(run[row]!, wrong));
      if (!Number.isFinite(clean) || !Number.isFinite(corrupt)) throw notFinite(model, "the logits", [part[p]!.clean]);
      const best = Math.max(...tokensIn(answer).map((id) => run[2 * p]![id]!));
      perPair.push({ clean: clean!, corrupt: corrupt!, first: run[2 * p]!.every((logit) => logit <= best) });
    });
    progress?.(perPair.length, pairs.length, "answering pairs");
    await turn();
  }
  return { ...means(perPair), perPair };
}

/** Options of `maskedAnswers`. */
export interface MaskedAnswerOptions extends AnswerOptions {
  readonly mask: HeadMask;
  /** Random masks of as many heads. Default 5. */
  readonly draws?: number | undefined;
  /** Of the random masks. Default 0. */
  readonly seed?: number | undefined;
}

/** A model's answers under a mask, beside random masks of as many heads. */
export interface MaskedAnswers extends PairAnswers {
  /** KV heads that keep everything, of all, and query heads that write 0, of all. */
  readonly heads: Readonly<Record<"full" | "kvHeads" | "ablated" | "heads", number>>;
  /** One entry a random mask. */
  readonly controls: readonly AnswerMeans[];
}

/**
 * Answers pairs under a mask, and under random masks whose tables have as many heads of each kind.
 * @throws HeadscopeError as `answerPairs`
 */
export async function maskedAnswers(
  model: Model,
  pairs: readonly TokenPair[],
  { mask, draws = 5, seed = 0, progress, signal }: MaskedAnswerOptions,
): Promise<MaskedAnswers> {
  const answers = await answerPairs(model, pairs, { mask, progress, signal });
  const controls: AnswerMeans[] = [];
  for (let draw = 0; draw < draws; draw++) {
    const { perPair: _, ...means } = await answerPairs(model, pairs, {
      mask: randomMask(mask, new Random(seed, draw)),
      signal,
    });
    controls.push(means);
    progress?.(draw + 1, draws, "random masks");
  }
  const { full, ablated } = maskMeaning(model, mask);
  const { n_layers, n_heads, n_key_value_heads } = model.config;
  const heads = {
    full: full.length,
    kvHeads: n_layers * n_key_value_heads,
    ablated: ablated.length,
    heads: n_layers * n_heads,
  };
  return { ...answers, heads, controls };
}

/** Logits [d_vocab] behind the last token of every row. */
async function lastLogits(
  model: Model,
  rows: readonly (readonly number[])[],
  meaning: MaskMeaning | undefined,
  turn: Turn,
): Promise<Float32Array[]> {
  const positions = Math.max(...rows.map((row) => row.length));
  const interventions = compileInterventions(model, zeroHeads(meaning?.ablated ?? []), {
    rows: rows.length,
    positions,
    tokens: rows,
  });
  try {
    const input = {
      tokens: rows,
      logitsAt: "last",
      ...(meaning?.streaming.length && { windows: meaning.windows }),
    } as const;
    const { logits, resid } = await forwardInTurns(model, input, { interventions }, turn);
    const values = logits!.dataSync() as Float32Array;
    tf.dispose([logits!, resid]);
    const width = values.length / rows.length;
    return rows.map((_, row) => values.subarray(row * width, (row + 1) * width));
  } finally {
    disposeInterventions(interventions);
  }
}

function means(perPair: readonly PairAnswer[]): AnswerMeans {
  const mean = (value: (answer: PairAnswer) => number): number =>
    perPair.reduce((sum, answer) => sum + value(answer), 0) / perPair.length;
  return {
    clean: mean(({ clean }) => clean),
    corrupt: mean(({ corrupt }) => corrupt),
    right: mean(({ clean }) => (clean > 0 ? 1 : 0)),
    turned: mean(({ corrupt }) => (corrupt < 0 ? 1 : 0)),
    first: mean(({ first }) => (first ? 1 : 0)),
  };
}
