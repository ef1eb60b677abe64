import { z } from "zod";
import { softmax } from "../backend/common/numerics/softmax.ts";
import { Random } from "../backend/common/random.ts";
import { wrapped } from "../backend/common/text.ts";
import { type Batch, type Evaluation, rowOf } from "../backend/training/task.ts";
import { fixed, task, tokenShape } from "./base.ts";

/** Stream of a run's seed that its concepts are drawn from, and those of `fresh`. */
const CONCEPTS = { world: 0xc0000000, fresh: 0xc1000000 };

const parameters = z.object({
  context: z.int().min(4).max(4096).default(64).describe("tokens of a sequence"),
  vocabulary: z.int().min(2).max(1024).default(16).describe("token ids"),
  concepts: z.int().min(1).max(256).default(8).describe("hidden Markov models, of which each sequence follows one"),
  states: z.int().min(1).max(64).default(4).describe("hidden states of a concept"),
  sharpness: z.number().min(0).max(20).default(2).describe("rows of a concept's matrices are softmax(sharpness x standard normal numbers); 0 makes all alike"),
}); // biome-ignore format: a table
type Params = z.output<typeof parameters>;

/** Hidden Markov models; a sequence's first state is uniform. */
export interface HiddenMarkovModels {
  readonly concepts: number;
  readonly states: number;
  readonly vocabulary: number;
  /** Chance of the next state [concepts, state, next state]. */
  readonly transitions: Float64Array;
  /** Chance of a token [concepts, state, token]. */
  readonly emissions: Float64Array;
}

/** Predictions for each token from those before it. */
export interface Averaging {
  /** Log-probabilities of the token at each position [positions, vocabulary], averaged over the concepts' posterior. */
  readonly averaged: Float64Array;
  /** Log-probability of each token that came, by concept [concepts, positions]. */
  readonly byConcept: Float64Array;
  /** Posterior of the concepts once all tokens are seen [concepts]. */
  readonly posterior: Float64Array;
}

/**
 * Exact Bayesian model averaging over hidden Markov models of equal prior, by the forward algorithm: each concept foretells the next token from its
 * filtered states, and is weighed by how well it foretold those before.
 * @param tokens of one sequence
 * @see Rabiner 1989 (forward algorithm); Zhang et al. 2023, What and How does In-Context Learning Learn? (averaging)
 */
export function averageModels(models: HiddenMarkovModels, tokens: ArrayLike<number>): Averaging {
  const { concepts, states, vocabulary, transitions, emissions } = models;
  const averaged = new Float64Array(tokens.length * vocabulary);
  const byConcept = new Float64Array(concepts * tokens.length);
  const evidence = new Float64Array(concepts); // log
  const belief = new Float64Array(concepts * states).fill(1 / states); // of the next state, [concepts, states]
  for (let t = 0; t < tokens.length; t++) {
    const token = tokens[t]!;
    const weights = softmax(evidence);
    const mixture = averaged.subarray(t * vocabulary, (t + 1) * vocabulary);
    for (let c = 0; c < concepts; c++) {
      const own = belief.subarray(c * states, (c + 1) * states);
      const emission = emissions.subarray(c * states * vocabulary, (c + 1) * states * vocabulary);
      for (let v = 0; v < vocabulary; v++) {
        let chance = 0;
        for (let s = 0; s < states; s++) chance += own[s]! * emission[s * vocabulary + v]!;
        mixture[v]! += weights[c]! * chance;
      }
      const chance = condition(own, emission, vocabulary, token);
      byConcept[c * tokens.length + t] = Math.log(chance);
      evidence[c]! += Math.log(chance);
      advance(own, transitions.subarray(c * states * states, (c + 1) * states * states));
    }
    for (let v = 0; v < vocabulary; v++) mixture[v] = Math.log(mixture[v]!);
  }
  return { averaged, byConcept, posterior: softmax(evidence) };
}

/** Makes a belief in states that before a token into that behind it. @returns the token's chance */
function condition(belief: Float64Array, emission: Float64Array, vocabulary: number, token: number): number {
  let chance = 0;
  for (let s = 0; s < belief.length; s++) {
    belief[s]! *= emission[s * vocabulary + token]!;
    chance += belief[s]!;
  }
  for (let s = 0; s < belief.length; s++) belief[s]! /= chance;
  return chance;
}

/** Moves a belief on by a step. @param transitions [state, next state] */
function advance(belief: Float64Array, transitions: Float64Array): void {
  const before = belief.slice();
  const n = before.length;
  for (let next = 0; next < n; next++) {
    let sum = 0;
    for (let s = 0; s < n; s++) sum += before[s]! * transitions[s * n + next]!;
    belief[next] = sum;
  }
}

