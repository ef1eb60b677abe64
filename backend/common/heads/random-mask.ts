import type { Random } from "../random.ts";
import type { HeadMask } from "./mask.ts";

/** A mask of as many choices of each kind in every table, at random places: what a mask is held against. */
export function randomMask(mask: HeadMask, random: Random): HeadMask {
  return {
    ...mask,
    ...(mask.kvHeads && { kvHeads: shuffled(mask.kvHeads, random) }),
    ...(mask.heads && { heads: shuffled(mask.heads, random) }),
    source: "random",
  };
}

/** The entries of a table in random order. */
function shuffled<T>(table: readonly (readonly T[])[], random: Random): T[][] {
  const entries = table.flat();
  for (let last = entries.length - 1; last > 0; last--) {
    const other = random.integer(0, last + 1);
    [entries[last], entries[other]] = [entries[other]!, entries[last]!];
  }
  let next = 0;
  return table.map((row) => row.map(() => entries[next++]!));
}
