import { z } from "zod";
import type { Random } from "../../../backend/common/random.ts";
import type { Batch, SyntheticTask } from "../../../backend/training/task.ts";

const parameters = z.object({
  context: z.int().min(2).default(8).describe("tokens"),
  last: z.boolean().default(false).describe("outputs at the last position only"),
  vectors: z.boolean().default(false).describe("vectors in and values out, instead of tokens and classes"),
});
type Params = z.output<typeof parameters>;

function sample(_: null, params: Params, random: Random, rows: number): Batch {
  const { context, last } = params;
  const batch = everywhere(params, random, rows);
  if (!last) return batch;
  const ends = <T extends Int32Array | Float32Array>(all: T): T =>
    all.filter((_, i) => i % context === context - 1) as T;
  const { classes, values } = batch;
  return {
    ...batch,
    ...(classes ? { classes: ends(classes) } : {}),
    ...(values ? { values: ends(values) } : {}),
    weights: ends(batch.weights),
  };
}

function everywhere({ context, vectors }: Params, random: Random, rows: number): Batch {
  const cells = rows * context;
  const weights = new Float32Array(cells).fill(1);
  if (vectors) {
    const inputs = Float32Array.from({ length: cells * 3 }, () => random.normal());
    const values = Float32Array.from({ length: cells }, (_, i) => inputs[3 * i]! - 0.5 * inputs[3 * i + 2]!);
    return { rows, inputs, values, weights };
  }
  const tokens = Int32Array.from({ length: cells }, () => random.integer(0, 10));
  return { rows, tokens, classes: tokens.map((t) => (t + 1) % 10), weights };
}

/** A task that a model learns in a few steps: the class after the present token, or a linear map of the present vector. */
export const tiny: SyntheticTask<typeof parameters, null> = {
  name: "tiny",
  title: "Tiny",
  description: "The class after the present token, or a linear map of the present vector.",
  source: "here",
  parameters,
  shape: ({ context, vectors, last }) => ({
    input: vectors ? { kind: "vectors", width: 3 } : { kind: "tokens", vocabulary: 10 },
    output: vectors ? { kind: "values", width: 1 } : { kind: "classes", count: 10 },
    positions: context,
    scored: last ? "last" : "all",
  }),
  check: () => {},
  world: () => null,
  sample,
  evaluations: { fresh: { title: "fresh sequences", sample } },
  describe: (_, __, batch, row) => `${row} of ${batch.rows}`,
  defaults: {
    model: { d_model: 16, n_heads: 2, n_layers: 1 },
    training: { steps: 20, batch: 16, evaluation_rows: 8, learning_rate: 0.01, points: 5, checkpoints: 3 },
  },
};
