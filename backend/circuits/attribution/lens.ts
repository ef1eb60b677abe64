import type { Tensor } from "@tensorflow/tfjs";
import { ANYTHING, checkOptions, FUNCTION, type Rules, whole, YES_OR_NO } from "../../common/options.ts";
import { allFinite, notFinite } from "../../hooks/finite.ts";
import type { Intervention } from "../../hooks/intervention-schema.ts";
import type { Model } from "../../models/model.ts";
import { blockHook } from "../../models/transformer/hook-points.ts";
import { tf } from "../../runtime/tf.ts";
import { topIndices } from "../../runtime/top.ts";
import { loopTurn, type Turn } from "../../runtime/turn.ts";
import { logitOf, tokensIn } from "../answers.ts";
import { changedRun } from "../changed-run.ts";
import { streamLogits } from "../loss.ts";
import { meanOf } from "../means.ts";
import { positionsIn, type Question, questionNotes, type TokenQuestion, tokenQuestions } from "../questions.ts";
import type { TunedLens } from "./tuned-lens.ts";

export interface LensOptions {
  /** Prompts with two answers; of pairs the clean sides. */
  prompts: readonly Question[];
  /** Position whose stream is read, negative ones from each prompt's end. Default -1. */
  position?: number;
  /** Likeliest tokens of a row. Default 5. */
  top?: number;
  /** Maps that the stream goes through beside: each row then has `tuned`. Default none. */
  tuned?: TunedLens | undefined;
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
  tuned: { wants: "what tuneLens gave", fits: (value) => typeof value === "object" && value !== null },
  interventions: { wants: "a list of interventions", fits: Array.isArray },
  prependBos: YES_OR_NO,
  progress: FUNCTION,
  signal: ANYTHING,
  turn: FUNCTION,
};

/** The readout of a point of the stream. */
export interface LensReading {
  /** Logit of the answer. */
  answer: number;
  /** Logit of the wrong one. */
  wrong: number;
  /** Number of tokens with a larger logit than the answer; 0 for the likeliest. */
  rank: number;
  /** The tokens with the largest logits, largest first. */
  top: { id: number; logit: number }[];
}

/** One point of the stream, read out as if the model ended there. */
export interface LensRow extends LensReading {
  /** Hook name. */
  at: string;
  /** The same through the layer's map; of the last row as it is. Absent without a tuned lens. */
  tuned?: LensReading;
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
  const { n_layers } = model.config;
  const lenses = [undefined, ...(options.tuned ? [options.tuned] : [])];
  const readings = lenses.map(() => new Readings(model.config));
  for (const [q, question] of questions.entries()) {
    const onLayer = (layer: number): void => {
      signal?.throwIfAborted();
      progress?.(q * n_layers + layer, questions.length * n_layers, "lens, layers");
    };
    const run = { place: places[q]!, lenses, interventions, onLayer, turn };
    for (const [i, logits] of (await lensLogits(model, question.clean, run)).entries())
      readings[i]!.add(logits, question);
    await between();
  }
  const [plain, tuned] = readings.map((own) => own.rows(Math.min(top, model.config.d_vocab)));
  return {
    rows: plain!.map((row, r) => ({ at: pointOf(model, r), ...row, ...(tuned ? { tuned: tuned[r]! } : {}) })),
    // The answers are those to the last token alone.
    ...(places.every((place, q) => place === questions[q]!.clean.length - 1)
      ? questionNotes(readings[0]!.differences)
      : {}),
  };
}

/** The readings of several prompts through one lens, point by point. */
class Readings {
  readonly #values: Omit<LensReading, "top">[][] = [];
  readonly #sums: Float32Array[];

  constructor({ n_layers, d_vocab }: Model["config"]) {
    this.#sums = Array.from({ length: n_layers + 1 }, () => new Float32Array(d_vocab));
  }

  /** Adds a prompt. @param logits [layers + 1][d_vocab] */
  add(logits: readonly Float32Array[], question: TokenQuestion): void {
    for (const [r, row] of logits.entries()) {
      const sums = this.#sums[r]!;
      for (let i = 0; i < sums.length; i++) sums[i]! += row[i]!;
    }
    this.#values.push(logits.map((row) => reading(row, question)));
  }

  /** logit(answer) - logit(wrong) behind the last layer, by prompt. */
  get differences(): number[] {
    return this.#values.map((rows) => rows.at(-1)!.answer - rows.at(-1)!.wrong);
  }

  /** Means over the prompts, by point. @param top tokens of each */
  rows(top: number): LensReading[] {
    const prompts = this.#values.length;
    return meanOf(this.#values).map((row, r) => {
      const sums = this.#sums[r]!;
      return { ...row, top: topIndices(sums, top).map((id) => ({ id, logit: sums[id]! / prompts })) };
    });
  }
}

function reading(logits: Float32Array, question: TokenQuestion): Omit<LensReading, "top"> {
  const best = Math.max(...tokensIn(question.answer).map((id) => logits[id]!));
  return {
    answer: logitOf(logits, question.answer),
    wrong: logitOf(logits, question.wrong),
    rank: logits.filter((logit) => logit > best).length,
  };
}

/** Hook name of a row. */
function pointOf({ config }: Model, row: number): string {
  return row < config.n_layers ? blockHook(row, "hook_resid_pre") : blockHook(config.n_layers - 1, "hook_resid_post");
}

/** One prompt's run, and the lenses that read it. */
interface LensRun {
  readonly place: number;
  /** undefined for the stream as it is. */
  readonly lenses: readonly (TunedLens | undefined)[];
  readonly interventions: readonly Intervention[];
  readonly onLayer: (layer: number) => void;
  readonly turn: Turn | undefined;
}

/** Logits of the stream before every layer and behind the last, by lens [layers + 1][d_vocab]. */
async function lensLogits(
  model: Model,
  tokens: number[],
  { place, lenses, interventions, onLayer, turn }: LensRun,
): Promise<Float32Array[][]> {
  const { n_layers, d_vocab } = model.config;
  const names = Array.from({ length: n_layers }, (_, layer) => blockHook(layer, "hook_resid_pre"));
  const run = await changedRun(model, tokens, interventions, { names, logitsAt: "none", onLayer, turn });
  try {
    return lenses.map((own) => {
      const logits = tf.tidy(() => {
        const row = (t: Tensor): Tensor => tf.reshape(tf.slice(t, [0, place], [1, 1]), [1, -1]);
        const streams = names.map((name, layer) => {
          const stream = row(run.activations.get(name)!);
          return own ? own.apply(layer, stream) : stream;
        });
        return streamLogits(model, tf.concat([...streams, row(run.resid)]));
      });
      const values = logits.dataSync() as Float32Array;
      logits.dispose();
      if (!allFinite(values)) throw notFinite(model, "the logits", [tokens]);
      return Array.from({ length: n_layers + 1 }, (_, r) => values.subarray(r * d_vocab, (r + 1) * d_vocab));
    });
  } finally {
    run.dispose();
  }
}
