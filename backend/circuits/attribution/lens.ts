import type { Tensor } from "@tensorflow/tfjs";
import { ANYTHING, checkOptions, FUNCTION, type Rules, whole, YES_OR_NO } from "../../common/options.ts";
import { allFinite, notFinite } from "../../hooks/finite.ts";
import type { Intervention } from "../../hooks/intervention-schema.ts";
import type { Model } from "../../models/model.ts";
import { blockHook } from "../../models/transformer/hook-points.ts";
import { tf } from "../../runtime/tf.ts";
import { topIndices } from "../../runtime/top.ts";
import { loopTurn, type Turn } from "../../runtime/turn.ts";
import { changedRun } from "../changed-run.ts";
import { logitsOf } from "../loss.ts";
import { meanOf } from "../means.ts";
import { positionsIn, type Question, questionNotes, type TokenQuestion, tokenQuestions } from "../questions.ts";

export interface LensOptions {
  /** Prompts with two answers; of pairs the clean sides. */
  prompts: readonly Question[];
  /** Position whose stream is read, negative ones from each prompt's end. Default -1. */
  position?: number;
  /** Likeliest tokens of a row. Default 5. */
  top?: number;
  /** Changes of every run, as data: what is measured is the changed model. Default none. */
  interventions?: readonly Intervention[] | undefined;
  /** For texts: whether BOS comes first. Default: as the tokenizer does. */
  prependBos?: boolean;
  progress?: (done: number, total: number, label: string) => void;
  signal?: AbortSignal;
  /** Lets others in between prompts and stretches of a long run. */
  turn?: Turn;
}

const OPTIONS: Rules<LensOptions> = {
  prompts: ANYTHING,
  position: whole(Number.MIN_SAFE_INTEGER),
  top: whole(0),
  interventions: { wants: "a list of interventions", fits: Array.isArray },
  prependBos: YES_OR_NO,
  progress: FUNCTION,
  signal: ANYTHING,
  turn: FUNCTION,
};

/** One point of the stream, read out as if the model ended there. */
export interface LensRow {
  /** Hook name. */
  at: string;
  /** Logit of the answer. */
  answer: number;
  /** Logit of the wrong one. */
  wrong: number;
  /** Number of tokens with a larger logit than the answer; 0 for the likeliest. */
  rank: number;
  /** The tokens with the largest logits, largest first. */
  top: { id: number; logit: number }[];
}

/** The logit lens: means over the prompts; `top` is that of the mean logits. */
export interface Lens {
  rows: LensRow[];
  /** Doubts about the prompts, such as an answer that the model does not prefer; absent where all is well. */
  notes?: string[];
}

/**
 * The logit lens: the stream before every layer and behind the last, each through the final norm with its own statistics, the
 * unembedding, its bias and the soft cap.
 * @throws HeadscopeError for options that do not fit, prompts that `tokenQuestions` refuses, a position that does not exist, and
 * logits that are no numbers
 * @see nostalgebraist 2020, interpreting GPT: the logit lens
 */
export async function lens(model: Model, options: LensOptions): Promise<Lens> {
  checkOptions("lens", options, OPTIONS, ["prompts"]);
  const { position = -1, top = 5, interventions = [], progress, signal, turn } = options;
  const questions = tokenQuestions(model, options.prompts, options);
  const places = positionsIn(questions, position);
  const between = turn ?? loopTurn(signal);
  const { n_layers, d_vocab } = model.config;
  const sums: Float32Array[] = Array.from({ length: n_layers + 1 }, () => new Float32Array(d_vocab));
  const rows: Omit<LensRow, "top">[][] = [];
  for (const [q, question] of questions.entries()) {
    const onLayer = (layer: number): void => {
      signal?.throwIfAborted();
      progress?.(q * n_layers + layer, questions.length * n_layers, "logit lens, layers");
    };
    const logits = await lensLogits(model, question.clean, { place: places[q]!, interventions, onLayer, turn });
    for (const [r, row] of logits.entries()) addTo(sums[r]!, row);
    rows.push(logits.map((row, r) => lensRow(row, { at: pointOf(model, r), question })));
    await between();
  }
  const differences = rows.map((own) => own.at(-1)!.answer - own.at(-1)!.wrong);
  const most = Math.min(top, d_vocab);
  return {
    rows: meanOf(rows).map((row, r) => ({ ...row, top: topOf(sums[r]!, questions.length, most) })),
    // The answers are those to the last token alone.
    ...(places.every((place, q) => place === questions[q]!.clean.length - 1) ? questionNotes(differences) : {}),
  };
}

/** Hook name of a row. */
function pointOf({ config }: Model, row: number): string {
  return row < config.n_layers ? blockHook(row, "hook_resid_pre") : blockHook(config.n_layers - 1, "hook_resid_post");
}

/** Logits of the stream before every layer and behind the last [layers + 1][d_vocab]. */
async function lensLogits(
  model: Model,
  tokens: number[],
  {
    place,
    interventions,
    onLayer,
    turn,
  }: {
    place: number;
    interventions: readonly Intervention[];
    onLayer: (layer: number) => void;
    turn: Turn | undefined;
  },
): Promise<Float32Array[]> {
  const { n_layers, d_vocab } = model.config;
  const names = Array.from({ length: n_layers }, (_, layer) => blockHook(layer, "hook_resid_pre"));
  const run = await changedRun(model, tokens, interventions, { names, logitsAt: "none", onLayer, turn });
  try {
    const streams = tf.tidy(() => {
      const row = (t: Tensor): Tensor => tf.reshape(tf.slice(t, [0, place], [1, 1]), [1, -1]);
      return tf.concat([...names.map((name) => row(run.activations.get(name)!)), row(run.resid)]);
    });
    const logits = tf.tidy(() => logitsOf(model, streams));
    const values = logits.dataSync() as Float32Array;
    tf.dispose([streams, logits]);
    if (!allFinite(values)) throw notFinite(model, "the logits", [tokens]);
    return Array.from({ length: n_layers + 1 }, (_, r) => values.subarray(r * d_vocab, (r + 1) * d_vocab));
  } finally {
    run.dispose();
  }
}

function lensRow(
  logits: Float32Array,
  { at, question }: { at: string; question: TokenQuestion },
): Omit<LensRow, "top"> {
  const answer = logits[question.answer]!;
  return { at, answer, wrong: logits[question.wrong]!, rank: logits.filter((logit) => logit > answer).length };
}

function topOf(sums: Float32Array, prompts: number, count: number): LensRow["top"] {
  return topIndices(sums, count).map((id) => ({ id, logit: sums[id]! / prompts }));
}

function addTo(sums: Float32Array, values: Float32Array): void {
  for (let i = 0; i < sums.length; i++) sums[i]! += values[i]!;
}
