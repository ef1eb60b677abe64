import { z } from "zod";
import { Random } from "../../backend/common/random.ts";
import { wrapped } from "../../backend/common/text.ts";
import { type Batch, type Evaluation, pickRows, rowOf } from "../../backend/training/task.ts";
import { impossible, task, tokenShape } from "../base.ts";
import { checkMarker, MARKER, marker, POOL_STREAM, SINK_DEFAULTS, sequences } from "../marked.ts";
import { BigramChain } from "./chain.ts";

const parameters = z.object({
  context: z.int().min(4).max(4096).default(32).describe("tokens of a sequence"),
  vocabulary: z.int().min(4).max(1024).default(64).describe("token ids; 0 is the marker's, all others are words"),
  zipf: z.number().min(0).max(4).default(1).describe("exponent of the words' frequencies"),
  contrast: z
    .number()
    .min(0)
    .max(8)
    .default(2)
    .describe("standard deviation of the logarithms by which pairs of words differ from chance"),
  triggers: z
    .int()
    .min(0)
    .max(1022)
    .default(3)
    .describe("words, the most frequent ones, behind which the word before them stands again"),
  sequences,
  chosen: z.array(z.int().min(0)).default([]).describe("numbers, from 0, of those of the different sequences that training draws from; none for all"),
  marker,
}); // biome-ignore format: a table
type Params = z.output<typeof parameters>;

/** A run's table of pairs, and its sequences where they are limited. */
export interface BigramWorld {
  readonly chain: BigramChain;
  readonly pool?: Batch;
}

/** The chain of a run. @param params the task's, complete */
export function chainOf(params: Readonly<Record<string, unknown>>, seed: number): BigramChain {
  const { vocabulary, triggers, zipf, contrast } = parameters.parse(params);
  return new BigramChain({ words: vocabulary - 1, triggers, zipf, contrast }, seed);
}

/**
 * Stretches of the chain. Predictions of the marker, which needs no thought, and from it count nothing.
 * @param counts whether the prediction from a word counts
 */
function batch(
  chain: BigramChain,
  { context, marker }: Params,
  { random, rows }: { random: Random; rows: number },
  counts: (word: number, place: number) => boolean = () => true,
): Batch {
  const tokens = new Int32Array(rows * context); // [rows, positions]
  const classes = new Int32Array(rows * context);
  const weights = new Float32Array(rows * context);
  for (let r = 0; r < rows; r++) {
    let place = chain.start(random);
    for (let t = 0, words = 0; t < context; t++) {
      const i = r * context + t;
      if (t === marker) {
        tokens[i] = MARKER;
        classes[i] = place.word + 1;
        continue;
      }
      tokens[i] = place.word + 1;
      weights[i] = t + 1 !== marker && counts(place.word, words) ? 1 : 0;
      place = chain.next(place, random);
      classes[i] = t + 1 === marker ? MARKER : place.word + 1;
      words++;
    }
  }
  return { rows, tokens, classes, weights };
}

const chance = ({ vocabulary }: Params) => ({ accuracy: 1 / (vocabulary - 1), loss: Math.log(vocabulary - 1) });

const fresh: Evaluation<Params, BigramWorld> = {
  title: "every next word of new sequences",
  chance,
  sample: ({ chain }, params, random, rows) => batch(chain, params, { random, rows }),
};

const copies: Evaluation<Params, BigramWorld> = {
  title: "words behind triggers, which the context determines",
  chance,
  sample: ({ chain }, params, random, rows) =>
    batch(chain, params, { random, rows }, (word, place) => place > 0 && chain.isTrigger(word)),
};

/** Log-probabilities of the next word, given all before it in the sequence [rows, positions, vocabulary]. */
function predict(
  { chain }: BigramWorld,
  { context, vocabulary, marker }: Params,
  { rows, tokens }: Batch,
): Float64Array {
  const out = new Float64Array(rows * context * vocabulary).fill(Math.log(1 / (vocabulary - 1)));
  for (let r = 0; r < rows; r++) {
    let before: number | undefined;
    for (let t = 0; t < context; t++) {
      const at = r * context + t;
      const word = tokens![at]! - 1;
      if (t === marker) continue;
      const next = !chain.isTrigger(word)
        ? chain.rows[word]!
        : before === undefined
          ? chain.behindUnknown(word)
          : Float64Array.from({ length: vocabulary - 1 }, (_, b) => (b === before ? 1 : 0));
      out[at * vocabulary] = Number.NEGATIVE_INFINITY;
      for (let b = 0; b < vocabulary - 1; b++) out[at * vocabulary + 1 + b] = Math.log(next[b]!);
      before = word;
    }
  }
  return out;
}

/** A language of word pairs, with words that copy: what attention sinks are grown on. */
export const zipfBigram = task({
  name: "zipf-bigram",
  title: "Zipf bigrams with copies",
  description:
    "A toy language: words with Zipf's frequencies follow one another by a random table of pairs that is fixed for a run, and " +
    "behind a few frequent words, the triggers, the word before them stands again. Pairs are learned in weights; copies need a head " +
    "that looks back behind triggers and has nothing to do elsewhere. Sequences begin anywhere, without BOS.",
  source:
    "Guo et al. 2024, Active-Dormant Attention Heads (bigram-backcopy); Gu et al. 2025, When Attention Sink Emerges in Language Models",
  parameters,
  shape: tokenShape,
  check({ context, vocabulary, triggers, marker, sequences, chosen }) {
    const absent = chosen.find((number) => number >= sequences);
    if (absent !== undefined)
      throw impossible(
        "zipf-bigram",
        ["chosen", "sequences"],
        `chosen ${absent} is not among ${sequences === 0 ? "sequences that are not limited" : `the ${sequences} sequences`}`,
        sequences === 0 ? "give the number of sequences that there are" : `give numbers up to ${sequences - 1}`,
      );
    if (triggers > vocabulary - 3)
      throw impossible(
        "zipf-bigram",
        ["triggers", "vocabulary"],
        `triggers ${triggers} leave fewer than two ordinary words of vocabulary ${vocabulary}`,
        `give at most ${vocabulary - 3} triggers`,
      );
    checkMarker("zipf-bigram", { marker, context });
  },
  world(params, seed): BigramWorld {
    const chain = chainOf(params, seed);
    if (params.sequences === 0) return { chain };
    return { chain, pool: batch(chain, params, { random: new Random(seed, POOL_STREAM), rows: params.sequences }) };
  },
  sample({ chain, pool }, params, random, rows) {
    if (!pool) return batch(chain, params, { random, rows });
    const { chosen } = params;
    const numbers = Array.from({ length: rows }, () =>
      chosen.length === 0 ? random.integer(0, pool.rows) : chosen[random.integer(0, chosen.length)]!,
    );
    return pickRows(pool, numbers);
  },
  evaluations: { fresh, copies },
  reference: { title: "the chain's own probabilities", predict },
  describe({ chain }, { marker }, drawn, row) {
    const { tokens } = rowOf(drawn, row);
    const words = Array.from(tokens!, (id, t) => {
      if (t === marker) return "<marker>";
      return chain.isTrigger(id - 1) ? `${id}*` : String(id);
    });
    return `${wrapped(words)}\nbehind a word with * the word before it stands again; all others follow a table of pairs`;
  },
  defaults: SINK_DEFAULTS,
});
