import { z } from "zod";
import type { Random } from "../backend/common/random.ts";
import { wrapped } from "../backend/common/text.ts";
import { type Batch, type Evaluation, rowOf } from "../backend/training/task.ts";
import { impossible, task, tokenShape } from "./base.ts";

const BOS = 0;
/** Numbers of `Batch.layout` a row: where the segment begins, where its copy begins, its length. */
const LAYOUT = 3;

const parameters = z.object({
  context: z.int().min(4).max(8192).default(64).describe("tokens of a sequence, BOS among them"),
  vocabulary: z.int().min(3).max(65536).default(64).describe("token ids; 0 is BOS where there is one"),
  bos: z.boolean().default(true).describe("whether a sequence begins with BOS, id 0, which occurs nowhere else"),
  segment_min: z.int().min(2).default(8).describe("tokens of the shortest segment that is repeated"),
  segment_max: z.int().min(2).default(24).describe("tokens of the longest segment that is repeated"),
  gap_max: z.int().min(0).default(15).describe("most random tokens between a segment and its repetition"),
  loss: z
    .enum(["all", "copies"])
    .default("copies")
    .describe("predictions that count in training: of every next token, or of those that the context determines"),
});
type Params = z.output<typeof parameters>;

/** Rows of random tokens in which one segment occurs twice, and where. */
function rows(params: Params, random: Random, count: number): { tokens: Int32Array; layout: Int32Array } {
  const { context, vocabulary, segment_min, segment_max, gap_max } = params;
  const first = params.bos ? 1 : 0;
  const tokens = new Int32Array(count * context); // [rows, positions]
  const layout = new Int32Array(count * LAYOUT);
  random.integers(tokens, first, vocabulary);
  for (let r = 0; r < count; r++) {
    const row = tokens.subarray(r * context, (r + 1) * context);
    if (params.bos) row[0] = BOS;
    const length = random.integer(segment_min, segment_max + 1);
    const gap = random.integer(0, gap_max + 1);
    const start = random.integer(first, context - 2 * length - gap + 1);
    const copy = start + length + gap;
    row.copyWithin(copy, start, start + length);
    layout.set([start, copy, length], r * LAYOUT);
  }
  return { tokens, layout };
}

/** Targets are the next tokens; the last position has none. @param counts whether the prediction of token `next` counts */
function batch(
  params: Params,
  random: Random,
  count: number,
  counts: (next: number, start: number, copy: number, length: number) => boolean,
): Batch {
  const { context } = params;
  const { tokens, layout } = rows(params, random, count);
  const classes = new Int32Array(tokens.length); // [rows, positions]
  const weights = new Float32Array(tokens.length);
  for (let r = 0; r < count; r++) {
    const [start, copy, length] = layout.subarray(r * LAYOUT) as unknown as [number, number, number];
    for (let t = 0; t < context - 1; t++) {
      classes[r * context + t] = tokens[r * context + t + 1]!;
      if (counts(t + 1, start, copy, length)) weights[r * context + t] = 1;
    }
  }
  return { rows: count, tokens, classes, weights, layout };
}

/** The copy from its second token on: its first token can't be known. */
const determined = (next: number, _: number, copy: number, length: number): boolean =>
  next > copy && next < copy + length;

const chance = ({ vocabulary, bos }: Params) => {
  const choices = vocabulary - (bos ? 1 : 0);
  return { accuracy: 1 / choices, loss: Math.log(choices) };
};

const inContext: Evaluation<Params, null> = {
  title: "tokens of the repetition, from its second on",
  chance,
  sample: (_, params, random, count) => batch(params, random, count, determined),
};

const firstCopy: Evaluation<Params, null> = {
  title: "tokens of the segment where it stands first, which nothing determines",
  chance,
  sample: (_, params, random, count) =>
    batch(params, random, count, (next, start, __, length) => next > start && next < start + length),
};

/** Repeated random tokens: what induction heads are made by. */
export const induction = task({
  name: "induction",
  title: "Repeated random tokens",
  description:
    "Random tokens in which one segment occurs twice. Where it begins, how long it is and how far away its repetition " +
    "stands vary from row to row, so that no fixed offset predicts the copied token: a model must look for the present " +
    "token's earlier occurrence and predict what followed it. The in-context accuracy stays near chance, then rises " +
    "abruptly when an induction head forms; the accuracy on the first occurrence stays at chance.",
  source: "Olsson et al. 2022, In-context Learning and Induction Heads; Elhage et al. 2021 (repeated random tokens)",
  parameters,
  shape: tokenShape,
  check({ context, bos, segment_min, segment_max, gap_max }) {
    if (segment_min > segment_max)
      throw impossible(
        "induction",
        ["segment_min", "segment_max"],
        `segment_min ${segment_min} is more than segment_max ${segment_max}`,
        "make segment_min the smaller one",
      );
    const longest = (bos ? 1 : 0) + 2 * segment_max + gap_max;
    if (longest > context)
      throw impossible(
        "induction",
        ["segment_max", "gap_max", "context"],
        `two segments of segment_max ${segment_max} with gap_max ${gap_max} between them${bos ? " after BOS" : ""} take ` +
          `${longest} tokens, more than context ${context}`,
        `give a context of at least ${longest}, or shorter segments and gaps`,
      );
  },
  world: () => null,
  sample: (_, params, random, count) => batch(params, random, count, params.loss === "all" ? () => true : determined),
  part: "repeated",
  evaluations: { "in-context": inContext, "first-copy": firstCopy },
  describe(_, { bos }, drawn, row) {
    const { tokens, layout } = rowOf(drawn, row);
    const [start, copy, length] = layout as unknown as [number, number, number];
    const words = Array.from(tokens!, (id, t) => {
      const opens = t === start || t === copy ? "[" : "";
      const closes = t === start + length - 1 || t === copy + length - 1 ? "]" : "";
      return opens + (bos && t === 0 ? "BOS" : String(id)) + closes;
    });
    return `${wrapped(words)}\n${length} tokens repeated ${copy - start} positions later: the context determines positions ${copy + 1} to ${copy + length - 1}`;
  },
  // Rotary positions leave no position in the residual stream: a first layer can't hand on where a token stood, only what
  // stood before, so that the heads of the literature form (previous token, then induction) and no position arithmetic.
  defaults: {
    model: { positional_embedding_type: "rotary" },
    training: { steps: 1000, extra_checkpoints: 12 },
    probes: ["induction", "previous-token"],
  },
});
