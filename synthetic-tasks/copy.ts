import { z } from "zod";
import type { Random } from "../backend/common/random.ts";
import { wrapped } from "../backend/common/text.ts";
import { type Batch, type Evaluation, rowOf } from "../backend/training/task.ts";
import { impossible, task, tokenShape } from "./base.ts";

const SEPARATOR = 0;
const FILLER = 1;
const FIRST_LETTER = 2;

const parameters = z.object({
  context: z.int().min(3).max(8192).default(33).describe("tokens of a sequence: a string with its copy, two separators, filler behind them"),
  vocabulary: z.int().min(4).max(65536).default(64).describe("token ids; 0 is the separator, 1 the filler, all others are letters"),
  length_min: z.int().min(1).default(2).describe("letters of the shortest string"),
  length_max: z.int().min(1).default(16).describe("letters of the longest string"),
  distinct: z.boolean().default(true).describe("whether the letters of a string differ, so that each says what follows it"),
}); // biome-ignore format: a table
type Params = z.output<typeof parameters>;

/** Letters of the longest string that fits: one token less of its copy goes in, and two separators do. */
const longestOf = ({ context }: Params): number => Math.floor((context - 1) / 2);

/** The letters of a string. */
function letters({ vocabulary, distinct }: Params, random: Random, length: number): number[] {
  if (!distinct) return Array.from({ length }, () => random.integer(FIRST_LETTER, vocabulary));
  const order = random.permutation(vocabulary - FIRST_LETTER);
  return order.slice(0, length).map((i) => FIRST_LETTER + i);
}

/** Separator, string, separator, string; at the second separator and behind it the target is the next letter. `layout` has the lengths. */
function batch(params: Params, random: Random, rows: number, [shortest, longest]: readonly [number, number]): Batch {
  const { context } = params;
  const tokens = new Int32Array(rows * context).fill(FILLER); // [rows, positions]
  const classes = new Int32Array(rows * context);
  const weights = new Float32Array(rows * context);
  const layout = new Int32Array(rows);
  for (let r = 0; r < rows; r++) {
    const length = random.integer(shortest, longest + 1);
    const string = letters(params, random, length);
    tokens.set([SEPARATOR, ...string, SEPARATOR, ...string.slice(0, -1)], r * context);
    const first = r * context + length + 1;
    classes.set(string, first);
    weights.fill(1, first, first + length);
    layout[r] = length;
  }
  return { rows, tokens, classes, weights, layout };
}

/** Guessing among all letters; of a string of different letters the last ones can be guessed better by whoever remembers what is gone. */
const chance = ({ vocabulary }: Params) => {
  const choices = vocabulary - FIRST_LETTER;
  return { accuracy: 1 / choices, loss: Math.log(choices) };
};

const lengths = ({ length_min, length_max }: Params): readonly [number, number] => [length_min, length_max];

const copied: Evaluation<Params, null> = {
  title: "strings of the lengths of training",
  chance,
  sample: (_, params, random, rows) => batch(params, random, rows, lengths(params)),
};

const longest: Evaluation<Params, null> = {
  title: "the longest strings that fit the context, longer than those of training where length_max is less",
  chance,
  sample: (_, params, random, rows) => batch(params, random, rows, [longestOf(params), longestOf(params)]),
};

/** A string again behind a separator: what a state of fixed size can hold, and attention need not. */
export const copy = task({
  name: "copy",
  title: "Copying a string",
  description:
    "A separator, a string of random letters, the separator again, and the string once more, letter by letter. Strings of a batch differ " +
    "in length. Attention looks back for each letter at any length; a recurrence copies as much as its state holds.",
  source:
    "Jelassi et al. 2024, Repeat After Me: Transformers are Better than State Space Models at Copying; Arjovsky et al. 2016 (the task)",
  parameters,
  shape: tokenShape,
  check(params) {
    const { context, vocabulary, length_min, length_max, distinct } = params;
    if (length_min > length_max)
      throw impossible(
        "copy",
        ["length_min", "length_max"],
        `length_min ${length_min} is more than length_max ${length_max}`,
        "make length_min the smaller one",
      );
    if (length_max > longestOf(params))
      throw impossible(
        "copy",
        ["length_max", "context"],
        `length_max ${length_max} does not fit context ${context}: a string and its copy take ${2 * length_max + 1} tokens`,
        `give a context of at least ${2 * length_max + 1}, or strings of at most ${longestOf(params)}`,
      );
    if (distinct && vocabulary - FIRST_LETTER < longestOf(params))
      throw impossible(
        "copy",
        ["vocabulary", "context", "distinct"],
        `vocabulary ${vocabulary} has ${vocabulary - FIRST_LETTER} letters, and the longest string that fits ${longestOf(params)} different ones`,
        `give a vocabulary of at least ${longestOf(params) + FIRST_LETTER}, or say distinct=false`,
      );
  },
  world: () => null,
  sample: (_, params, random, rows) => batch(params, random, rows, lengths(params)),
  part: "repeated",
  evaluations: { copy: copied, longest },
  describe(_, __, drawn, row) {
    const { tokens, layout } = rowOf(drawn, row);
    const length = layout![0]!;
    const words = Array.from(tokens!.subarray(0, 2 * length + 1), (id) => (id === SEPARATOR ? "|" : String(id)));
    return `${wrapped([...words, String(tokens![length])])}\n${length} letters and their copy, of which the last is a target alone`;
  },
  defaults: {
    model: { positional_embedding_type: "rotary" },
    training: { steps: 1500, extra_checkpoints: 12 },
  },
});
