import { z } from "zod";
import type { BlockPolicy } from "../kinds/blocks.ts";
import { inUnit } from "../kinds/units.ts";
import { inShape, Squares } from "../prompt/squares.ts";

/** Parameters of the first and the nearest keys that every query of a prompt reads. */
export const shapeParameters = {
  sinks: inUnit("tokens", z.int().min(0).default(100).describe("first tokens that every query reads")),
  local: inUnit("tokens", z.int().min(1).default(800).describe("last tokens that every query reads, its own included")),
};

const parameters = z.object(shapeParameters);

/** First keys and near keys. */
export const aShape: BlockPolicy<typeof parameters> = {
  name: "a-shape",
  title: "First and near keys of the prompt",
  description:
    "Every query of the prompt reads the first `sinks` keys and its last `local` ones; new tokens read everything. Read are squares of 64 " +
    "tokens with any of these.",
  source:
    "Jiang et al. 2024, MInference 1.0: Accelerating Pre-filling for Long-Context LLMs via Dynamic Sparse Attention",
  chooses: "blocks",
  placed: true,
  parameters,
  choose(view, params) {
    const squares = new Squares(view, 1);
    squares.fill(0, inShape(squares, params));
    return squares;
  },
};
