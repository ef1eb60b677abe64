import { z } from "zod";
import { type CsvCell, csvText } from "../../common/csv.ts";
import type { HeadMask } from "../../common/heads/mask.ts";
import type { HeadScores } from "../../common/heads/scores.ts";
import type { Exporter } from "../export.ts";
import { writeFile } from "../folder.ts";
import { headTables } from "./tables.ts";

const parameters = z.object({});

/** A comma-separated table with one row a query head. */
export const csv: Exporter<typeof parameters> = {
  name: "csv",
  title: "CSV table",
  description:
    "One row a query head: layer, head and kv_head (0-based), then from scores one column a metric (a metric of KV " +
    "heads repeats over the heads that share one), from a mask head_mask (1 keep, 0 ablate) and kv_head_mask (1 full " +
    "attention, 0 streaming). A name that a spreadsheet would run as a formula begins with an apostrophe.",
  source: "RFC 4180",
  parameters,
  from: ["scores", "mask"],
  needsCheckpoint: false,
  output: "file",
  write: ({ scores, mask }, path) => writeFile(path, () => csvText(table((scores ?? mask)!))),
};

function table(document: HeadScores | HeadMask): CsvCell[][] {
  const { layers, heads, kvHeads } = document.model;
  const tables = headTables(document);
  const rows: CsvCell[][] = [["layer", "head", "kv_head", ...tables.map(({ name }) => name)]];
  for (let layer = 0; layer < layers; layer++) {
    for (let head = 0; head < heads; head++) {
      const kv = Math.floor((head * kvHeads) / heads);
      const cells = tables.map(({ axis, values }) => values[layer]![axis === "heads" ? head : kv]!);
      rows.push([layer, head, kv, ...cells]);
    }
  }
  return rows;
}
