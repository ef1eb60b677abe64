import { notFinite } from "../hooks/finite.ts";
import { forwardInTurns } from "../models/forward/turns.ts";
import type { Model } from "../models/model.ts";
import { tf } from "../runtime/tf.ts";
import { loopTurn } from "../runtime/turn.ts";
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

/** A model's answers to pairs. */
export interface PairAnswers {
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
  perPair: PairAnswer[];
}

/** Options of `answerPairs`. */
export interface AnswerOptions {
  readonly progress?: (done: number, total: number, label: string) => void;
  readonly signal?: AbortSignal;
}

/**
 * Runs both prompts of every pair: how often the model is right, and by how much.
 * @param pairs at least one, in ids, of any lengths
 * @throws HeadscopeError (input) for logits that are no numbers
 */
export async function answerPairs(
  model: Model,
  pairs: readonly TokenPair[],
  { progress, signal }: AnswerOptions = {},
): Promise<PairAnswers> {
  const turn = loopTurn(signal);
  const longest = Math.max(...pairs.map(({ clean }) => clean.length));
  const perPair: PairAnswer[] = [];
  for (const { first, count } of evenBatches(pairs.length, 2 * longest)) {
    const part = pairs.slice(first, first + count);
    const rows = part.flatMap(({ clean, corrupt }) => [clean, corrupt]);
    const { logits, resid } = await forwardInTurns(model, { tokens: rows, logitsAt: "last" }, {}, turn);
    const best = tf.tidy(() => tf.argMax(logits!, -1).dataSync());
    const values = logits!.dataSync();
    tf.dispose([logits!, resid]);
    const width = values.length / rows.length;
    part.forEach(({ answer, wrong }, p) => {
      const [clean, corrupt] = [2 * p, 2 * p + 1].map((row) => {
        const own = values.subarray(row * width, (row + 1) * width);
        return logitOf(own, answer) - logitOf(own, wrong);
      });
      if (!Number.isFinite(clean) || !Number.isFinite(corrupt)) throw notFinite(model, "the logits", [part[p]!.clean]);
      perPair.push({ clean: clean!, corrupt: corrupt!, first: tokensIn(answer).includes(best[2 * p]!) });
    });
    progress?.(perPair.length, pairs.length, "answering pairs");
    await turn();
  }
  const mean = (value: (answer: PairAnswer) => number): number =>
    perPair.reduce((sum, answer) => sum + value(answer), 0) / perPair.length;
  return {
    clean: mean(({ clean }) => clean),
    corrupt: mean(({ corrupt }) => corrupt),
    right: mean(({ clean }) => (clean > 0 ? 1 : 0)),
    turned: mean(({ corrupt }) => (corrupt < 0 ? 1 : 0)),
    first: mean(({ first }) => (first ? 1 : 0)),
    perPair,
  };
}
