import type { Random } from "../common/random.ts";

/** The likeliest token; of equals the first. @param logits [d_vocab] */
export function likeliest(logits: Float32Array): number {
  let best = 0;
  for (let i = 1; i < logits.length; i++) if (logits[i]! > logits[best]!) best = i;
  return best;
}

/** The next token: the likeliest one, or a sample at a temperature. @param logits [d_vocab] */
export function choose(logits: Float32Array, temperature: number, random: Random): number {
  const best = likeliest(logits);
  if (temperature <= 0) return best;
  // Loops: over a vocabulary `from`, `reduce` and `findIndex` with functions take ten times as long.
  const weights = new Float64Array(logits.length);
  let total = 0;
  for (let i = 0; i < weights.length; i++) total += weights[i] = Math.exp((logits[i]! - logits[best]!) / temperature);
  let left = random.uniform() * total;
  for (let i = 0; i < weights.length; i++) {
    left -= weights[i]!;
    if (left <= 0) return i;
  }
  return best;
}

/** The probability of a token at temperature 1. @param logits [d_vocab] */
export function probabilityOf(logits: Float32Array, id: number): number {
  const largest = logits[likeliest(logits)]!;
  let total = 0;
  for (let i = 0; i < logits.length; i++) total += Math.exp(logits[i]! - largest);
  return Math.exp(logits[id]! - largest) / total;
}
