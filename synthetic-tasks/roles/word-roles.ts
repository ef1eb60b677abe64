import { z } from "zod";
import { drawIndex, runningSums } from "../../backend/common/numerics/running-sums.ts";
import { Random } from "../../backend/common/random.ts";
import { type Batch, type Evaluation, rowOf } from "../../backend/training/task.ts";
import { impossible, task } from "../base.ts";

/** Ids before the words: the copula, and the token that opens a phrase whose adjective comes first. */
const COPULA = 0;
const OPEN = 1;
const FIRST_WORD = 2;
/** Tokens of a phrase. */
const PHRASE = 3;
/** Share of the known words, from the most frequent and from the least frequent on, of which `head` and `tail` are. */
const ENDS = 0.1;
/** Stream of a seed from which roles are drawn. */
const WORLD = 0xffffffff;

/** The two roles, which are the classes too. */
const ROLES = ["noun", "adjective"] as const;

const parameters = z.object({
  words: z.int().min(4).max(65536).default(400).describe("words of training, by falling frequency; an even number"),
  unseen: z.int().min(2).max(65536).default(100).describe("further words, which occur in no training sequence"),
  alpha: z.number().min(0).default(1).describe("the word of rank k occurs in proportion to 1 / k^alpha"),
  ambiguous: z.number().min(0).max(1).default(0.1).describe("share of the words of training that take either role, whatever their rank"),
  phrases: z.int().min(1).max(64).default(2).describe("phrases of a sequence, a noun and an adjective each"),
}); // biome-ignore format: a table
type Params = z.output<typeof parameters>;

/** Words that each role may be filled with. */
type Pools = readonly [nouns: readonly number[], adjectives: readonly number[]];

/** Roles of a run's words. */
export interface WordRoles {
  /** By rank, the role of a word: 0 noun, 1 adjective, 2 either. */
  readonly roles: readonly number[];
  /** Words of training by role, and their cumulated frequencies. */
  readonly trained: Pools;
  readonly cumulated: readonly [Float64Array, Float64Array];
}

/** Two ranks after one another hold a noun and an adjective; pairs of ambiguous words are spread evenly over the ranks. */
function world({ words, alpha, ambiguous }: Params, seed: number): WordRoles {
  const random = new Random(seed, WORLD);
  const roles = Array.from({ length: words / 2 }, (_, pair) => {
    const noun = random.integer(0, 2);
    const either = Math.floor((pair + 1) * ambiguous) > Math.floor(pair * ambiguous);
    return either ? [2, 2] : [noun, 1 - noun];
  }).flat();
  const trained = poolsOf(roles, 0, words, (role, slot) => role === slot || role === 2);
  const cumulatedOf = (pool: readonly number[]): Float64Array =>
    runningSums(Float64Array.from(pool, (word) => (word - FIRST_WORD + 1) ** -alpha));
  return { roles, trained, cumulated: [cumulatedOf(trained[0]), cumulatedOf(trained[1])] };
}

/** Words of ranks from `low` to below `high`, by the role that they are to fill. */
function poolsOf(
  roles: readonly number[],
  low: number,
  high: number,
  fits: (role: number, slot: number) => boolean,
): Pools {
  const pool = (slot: number) =>
    Array.from({ length: high - low }, (_, i) => low + i)
      .filter((rank) => fits(roles[rank]!, slot))
      .map((rank) => FIRST_WORD + rank);
  return [pool(0), pool(1)];
}

/** Draws a word of a role that does not stand in the sequence yet. */
type Draw = (slot: 0 | 1, random: Random) => number;

/** By the frequencies of training. */
function trainedDraw({ trained, cumulated }: WordRoles): Draw {
  return (slot, random) => trained[slot][drawIndex(cumulated[slot], random)]!;
}

/** Evenly from pools. */
function evenDraw(pools: Pools): Draw {
  return (slot, random) => pools[slot][random.integer(0, pools[slot].length)]!;
}

/**
 * Phrases `noun COPULA adjective` or `OPEN adjective noun`, all words different, then one of the words: what is its role here?
 * The form of its phrase tells it, whatever the word.
 */
function batch({ phrases }: Params, random: Random, rows: number, draw: Draw): Batch {
  const length = PHRASE * phrases + 1;
  const tokens = new Int32Array(rows * length); // [rows, positions]
  const classes = new Int32Array(rows);
  for (let r = 0; r < rows; r++) {
    const taken = new Set<number>();
    const fresh = (slot: 0 | 1): number => {
      for (;;) {
        const word = draw(slot, random);
        if (taken.has(word)) continue;
        taken.add(word);
        return word;
      }
    };
    const pairs = Array.from({ length: phrases }, () => [fresh(0), fresh(1)] as const);
    pairs.forEach(([noun, adjective], p) => {
      const phrase = random.integer(0, 2) === 0 ? [noun, COPULA, adjective] : [OPEN, adjective, noun];
      tokens.set(phrase, r * length + PHRASE * p);
    });
    const slot = random.integer(0, 2) as 0 | 1;
    tokens[(r + 1) * length - 1] = pairs[random.integer(0, phrases)]![slot];
    classes[r] = slot;
  }
  return { rows, tokens, classes, weights: new Float32Array(rows).fill(1) };
}

const endOf = (words: number): number => Math.floor(words * ENDS);

const chance = () => ({ accuracy: 1 / ROLES.length, loss: Math.log(ROLES.length) });

