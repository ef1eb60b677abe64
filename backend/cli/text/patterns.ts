import { counted } from "../../common/text.ts";
import type { SparsePattern, SparsePatterns } from "../../heads/patterns.ts";
import { bold, table } from "./format.ts";

/** The words of a pattern's two sizes. */
function sizes({ pattern, a, b }: SparsePattern): string {
  if (pattern === "vertical_and_slash") return `${counted(a, "column")}, ${counted(b, "diagonal")}`;
  if (pattern === "stream_llm") return `${a} first, ${b} recent tokens`;
  return `${counted(a, "key block")} of a row`;
}

/** Sparse patterns for people: how many heads have each pattern with the same sizes, the most frequent first. */
export function patternsText({ model, layers }: SparsePatterns): string {
  const counts = new Map<string, { row: string[]; count: number }>();
  for (const head of layers.flat()) {
    const row = [head.pattern, sizes(head)];
    const key = row.join("\t");
    counts.set(key, { row, count: (counts.get(key)?.count ?? 0) + 1 });
  }
  const rows = [...counts.values()].sort((x, y) => y.count - x.count).map(({ row, count }) => [...row, String(count)]);
  return [
    `${bold("sparse patterns")} of ${model.ref}: ${counted(model.layers * model.heads, "head")}`,
    table(["pattern", "reads", "heads"], rows),
  ].join("\n\n");
}
