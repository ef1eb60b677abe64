import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError } from "../common/errors.ts";
import { allFinite, notFinite } from "../hooks/finite.ts";
import { forward } from "../models/forward/forward.ts";
import type { ForwardOptions } from "../models/forward/types.ts";
import type { Model } from "../models/model.ts";
import { functions } from "../runtime/capture.ts";
import { gatherRows } from "../runtime/ops.ts";
import { tf } from "../runtime/tf.ts";
import type { Turn } from "../runtime/turn.ts";
import { type AnswerSet, type Answers, tokensIn } from "./answers.ts";
import { evenBatches } from "./batches.ts";

/** Loss of the next token, in nats. */
export interface TokenLosses {
  /** Mean over all predicted tokens of all rows. */
  loss: number;
  /** By row and position: -log p(token t + 1 | tokens up to t), [rows][length - 1]. */
  nll: number[][];
}

/** Tokens whose logits are held at a time: 50 MB of them at 49,152 tokens of vocabulary. */
const UNEMBED = 256;

/**
 * Loss of every next token.
 * @param tokens rows of token ids [rows][positions], of any lengths
 * @throws HeadscopeError for ids outside the vocabulary or rows beyond the context
 */
export function nextTokenLosses(model: Model, tokens: readonly (readonly number[])[]): TokenLosses {
  const longest = Math.max(...tokens.map((row) => row.length));
  const nll: number[][] = [];
  for (const { first, count } of evenBatches(tokens.length, longest)) {
    const rows = tokens.slice(first, first + count);
    const { resid } = forward(model, { tokens: rows, logitsAt: "none" });
    nll.push(...residLosses(model, resid, rows));
    resid.dispose();
  }
  return { loss: meanLoss(nll), nll };
}

/** Mean over all entries; 0 where nothing was predicted. */
export function meanLoss(nll: readonly (readonly number[])[]): number {
  const all = nll.flat();
  return all.length === 0 ? 0 : all.reduce((sum, x) => sum + x, 0) / all.length;
}

/**
 * Loss of every next token from the residual stream after the last layer; logits are made and reduced in bounded chunks.
 * @param resid [rows, positions, d_model] @param tokens the rows' ids
 * @param options.onChunk called after each chunk; throwing from it ends the work
 * @param options.interventions of the run that the stream comes from, to say where numbers that are none arose
 * @returns nll by row and position
 * @throws HeadscopeError (input) for losses that are no numbers
 */
export function residLosses(
  model: Model,
  resid: Tensor,
  tokens: readonly (readonly number[])[],
  { onChunk, ...changes }: { onChunk?: () => void } & Changes = {},
): number[][] {
  const losses: number[] = [];
  for (const part of lossChunks(model, resid, tokens, changes)) {
    losses.push(...part);
    onChunk?.();
  }
  return byRow(losses, tokens);
}

/** The changes of the run that a stream comes from. */
type Changes = Pick<ForwardOptions, "interventions">;

/** As `residLosses`, with a turn for others after each chunk. @throws what `turn` throws */
export async function residLossesInTurns(
  model: Model,
  resid: Tensor,
  tokens: readonly (readonly number[])[],
  { turn, ...changes }: { turn: Turn } & Changes,
): Promise<number[][]> {
  const losses: number[] = [];
  for (const part of lossChunks(model, resid, tokens, changes)) {
    losses.push(...part);
    if (part.length === UNEMBED) await turn();
  }
  return byRow(losses, tokens);
}

/** Losses one chunk after the other, each made when it is asked for. */
function* lossChunks(
  model: Model,
  resid: Tensor,
  tokens: readonly (readonly number[])[],
  changes: Changes,
): Generator<number[]> {
  const { d_model, d_vocab } = model.config;
  const positions = resid.shape[1]!;
  const wanted = tokens.flatMap((row, r) => row.slice(1).map((target, t) => ({ from: r * positions + t, target })));
  for (let first = 0; first < wanted.length; first += UNEMBED) {
    const part = wanted.slice(first, first + UNEMBED);
    // Filled up so that every chunk runs the same functions.
    const size = wanted.length > UNEMBED ? UNEMBED : Math.ceil(part.length / 32) * 32;
    const filled = Array.from({ length: size }, (_, i) => part[i] ?? part[0]!);
    const values = tf.tidy(() => {
      const index = tf.tensor1d(
        filled.map(({ from: stream }) => stream),
        "int32",
      );
      const streams = gatherRows(tf.reshape(resid, [-1, d_model]), index);
      const logits = streamLogits(model, streams); // [size, d_vocab]
      const target = tf.tensor1d(
        filled.map((entry, i) => i * d_vocab + entry.target),
        "int32",
      );
      const inputs = [logits, target];
      const body = ([l, index]: Tensor[]): Tensor[] => [
        tf.sub(tf.logSumExp(l!, 1), tf.reshape(gatherRows(tf.reshape(l!, [size * d_vocab, 1]), index!), [size])),
      ];
      return functions
        .get(
          `nll|${size}|${d_vocab}`,
          (...args) => body(args as Tensor[]),
          () => inputs,
          () => ({ name: "nll" }),
        )
        .run(inputs)[0]!
        .dataSync();
    });
    const losses = [...values.slice(0, part.length)];
    if (!allFinite(losses)) throw notFinite(model, "the losses", tokens, changes);
    yield losses;
  }
}

function byRow(losses: readonly number[], tokens: readonly (readonly number[])[]): number[][] {
  let end = 0;
  return tokens.map((row) => {
    const first = end;
    end += row.length - 1;
    return losses.slice(first, end);
  });
}

/** Logits of single streams, through the final norm. @param streams after the last layer [n, d_model] @returns [n, d_vocab] */
export function streamLogits(model: Model, streams: Tensor): Tensor {
  const { n_layers, d_model, d_vocab } = model.config;
  const count = streams.shape[0]!;
  // Each as a row of its own, so that the model's context does not limit how many there are.
  const { logits, resid } = forward(model, {
    resid: tf.reshape(streams, [count, 1, d_model]),
    startLayer: n_layers,
    logitsAt: "all",
  });
  resid.dispose();
  return tf.reshape(logits!, [count, d_vocab]);
}

/** logit(answer) - logit(wrong), of several tokens their mean. @param logits [rows, 1, d_vocab] @returns one a row */
export function logitDifference(logits: Tensor, { answer, wrong }: Answers): number[] {
  return tf.tidy(() => {
    const [rows, , vocabulary] = logits.shape as [number, number, number];
    const flat = tf.reshape(logits, [rows * vocabulary, 1]);
    const pick = (set: AnswerSet): Tensor => {
      const tokens = tokensIn(set);
      const index = Array.from({ length: rows }, (_, r) => tokens.map((id) => r * vocabulary + id)).flat();
      const own = gatherRows(flat, tf.tensor1d(index, "int32"));
      return tokens.length === 1 ? own : tf.mean(tf.reshape(own, [rows, tokens.length]), 1, true);
    };
    return [...tf.sub(pick(answer), pick(wrong)).dataSync()];
  });
}

/** @throws HeadscopeError (input) for rows that leave no loss to measure */
export function checkLossRows(tokens: readonly (readonly number[])[]): void {
  const short = tokens.findIndex((row) => row.length < 2);
  if (short >= 0)
    throw new HeadscopeError("input", `row ${short} has ${tokens[short]!.length} tokens, and a loss needs a next one`, {
      remedy: "give rows of at least two tokens",
    });
}