/** @param pools words that fill each role */
function evaluation(title: string, pools: (world: WordRoles, params: Params) => Pools): Evaluation<Params, WordRoles> {
  return {
    title,
    chance,
    sample: (world, params, random, rows) => batch(params, random, rows, evenDraw(pools(world, params))),
  };
}

const own = (role: number, slot: number): boolean => role === slot;
const other = (role: number, slot: number): boolean => role === 1 - slot;

/** Roles of words, which the structure of a phrase tells, and for known words the weights too. */
export const wordRoles = task({
  name: "word-roles",
  title: "Roles of words, by structure or from memory",
  description:
    "Phrases of a noun and an adjective in one of two forms, then one of their words: is it a noun or an adjective here? The form of " +
    "the phrase tells it for any word; of a word that always has one role the weights can remember it. On words that training never " +
    "showed only the structure helps (structural in-context learning), and on frequent words in the role that they never had, the accuracy " +
    "tells which of the two a model goes by: 1 by the structure, 0 by its weights.",
  source:
    "Anand et al. 2024, Dual Process Learning: Controlling Use of In-Context vs. In-Weights Strategies with Weight Forgetting (its part-of-speech setting, with a question for one word's role)",
  parameters,
  shape: ({ words, unseen, phrases }) => ({
    input: { kind: "tokens", vocabulary: FIRST_WORD + words + unseen },
    output: { kind: "classes", count: ROLES.length },
    positions: PHRASE * phrases + 1,
    scored: "last",
  }),
  check(params) {
    const { words, unseen, phrases } = params;
    const refuse = (field: string[], constraint: string, remedy: string) =>
      impossible("word-roles", field, constraint, remedy);
    if (words % 2 === 1)
      throw refuse(["words"], `words ${words} is odd, and nouns and adjectives come in pairs`, "give an even number");
    if (unseen < 2 * phrases)
      throw refuse(
        ["unseen", "phrases"],
        `unseen ${unseen} is less than the ${2 * phrases} words of a sequence`,
        `give at least ${2 * phrases}`,
      );
    const { roles } = world(params, 0); // how many words have a role is the same for every seed
    const end = endOf(words);
    const fewest = Math.min(
      ...[poolsOf(roles, 0, end, own), poolsOf(roles, words - end, words, own)].flat().map((pool) => pool.length),
    );
    if (fewest < phrases)
      throw refuse(
        ["words", "ambiguous", "phrases"],
        `the ${end} most or least frequent of ${words} words hold ${fewest} of one role that are not ambiguous, fewer than phrases ${phrases}`,
        "give more words, fewer ambiguous ones or fewer phrases",
      );
  },
  world,
  sample: (world, params, random, rows) => batch(params, random, rows, trainedDraw(world)),
  evaluations: {
    head: evaluation("the tenth of the words that is most frequent, in their roles", ({ roles }, { words }) =>
      poolsOf(roles, 0, endOf(words), own),
    ),
    tail: evaluation("the tenth of the words that is least frequent, in their roles", ({ roles }, { words }) =>
      poolsOf(roles, words - endOf(words), words, own),
    ),
    unseen: evaluation("words that occur in no training sequence", (_, { words, unseen }) => {
      const pool = Array.from({ length: unseen }, (_, i) => FIRST_WORD + words + i);
      return [pool, pool];
    }),
    switched: evaluation("frequent words in the role that they never have", ({ roles }, { words }) =>
      poolsOf(roles, 0, endOf(words), other),
    ),
    "tail-switched": evaluation("rare words in the role that they never have", ({ roles }, { words }) =>
      poolsOf(roles, words - endOf(words), words, other),
    ),
  },
  reference: {
    title: "the structure of the phrase",
    predict: (_, __, drawn) => structure(drawn),
  },
  describe({ roles }, { words, phrases }, drawn, row) {
    const { tokens, classes } = rowOf(drawn, row);
    const ids = [...tokens!];
    const word = (id: number) => (id === COPULA ? "is" : id === OPEN ? "the" : `w${id - FIRST_WORD}`);
    const phrase = (p: number) =>
      ids
        .slice(PHRASE * p, PHRASE * (p + 1))
        .map(word)
        .join(" ");
    const asked = ids.at(-1)! - FIRST_WORD;
    const known =
      asked >= words ? "unseen in training" : ["always a noun", "always an adjective", "either"][roles[asked]!];
    const text = Array.from({ length: phrases }, (_, p) => phrase(p)).join("; ");
    return `${text}; ${word(ids.at(-1)!)}?\n${ROLES[classes![0]!]} here; in training ${known}`;
  },
  defaults: {
    model: { n_layers: 2, n_heads: 4, d_model: 64, attn_only: false },
    training: { steps: 3000, batch: 64, learning_rate: 1e-3 },
  },
});

/** Log-probabilities of the roles that the phrases give to the words asked for [rows, 1, 2]. */
function structure(drawn: Batch): Float64Array {
  const predictions = new Float64Array(drawn.rows * ROLES.length).fill(Number.NEGATIVE_INFINITY);
  for (let r = 0; r < drawn.rows; r++) {
    const row = rowOf(drawn, r).tokens!;
    const place = row.indexOf(row.at(-1)!);
    const first = place - (place % PHRASE);
    const adjective = row[first] === OPEN ? place === first + 1 : place === first + 2;
    predictions[r * ROLES.length + Number(adjective)] = 0;
  }
  return predictions;
}
