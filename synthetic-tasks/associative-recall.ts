import { z } from "zod";
import type { Random } from "../backend/common/random.ts";
import { wrapped } from "../backend/common/text.ts";
import { type Batch, type Evaluation, rowOf } from "../backend/training/task.ts";
import { impossible, task, tokenShape } from "./base.ts";

const parameters = z.object({
  context: z.int().min(4).max(8192).default(64).describe("tokens of a sequence"),
  vocabulary: z.int().min(8).max(65536).default(256).describe("token ids: keys are of the lower half without 0, values of the upper half"),
  pairs: z.int().min(1).max(2048).default(8).describe("keys with their values at the start; each key is asked for once"),
  power: z.number().min(0).max(1).default(0.01).describe("place g of a query, counted from the first, has a chance proportional to g^(power - 1); 1 is uniform"),
  random_filler: z.boolean().default(true).describe("whether the tokens between queries are random; otherwise 0"),
}); // biome-ignore format: a table
type Params = z.output<typeof parameters>;

/** Places of two tokens after the pairs: a query and one more token. */
const placesOf = ({ context, pairs }: Params): number => Math.floor(context / 2) - pairs;

/** Keys are 1 … half - 1, values half … vocabulary - 1. */
const halfOf = ({ vocabulary }: Params): number => vocabulary >> 1;

/** Different numbers of [low, high). */
function different(random: Random, n: number, low: number, high: number): number[] {
  const drawn = new Set<number>();
  // Floyd's algorithm: n draws, every subset equally likely, though not every order.
  for (let top = high - n; top < high; top++) {
    const candidate = random.integer(low, top + 1);
    drawn.add(drawn.has(candidate) ? top : candidate);
  }
  const values = [...drawn];
  return random.permutation(n).map((i) => values[i]!);
}

/**
 * n different places of 0 … places - 1, drawn one after the other with chances proportional to (place + 1)^(power - 1),
 * in an order of their own: what is drawn first is likely near, and no pair should be asked for sooner than another.
 */
function queryPlaces(random: Random, n: number, places: number, power: number): number[] {
  // The n smallest of exponential times divided by the weights: a draw without replacement (Efraimidis and Spirakis 2006).
  const times = Array.from({ length: places }, (_, g) => -Math.log(1 - random.uniform()) / (g + 1) ** (power - 1));
  const drawn = times.map((_, g) => g).sort((a, b) => times[a]! - times[b]!);
  return random.permutation(n).map((i) => drawn[i]!);
}

/**
 * key value key value … then queries among other tokens; the target at a query is its key's value.
 * @param only whether all queries of a row count, or the last one
 */
function batch(params: Params, random: Random, rows: number, only: "all" | "last" = "all"): Batch {
  const { context, vocabulary, pairs, power, random_filler } = params;
  const half = halfOf(params);
  const tokens = new Int32Array(rows * context); // [rows, positions]
  if (random_filler) random.integers(tokens, 0, vocabulary);
  const classes = new Int32Array(rows * context);
  const weights = new Float32Array(rows * context);
  const layout = new Int32Array(rows * pairs); // positions of the queries, by pair
  for (let r = 0; r < rows; r++) {
    const at = r * context;
    const keys = different(random, pairs, 1, half);
    const values = different(random, pairs, half, vocabulary);
    const places = queryPlaces(random, pairs, placesOf(params), power);
    const last = Math.max(...places);
    for (let p = 0; p < pairs; p++) {
      tokens[at + 2 * p] = keys[p]!;
      tokens[at + 2 * p + 1] = values[p]!;
      const query = 2 * pairs + 2 * places[p]!;
      tokens[at + query] = keys[p]!;
      classes[at + query] = values[p]!;
      weights[at + query] = only === "all" || places[p] === last ? 1 : 0;
      layout[r * pairs + p] = query;
    }
  }
  return { rows, tokens, classes, weights, layout };
}

/** Guessing among the values that occur needs the context; among all values it does not. */
const chance = (params: Params) => {
  const values = params.vocabulary - halfOf(params);
  return { accuracy: 1 / values, loss: Math.log(values) };
};

const recall: Evaluation<Params, null> = {
  title: "every query",
  chance,
  sample: (_, params, random, rows) => batch(params, random, rows),
};

const distant: Evaluation<Params, null> = {
  title: "the last query of each sequence, which is farthest from its pair",
  chance,
  sample: (_, params, random, rows) => batch(params, random, rows, "last"),
};

/** Multi-query associative recall (MQAR). */
export const associativeRecall = task({
  name: "associative-recall",
  title: "Multi-query associative recall",
  description:
    "Pairs of a key and a value, then the keys again in random order among other tokens; at each of them the value is to be " +
    "told. Gaps follow a power law: most queries come soon after the pairs, a few much later. Attention solves it at " +
    "any length; models with a state of fixed size only up to as many pairs as the state can hold.",
  source: "Arora et al. 2023, Zoology: Measuring and Improving Recall in Efficient Language Models",
  parameters,
  shape: tokenShape,
  check(params) {
    const { context, vocabulary, pairs } = params;
    if (placesOf(params) < pairs)
      throw impossible(
        "associative-recall",
        ["pairs", "context"],
        `pairs ${pairs} do not fit context ${context}: a pair and its query take two tokens each, ${4 * pairs} together`,
        `give a context of at least ${4 * pairs}, or at most ${Math.floor(context / 4)} pairs`,
      );
    if (halfOf(params) - 1 < pairs)
      throw impossible(
        "associative-recall",
        ["vocabulary", "pairs"],
        `vocabulary ${vocabulary} has ${halfOf(params) - 1} keys, fewer than pairs ${pairs}`,
        `give a vocabulary of at least ${2 * pairs + 2}, or fewer pairs`,
      );
  },
  world: () => null,
  sample: (_, params, random, rows) => batch(params, random, rows),
  part: "repeated",
  evaluations: { recall, distant },
  describe(_, { context, pairs }, drawn, row) {
    const { tokens, classes, layout } = rowOf(drawn, row);
    const queries = new Set(layout);
    const words: string[] = [];
    for (let p = 0; p < pairs; p++) words.push(`${tokens![2 * p]}=${tokens![2 * p + 1]}`);
    words.push("|");
    for (let t = 2 * pairs; t < context; t++)
      words.push(queries.has(t) ? `[${tokens![t]}?${classes![t]}]` : String(tokens![t]));
    return `${wrapped(words)}\nkey=value pairs, then [key?answer] queries among other tokens`;
  },
  defaults: {
    model: { positional_embedding_type: "rotary" },
    training: { steps: 1500, extra_checkpoints: 12 },
  },
});
