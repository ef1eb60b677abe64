import { z } from "zod";
import type { BlockPolicy } from "../kinds/blocks.ts";
import { inUnit } from "../kinds/units.ts";
import { inShape, Squares } from "../prompt/squares.ts";
import { shapeParameters } from "./a-shape.ts";

const parameters = z.object({
  ...shapeParameters,
  last: inUnit("tokens", z.int().min(0).default(100).describe("last tokens of the prompt, which read everything")),
});

/** First and near keys; everything for the prompt's last queries. */
export const triShape: BlockPolicy<typeof parameters> = {
  name: "tri-shape",
  title: "First and near keys, and everything for the last queries",
  description:
    "As a-shape, but the prompt's last `last` queries, which are its question, read everything. Read are squares of 64 tokens with any of " +
    "these.",
  source: "Li et al. 2024, SCBench: A KV Cache-Centric Analysis of Long-Context Methods",
  chooses: "blocks",
  placed: true,
  parameters,
  choose(view, params) {
    const squares = new Squares(view, 1);
    const shape = inShape(squares, params);
    squares.fill(0, shape);
    squares.addLast(params.last);
    return squares;
  },
};
