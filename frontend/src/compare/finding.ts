import type { ComparedModel, HeadComparison } from "../../../backend/common/api/documents.ts";
import { formatHead, groupOf, type Head } from "../../../backend/common/heads/head.ts";
import type { Table } from "../components/card/files.ts";

/** The first query head that reads a KV head. */
export function groupStart(kvHead: Head, shape: ComparedModel["model"]): string {
  return formatHead(groupOf(kvHead, shape)[0]!);
}

/** The best heads of both models as a table of text. */
export function topCsv({ metric, models }: HeadComparison): Table {
  return {
    columns: ["model", "rank", "head", "relative_depth", metric],
    rows: models.flatMap(({ model, top }) =>
      top.map(({ rank, head, depth, value }) => [model.ref, rank, head, depth, value]),
    ),
  };
}

/** Every layer of both models as a table of text. */
export function layersCsv({ models }: HeadComparison): Table {
  return {
    columns: ["model", "layer", "relative_depth", "best", "best_head", "mean"],
    rows: models.flatMap(({ model, layers }) =>
      layers.map(({ layer, depth, best, head, mean }) => [model.ref, layer, depth, best, head, mean]),
    ),
  };
}

/** Every head of both models as a table of text. */
export function headsCsv({ axis, metric, models }: HeadComparison): Table {
  return {
    columns: ["model", "layer", axis === "heads" ? "head" : "kv_head", "relative_depth", metric],
    rows: models.flatMap(({ model, values, layers }) =>
      values.flatMap((row, layer) => row.map((value, head) => [model.ref, layer, head, layers[layer]!.depth, value])),
    ),
  };
}
