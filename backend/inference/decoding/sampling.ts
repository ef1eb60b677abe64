import { HeadscopeError } from "../../common/errors.ts";
import type { Random } from "../../common/random.ts";

/** The choice of a token among the logits; its steps come in the order of these options, as in transformers. */
export interface Sampling {
  /** Divides the logits above 0 of tokens that have come already, and multiplies those below it; default 1. */
  repetitionPenalty?: number | undefined;
  /** 0 (default) takes the likeliest token, higher values sample. */
  temperature?: number | undefined;
  /** Samples among so many of the likeliest tokens, and those that are as likely as the last of them; default all. */
  topK?: number | undefined;
  /** Samples among the fewest likeliest tokens that have this share of the probability together; default 1. */
  topP?: number | undefined;
  /** Samples among tokens that have this share of the likeliest one's probability or more; default 0. */
  minP?: number | undefined;
}

const AMONG = ["topK", "topP", "minP"] as const;

/** @throws HeadscopeError (usage) for limits of a sample where nothing is sampled */
export function checkSampling(sampling: Sampling): void {
  const field = AMONG.find((name) => sampling[name] !== undefined);
  if (field === undefined || (sampling.temperature ?? 0) > 0) return;
  throw new HeadscopeError("usage", `${field} limits what is sampled, and at temperature 0 nothing is`, {
    remedy: "give a temperature above 0, 1 for the model's own probabilities, or leave it out",
    field,
  });
}

/** The likeliest token; of equals the first. @param logits [d_vocab] */
export function likeliest(logits: Float32Array): number {
  let best = 0;
  for (let i = 1; i < logits.length; i++) if (logits[i]! > logits[best]!) best = i;
  return best;
}

/** Logits of tokens that have come already made smaller (CTRL, Keskar et al., 2019, section 4.1). @param logits [d_vocab] */
export function penalised(logits: Float32Array, penalty: number, before: Iterable<number>): Float32Array {
  const changed = logits.slice();
  for (const id of before) changed[id] = logits[id]! < 0 ? logits[id]! * penalty : logits[id]! / penalty;
  return changed;
}

/**
 * Weights that tokens are drawn with, the likeliest one's 1; 0 for those that a limit leaves out.
 * @param logits [d_vocab], penalised already
 * @param sampling its temperature is above 0
 */
export function weightsOf(logits: Float32Array, { temperature = 1, topK, topP, minP }: Sampling): Float64Array {
  const best = logits[likeliest(logits)]!;
  // Loops: over a vocabulary `from`, `reduce` and `findIndex` with functions take ten times as long.
  const weights = new Float64Array(logits.length);
  for (let i = 0; i < weights.length; i++) weights[i] = Math.exp((logits[i]! - best) / temperature);
  if (topK !== undefined && topK < weights.length)
    leaveOutBelow(weights, largest(weights, (count) => count >= topK).at(-topK)!);
  if (topP !== undefined && topP < 1) leaveOutTail(weights, topP);
  if (minP !== undefined) leaveOutBelow(weights, minP);
  return weights;
}

/** A token drawn as often as its weight says. @param weights [d_vocab], not all of them 0 */
export function draw(weights: Float64Array, random: Random): number {
  let left = random.uniform() * totalOf(weights);
  let last = 0;
  for (let i = 0; i < weights.length; i++) {
    if (weights[i] === 0) continue;
    last = i;
    left -= weights[i]!;
    if (left <= 0) break;
  }
  return last;
}

/**
 * The next token: the likeliest one, or a sample.
 * @param logits [d_vocab]
 * @param before tokens that have come already, for the penalty
 */
export function choose(
  logits: Float32Array,
  sampling: Sampling,
  random: Random,
  before: Iterable<number> = [],
): number {
  const { temperature = 0 } = sampling;
  const shaped = withPenalty(logits, sampling, before);
  return temperature <= 0 ? likeliest(shaped) : draw(weightsOf(shaped, sampling), random);
}

/** A drafted token, and the probabilities that it was drawn with [d_vocab]; without them it is the draft's likeliest. */
export interface Proposal {
  readonly id: number;
  readonly probabilities?: Float64Array;
}

