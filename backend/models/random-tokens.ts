import type { Random } from "../runtime/random.ts";
import type { Model } from "./model.ts";

/** The token that stands before a sequence: BOS, or id 0 in a model without one. */
export function firstToken({ tokenizer }: Model): number {
  return tokenizer?.bos ?? 0;
}

/** Uniform random ids, without the tokens that begin and end sequences. */
export function randomIds(model: Model, count: number, random: Random): number[] {
  const { d_vocab } = model.config;
  const apart = new Set([firstToken(model), model.tokenizer?.eos]);
  return Array.from({ length: count }, () => {
    for (;;) {
      const id = random.integer(0, d_vocab);
      if (!apart.has(id) || d_vocab <= apart.size) return id;
    }
  });
}
