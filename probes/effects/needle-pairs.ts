import { z } from "zod";
import type { TokenPair } from "../../backend/circuits/pairs.ts";
import { HeadscopeError } from "../../backend/common/errors.ts";
import { Random } from "../../backend/common/random.ts";
import type { Model } from "../../backend/models/model.ts";
import { fitLength, type ProbeContext, refuse } from "../base.ts";
import { haystack, idHaystack } from "../haystack.ts";

const LENGTH = 256;

/** Parameters of the needle questions by which heads' effects are measured. */
export const needlePairParameters = {
  length: z.int().min(48).default(LENGTH).describe("tokens of a text"),
  depths: z
    .array(z.number().min(0).max(1))
    .min(1)
    .default([0.25, 0.75])
    .describe("where the needle stands: 0 start, 1 end of the text"),
  needles: z.int().min(1).default(1).describe("different needles at every depth"),
};
const schema = z.object(needlePairParameters);
type Params = z.output<typeof schema>;

/**
 * Needle questions as pairs: the clean text names one number and the corrupt one another in its place, and the question stands before
 * the first token in which the two answers differ. For a model without a tokenizer the needle is of ids.
 * @throws HeadscopeError (usage) for texts that do not fit
 */
export function needlePairs(
  model: Model,
  name: string,
  params: Params,
  context: ProbeContext,
): { pairs: TokenPair[]; params: Params } {
  for (const what of ["tokens", "cases"] as const) refuse(context, name, what);
  const length = fitLength("length", params.length, LENGTH, model.config.n_ctx - 8);
  const { seed = 0 } = context;
  const pairs = params.depths.flatMap((depth) =>
    Array.from({ length: params.needles }, (_, n) => {
      const options = { tokens: length, depth, seed: seed * 1000 + n };
      return model.tokenizer ? inWords(model, options) : inIds(model, options);
    }),
  );
  return { pairs, params: { ...params, length } };
}

type Place = Parameters<typeof idHaystack>[1];

function inWords({ tokenizer }: Model, options: Place): TokenPair {
  const random = new Random(options.seed ?? 0, 4);
  const first = random.integer(1, 9);
  const rest = random.integer(0, 1000);
  const sides = [first, first + 1].map((digit) => {
    const { ids, answer } = haystack(tokenizer!, { ...options, number: digit * 1000 + rest });
    return { ids, answer: tokenizer!.encode(` ${answer}`, { prependBos: false }) };
  });
  const [clean, corrupt] = sides as [(typeof sides)[0], (typeof sides)[0]];
  const apart = clean.answer.findIndex((id, i) => id !== corrupt.answer[i]);
  if (clean.ids.length !== corrupt.ids.length || apart < 0 || corrupt.answer[apart] === undefined)
    throw new HeadscopeError("unsupported", "the tokenizer gives two numbers of one length tokens of two lengths", {
      remedy: "measure heads on pairs of your own with headscope ablate --each head --pair-file",
    });
  const before = clean.answer.slice(0, apart);
  return {
    clean: [...clean.ids, ...before],
    corrupt: [...corrupt.ids, ...before],
    answer: [clean.answer[apart]!],
    wrong: [corrupt.answer[apart]!],
  };
}

/** Tokens of a needle of ids that its question repeats. */
const CUE = 2;

function inIds(model: Model, options: Place): TokenPair {
  const { ids, needleSpan: [start, end] } = idHaystack(model, options); // biome-ignore format: one line
  const needle = new Set(ids.slice(start, end));
  const answer = ids[start + CUE]!;
  const wrong = Array.from({ length: model.config.d_vocab }, (_, id) => id).find((id) => id > 0 && !needle.has(id))!;
  return { clean: ids, corrupt: ids.map((id) => (id === answer ? wrong : id)), answer: [answer], wrong: [wrong] };
}
