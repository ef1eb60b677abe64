import { z } from "zod";
import { fileParameter } from "../../../common/definitions/parameters.ts";
import { checkModel, headModel } from "../../../common/heads/model.ts";
import { readPatterns, type SparsePatterns } from "../../../heads/patterns.ts";
import type { BlockPolicy } from "../kinds/blocks.ts";
import { inUnit } from "../kinds/units.ts";
import { LayerPatterns } from "../prompt/patterns.ts";
import { questionParameter, Squares } from "../prompt/squares.ts";

/** Share of the prompt that a head without a pattern of its own has as columns, and as distances. */
const SHARE = 1 / 16;

/** Parameters of the choice of columns and diagonals. */
export const lateParameters = {
  last: inUnit(
    "tokens",
    z
      .int()
      .min(1)
      .default(64)
      .describe("last queries of the prompt, whose attention columns and diagonals are chosen by"),
  ),
  sinks: inUnit("tokens", z.int().min(0).default(30).describe("first columns, which are always among those read")),
  local: inUnit(
    "tokens",
    z.int().min(0).default(100).describe("smallest distances, which are always among those read"),
  ),
};

const parameters = z.object({
  patterns: fileParameter(
    "patterns",
    "pattern file with a shape for every query head; default columns and diagonals in all",
  ).optional(),
  vertical: inUnit(
    "tokens",
    z
      .int()
      .min(0)
      .optional()
      .describe(
        "tokens of the columns read, without a pattern file; default 1/16 of the prompt, at least `sinks` and a square",
      ),
  ),
  slash: inUnit(
    "tokens",
    z
      .int()
      .min(0)
      .optional()
      .describe("distances read, without a pattern file; default 1/16 of the prompt, at least `local` and a square"),
  ),
  ...lateParameters,
  ...questionParameter,
});

/** A shape for each head, filled in as the prompt asks. */
export const minference: BlockPolicy<typeof parameters, SparsePatterns | undefined> = {
  name: "minference",
  title: "A sparse shape for each head",
  description:
    "Each query head reads the squares of a shape: first and near keys, columns and diagonals by the attention of the prompt's last queries, or for each row the " +
    "squares with the largest products of mean queries and keys. Which shape and of what sizes a pattern file says (headscope patterns search).",
  source:
    "Jiang et al. 2024, MInference 1.0: Accelerating Pre-filling for Long-Context LLMs via Dynamic Sparse Attention",
  chooses: "blocks",
  parameters,
  prepare: async ({ patterns }) => (patterns === undefined ? undefined : readPatterns(patterns)),
  check(model, { patterns: file }, patterns) {
    if (patterns) checkModel(patterns, headModel(model), `patterns ${file}`);
  },
  choose(view, { vertical, slash, question, ...late }, file) {
    const end = view.start + view.tokens;
    const patterns = new LayerPatterns(view, late);
    const squares = new Squares(view, view.config.n_heads);
    // A share of a short prompt would be less than what is read in any case, and leave nothing to choose.
    const a = vertical ?? Math.max(end * SHARE, late.sinks + view.side);
    const b = slash ?? Math.max(end * SHARE, late.local + view.side);
    const online = { pattern: "vertical_and_slash", a, b } as const;
    for (let head = 0; head < squares.heads; head++)
      patterns.add(squares, head, file?.layers[view.layer]?.[head] ?? online);
    squares.addLast(question);
    return squares;
  },
};