function drawModels({ concepts, states, vocabulary, sharpness }: Params, random: Random): HiddenMarkovModels {
  const rows = (count: number, width: number): Float64Array => {
    const table = new Float64Array(count * width);
    for (let r = 0; r < count; r++)
      table.set(softmax(Float64Array.from({ length: width }, () => sharpness * random.normal())), r * width);
    return table;
  };
  const [transitions, emissions] = [rows(concepts * states, states), rows(concepts * states, vocabulary)];
  return { concepts, states, vocabulary, transitions, emissions };
}

/** The concepts of a run. */
const worldOf = (params: Params, seed: number): HiddenMarkovModels =>
  drawModels(params, new Random(seed, CONCEPTS.world));

/** A number of a distribution. @param start where it begins in a table */
function draw(random: Random, table: Float64Array, start: number, width: number): number {
  let left = random.uniform();
  for (let i = 0; i < width - 1; i++) {
    left -= table[start + i]!;
    if (left < 0) return i;
  }
  return width - 1;
}

/** Sequences that each follow one concept; targets are the next tokens, and the last position has none. `layout` is the concept of each row. */
function batch({ context }: Params, random: Random, rows: number, models: HiddenMarkovModels): Batch {
  const { concepts, states, vocabulary, transitions, emissions } = models;
  const tokens = new Int32Array(rows * context); // [rows, positions]
  const classes = new Int32Array(rows * context);
  const layout = new Int32Array(rows);
  for (let r = 0; r < rows; r++) {
    const concept = random.integer(0, concepts);
    layout[r] = concept;
    let state = random.integer(0, states);
    for (let t = 0; t < context; t++) {
      const place = concept * states + state;
      tokens[r * context + t] = draw(random, emissions, place * vocabulary, vocabulary);
      state = draw(random, transitions, place * states, states);
    }
    classes.set(tokens.subarray(r * context + 1, (r + 1) * context), r * context);
  }
  const weights = Float32Array.from(tokens, (_, at) => (at % context < context - 1 ? 1 : 0));
  return { rows, tokens, classes, weights, layout };
}

const chance = ({ vocabulary }: Params) => ({ accuracy: 1 / vocabulary, loss: Math.log(vocabulary) });

/** Sequences of a run's concepts of which the predictions behind a part of the context count. */
function evaluation(title: string, from: (context: number) => number): Evaluation<Params, HiddenMarkovModels> {
  return {
    title,
    chance,
    sample(models, params, random, rows) {
      const drawn = batch(params, random, rows, models);
      drawn.weights.forEach((_, at) => {
        if (at % params.context < from(params.context)) drawn.weights[at] = 0;
      });
      return drawn;
    },
  };
}

/** Hidden Markov models as latent concepts, after Xie et al. and Zhang et al. */
export const hmmMixture = task({
  name: "hmm-mixture",
  title: "Mixture of hidden Markov models",
  description:
    "Every sequence follows one of a few hidden Markov models, its concept, which nothing names: the tokens before tell it. The reference averages the " +
    "models by their exact posterior, which no predictor beats on the mean; what it loses against the model that knows the concept falls with the " +
    "length of the prompt.",
  source:
    "Xie et al. 2022, An Explanation of In-context Learning as Implicit Bayesian Inference; Zhang et al. 2023, What and How does In-Context Learning Learn?",
  parameters,
  shape: tokenShape,
  check() {}, // any values of the schema go together
  world: worldOf,
  sample: (models, params, random, rows) => batch(params, random, rows, models),
  evaluations: {
    "in-context": evaluation("every next token of sequences of the learned concepts", () => 0),
    late: evaluation("next tokens in the last quarter, where the concept is known best", (n) => Math.floor(0.75 * n)),
    fresh: {
      title: "every next token of sequences of concepts that were never learned",
      chance,
      sample: (_, params, random, rows) =>
        batch(params, random, rows, drawModels(params, new Random(random.uint32(), CONCEPTS.fresh))),
    },
  },
  reference: {
    title: "Bayesian model averaging (exact, over the learned concepts)",
    predict(models, { context, vocabulary }, drawn) {
      const predictions = new Float64Array(drawn.rows * context * vocabulary);
      for (let r = 0; r < drawn.rows; r++) {
        // Position t foretells token t + 1; behind the last nothing comes.
        const { averaged } = averageModels(models, rowOf(drawn, r).tokens!);
        predictions.set(averaged.subarray(vocabulary), r * context * vocabulary);
      }
      return predictions;
    },
  },
  describe(models, _, drawn, row) {
    const { tokens, layout } = rowOf(drawn, row);
    const { posterior } = averageModels(models, tokens!);
    return `${wrapped(Array.from(tokens!, String))}\nconcept ${layout![0]}; the tokens give the learned concepts ${fixed(posterior)}`;
  },
  defaults: {
    model: { n_layers: 2, n_heads: 4, d_model: 64, attn_only: false, act_fn: "gelu", positional_embedding_type: "rotary" },
    training: { steps: 3000, learning_rate: 1e-3, batch: 64, clip: 1 },
  },
}); // biome-ignore format: a table
