import { z } from "zod";
import type { BlockPolicy } from "../kinds/blocks.ts";
import { inUnit } from "../kinds/units.ts";
import { Squares } from "../prompt/squares.ts";

const parameters = z.object({
  local: inUnit(
    "squares",
    z.int().min(1).default(8).describe("last squares of 64 tokens that every query reads, its own included"),
  ),
  stride: inUnit("squares", z.int().min(1).default(8).describe("squares from one that a head reads to the next")),
});

/** Near squares, and of the others each head its own share. */
export const s2Attention: BlockPolicy<typeof parameters> = {
  name: "s2-attention",
  title: "Near keys, and for each head other strided ones",
  description:
    "Head h reads the squares of 64 keys nearest to a query, and of the earlier ones every `stride`-th from the h-th on, so that `stride` heads " +
    "together read all.",
  source: "Lin et al. 2024, S2-Attention: Hardware-Aware Context Sharding Among Attention Heads",
  chooses: "blocks",
  placed: true,
  parameters,
  choose(view, { local, stride }) {
    const heads = view.config.n_heads;
    const squares = new Squares(view, heads);
    for (let head = 0; head < heads; head++)
      squares.fill(head, (row, column) => squares.firstOwn(row) - column < local || column % stride === head % stride);
    return squares;
  },
};