/** A draft's next token. @param logits of the draft [d_vocab] @param before as `choose` has it */
export function propose(
  logits: Float32Array,
  sampling: Sampling,
  random: Random,
  before: Iterable<number> = [],
): Proposal {
  if ((sampling.temperature ?? 0) <= 0) return { id: choose(logits, sampling, random, before) };
  const probabilities = normalise(weightsOf(withPenalty(logits, sampling, before), sampling));
  return { id: draw(probabilities, random), probabilities };
}

/**
 * The next token where one was drafted: the model's likeliest; of a sample the drafted one with probability min(1, p / q), else one
 * of what the model's probabilities p have over the draft's q, so that tokens come as often as p says (Leviathan et al., 'Fast
 * inference from transformers via speculative decoding', 2023, section 2.3).
 * @param logits of the model [d_vocab]
 */
export function judge(
  logits: Float32Array,
  { proposal, sampling, before = [] }: { proposal: Proposal; sampling: Sampling; before?: Iterable<number> },
  random: Random,
): number {
  const { id, probabilities: q } = proposal;
  if (!q) return choose(logits, sampling, random, before);
  const p = normalise(weightsOf(withPenalty(logits, sampling, before), sampling));
  if (random.uniform() * q[id]! < p[id]!) return id;
  for (let i = 0; i < p.length; i++) p[i] = Math.max(0, p[i]! - q[i]!);
  // Nothing is left where the two are one but for rounding.
  return totalOf(p) > 0 ? draw(p, random) : id;
}

/** The probability of a token at temperature 1. @param logits [d_vocab] */
export function probabilityOf(logits: Float32Array, id: number): number {
  const largest = logits[likeliest(logits)]!;
  let total = 0;
  for (let i = 0; i < logits.length; i++) total += Math.exp(logits[i]! - largest);
  return Math.exp(logits[id]! - largest) / total;
}

function withPenalty(
  logits: Float32Array,
  { repetitionPenalty = 1 }: Sampling,
  before: Iterable<number>,
): Float32Array {
  return repetitionPenalty === 1 ? logits : penalised(logits, repetitionPenalty, before);
}

/** Weights as probabilities, in their place. */
function normalise(weights: Float64Array): Float64Array {
  const total = totalOf(weights);
  for (let i = 0; i < weights.length; i++) weights[i] = weights[i]! / total;
  return weights;
}

function totalOf(weights: Float64Array): number {
  let total = 0;
  for (let i = 0; i < weights.length; i++) total += weights[i]!;
  return total;
}

function leaveOutBelow(weights: Float64Array, least: number): void {
  for (let i = 0; i < weights.length; i++) if (weights[i]! < least) weights[i] = 0;
}

/** Leaves out the unlikeliest tokens that have at most the rest of the share together; of equals the first go first. */
function leaveOutTail(weights: Float64Array, share: number): void {
  const needed = share * totalOf(weights);
  const ascending = largest(weights, (_, total) => total >= needed);
  let left = totalOf(ascending) - needed;
  let out = 0;
  // The likeliest one always stays.
  while (out < ascending.length - 1 && ascending[out]! <= left) left -= ascending[out++]!;
  const least = ascending[out]!;
  let equals = 0;
  for (let i = out - 1; i >= 0 && ascending[i] === least; i--) equals++;
  for (let i = 0; i < weights.length; i++)
    if (weights[i]! < least || (weights[i] === least && equals-- > 0)) weights[i] = 0;
}

/** The largest weights, ascending, as many as are enough or more: to sort a whole vocabulary takes longer than to look for them. */
function largest(weights: Float64Array, enough: (count: number, total: number) => boolean): Float64Array {
  for (let floor = 1e-2; floor > 1e-20; floor *= 1e-2) {
    let [count, total] = [0, 0];
    for (let i = 0; i < weights.length; i++)
      if (weights[i]! >= floor) {
        count++;
        total += weights[i]!;
      }
    if (enough(count, total)) return weights.filter((weight) => weight >= floor).sort();
  }
  return weights.toSorted();
}
