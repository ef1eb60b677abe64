import { evenBatches } from "../backend/circuits/batches.ts";
import { streamLogits } from "../backend/circuits/loss.ts";
import { notFinite } from "../backend/hooks/finite.ts";
import type { Intervention } from "../backend/hooks/intervention-schema.ts";
import { compileInterventions, disposeInterventions } from "../backend/hooks/interventions.ts";
import { forwardInTurns } from "../backend/models/forward/turns.ts";
import type { Model } from "../backend/models/model.ts";
import { gatherRows } from "../backend/runtime/ops.ts";
import { tf } from "../backend/runtime/tf.ts";
import type { Turn } from "../backend/runtime/turn.ts";

/** Prompts are filled up to a multiple of it, so that few shapes are compiled. */
const LENGTHS = 8;

/** A prompt, and the words that may follow it. */
export interface WordPrompt {
  readonly tokens: readonly number[];
  /** Their ids. */
  readonly words: readonly number[];
}

/** The way in which prompts are run. */
export interface WordRuns {
  readonly turn: Turn;
  /** Interventions of the runs. @param rows prompts of a batch, as long as they are */
  readonly changes?: (rows: readonly (readonly number[])[]) => readonly Intervention[];
  /** Told after every batch. @param done prompts */
  readonly progress?: (done: number) => void;
}

/**
 * Log-probabilities of words as the next token of prompts.
 * @returns by prompt and word, in nats
 * @throws HeadscopeError for what `compileInterventions` refuses, and logits that are no numbers
 */
export async function wordLogProbs(
  model: Model,
  prompts: readonly WordPrompt[],
  { turn, changes, progress }: WordRuns,
): Promise<number[][]> {
  const found: number[][] = [];
  const positions = LENGTHS * Math.ceil(Math.max(...prompts.map(({ tokens }) => tokens.length)) / LENGTHS);
  const { d_model, d_vocab } = model.config;
  for (const { first, count, size } of evenBatches(prompts.length, positions)) {
    const part = prompts.slice(first, first + count);
    // Filled up so that every batch runs the same functions.
    const rows = Array.from({ length: size }, (_, i) => (part[i] ?? part[0]!).tokens);
    const tokens = rows.map((row) => [...row, ...Array<number>(positions - row.length).fill(row.at(-1)!)]);
    const interventions = compileInterventions(model, changes?.(rows) ?? [], { rows: size, positions, tokens });
    try {
      const run = await forwardInTurns(model, { tokens, logitsAt: "none" }, { interventions }, turn);
      const logProbs = tf.tidy(() => {
        const ends = rows.map((row, r) => r * positions + row.length - 1);
        const streams = gatherRows(tf.reshape(run.resid, [-1, d_model]), tf.tensor1d(ends, "int32"));
        return tf.logSoftmax(streamLogits(model, streams)); // [size, d_vocab]
      });
      run.dispose();
      const values = (await logProbs.data()) as Float32Array;
      logProbs.dispose();
      const own = part.map(({ words }, r) => words.map((id) => values[r * d_vocab + id]!));
      if (!own.flat().every(Number.isFinite)) throw notFinite(model, "the logits", tokens, { interventions });
      found.push(...own);
    } finally {
      disposeInterventions(interventions);
    }
    progress?.(found.length);
    await turn();
  }
  return found;
}
