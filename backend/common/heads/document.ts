import type { z } from "zod";
import { fieldPath, HeadscopeError } from "../errors.ts";
import type { HeadAxis } from "./head.ts";

/**
 * Checks a file's content against its schema, its format tag first.
 * @param format the tag, such as "headscope.head-scores/1"
 * @param label the file; errors start with it
 * @throws HeadscopeError `input` naming the field that is wrong
 */
export function parseDocument<S extends z.ZodType>(
  schema: S,
  value: unknown,
  { format, label, remedy }: { format: string; label: string; remedy: string },
): z.output<S> {
  const tag = value !== null && typeof value === "object" ? (value as { format?: unknown }).format : undefined;
  if (tag !== format) {
    const fault = tag === undefined ? "it has no format tag" : `its format is ${JSON.stringify(tag)}`;
    throw new HeadscopeError("input", `${label} is not a ${format} file: ${fault}`, { remedy });
  }
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0]!;
  throw new HeadscopeError("input", `${label}: ${fieldPath(issue.path)}: ${issue.message}`, { remedy });
}

/**
 * Checks that a table has one row a layer and one column a head.
 * @throws HeadscopeError `input` naming expected and found counts
 */
export function checkTable(
  table: readonly (readonly unknown[])[],
  rows: number,
  columns: number,
  { label, columnsAre, remedy }: { label: string; columnsAre: string; remedy: string },
): void {
  if (table.length !== rows)
    throw new HeadscopeError("input", `${label} has ${table.length} rows, expected ${rows} (one a layer)`, { remedy });
  const layer = table.findIndex((row) => row.length !== columns);
  if (layer >= 0)
    throw new HeadscopeError(
      "input",
      `${label}[${layer}] has ${table[layer]!.length} columns, expected ${columns} (one a ${columnsAre})`,
      { remedy },
    );
}

/** Column noun of an axis, for errors. */
export function columnNoun(axis: HeadAxis): string {
  return axis === "heads" ? "query head" : "KV head";
}
