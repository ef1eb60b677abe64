import { AGREEMENT_FORMAT, type FindingCost, type HeadAgreement } from "../common/api/documents.ts";
import { HeadscopeError } from "../common/errors.ts";
import { formatKvHead } from "../common/heads/head.ts";
import type { HeadModel } from "../common/heads/model.ts";
import { type HeadTable, rankCorrelation, rankTable, toKvHeads } from "../common/heads/table.ts";
import type { SparsePattern, SparsePatterns } from "./patterns.ts";

/** One way of scoring KV heads, and what it scored. */
export interface Finder {
  readonly name: string;
  /** [layers, kvHeads]; higher is more like a retrieval head. */
  readonly values: HeadTable;
  readonly cost?: FindingCost | undefined;
}

/** Share of the KV heads whose overlap is told. */
export const TOP_SHARE = 0.25;

/**
 * Compares ways of scoring the KV heads of one model: whether they rank all alike, and how many of the best they share.
 * Equal scores are ranked by layer, then head, where the best are cut off.
 * @param share of the KV heads that count as the best, default 0.25
 * @throws HeadscopeError `usage` for fewer than two ways, two of one name, or a share of no head
 */
export function headAgreement(model: HeadModel, finders: readonly Finder[], share: number = TOP_SHARE): HeadAgreement {
  const names = finders.map(({ name }) => name);
  const twice = names.find((name, i) => names.indexOf(name) < i);
  if (finders.length < 2 || twice !== undefined)
    throw new HeadscopeError(
      "usage",
      twice === undefined
        ? `${finders.length} ways of scoring heads can't be compared`
        : `two scores are called ${twice}`,
      { remedy: "give at least two, of different names" },
    );
  const count = model.layers * model.kvHeads;
  const top = Math.round(share * count);
  if (!(share > 0 && share <= 1) || top < 1)
    throw new HeadscopeError("usage", `a share of ${share} of ${count} KV heads is none`, {
      remedy: `give a share from ${(1 / count).toPrecision(2)} to 1`,
      field: "share",
    });
  const best = finders.map(({ values }) => rankTable(values).slice(0, top).map(formatKvHead));
  const flat = finders.map(({ values }) => values.flat());
  return {
    format: AGREEMENT_FORMAT,
    model,
    share,
    top,
    finders: finders.map(({ name, values, cost }, i) => ({
      name,
      ...(cost && { cost }),
      top: best[i]!,
      values: values.map((row) => [...row]),
    })),
    correlation: flat.map((x) => flat.map((y) => rankCorrelation(x, y))),
    overlap: best.map((x) => best.map((y) => x.filter((head) => y.includes(head)).length / top)),
    chance: top / count,
  };
}

/**
 * Scores of KV heads from sparse patterns: the share of a pattern's lines or blocks that need not be near the query, the highest of a
 * group. Vertical lines among vertical and slash ones, whose number is the search's; 0 of an A-shape, which has first and near keys
 * alone; 1 of blocks anywhere.
 * @returns [layers, kvHeads]
 */
export function patternReach({ model, layers }: SparsePatterns): number[][] {
  return toKvHeads(
    layers.map((row) => row.map(reachOf)),
    model,
  );
}

function reachOf({ pattern, a, b }: SparsePattern): number {
  switch (pattern) {
    case "vertical_and_slash":
      return a + b === 0 ? 0 : a / (a + b);
    case "stream_llm":
      return 0;
    case "block_sparse":
      return 1;
  }
}

/** Head of the node that an edge comes out of. */
const HEAD = /^a(\d+)\.h(\d+)$/;

/**
 * Scores of KV heads from a circuit's edges: the sum of the absolute scores of all edges out of a query head, the highest of a group.
 * @returns [layers, kvHeads]
 */
export function edgeSums(
  model: HeadModel,
  edges: readonly { readonly from: string; readonly score: number }[],
): number[][] {
  const sums = Array.from({ length: model.layers }, () => new Array<number>(model.heads).fill(0));
  for (const { from, score } of edges) {
    const [, layer, head] = HEAD.exec(from) ?? [];
    const row = sums[Number(layer)];
    if (row?.[Number(head)] !== undefined) row[Number(head)]! += Math.abs(score);
  }
  return toKvHeads(sums, model);
}
