import type { z } from "zod";
import packageJson from "../../package.json" with { type: "json" };
import { PATTERNS_FORMAT, type sparsePatternSchema, sparsePatternsSchema } from "../common/api/documents.ts";
import { HeadscopeError } from "../common/errors.ts";
import { checkTable, columnNoun, parseDocument } from "../common/heads/document.ts";
import type { HeadModel } from "../common/heads/model.ts";
import { formatJson, readJson } from "../json.ts";
import { writeFileAtomic } from "../paths.ts";

const REMEDY = "write it again with headscope import minference";

/** The sparse attention of one query head: a shape, its two sizes in tokens or blocks, and its score. */
export type SparsePattern = z.output<typeof sparsePatternSchema>;
/** A checked file of sparse patterns: `layers` is [layers, heads]. */
export type SparsePatterns = z.output<typeof sparsePatternsSchema>;

/**
 * Makes a complete document of sparse patterns, with the time and headscope's version.
 * @param layers [layers, heads]
 * @param params of the search, or the origin
 * @throws HeadscopeError `input` for another shape, or a size that is no whole number
 */
export function createPatterns(
  model: HeadModel,
  layers: readonly (readonly SparsePattern[])[],
  params: Record<string, unknown> = {},
): SparsePatterns {
  const writer = { created: new Date().toISOString(), headscope: packageJson.version };
  return parsePatterns({ format: PATTERNS_FORMAT, model, params, ...writer, layers }, "sparse patterns");
}

/**
 * Checks a document of sparse patterns: its tag, its fields, one row a layer and one pattern a query head.
 * @param label where it comes from, usually a path; errors start with it
 * @throws HeadscopeError `input` naming the field
 */
export function parsePatterns(value: unknown, label: string): SparsePatterns {
  const patterns = parseDocument(sparsePatternsSchema, value, {
    format: PATTERNS_FORMAT,
    label,
    remedy: REMEDY,
  });
  const { layers, heads, kvHeads } = patterns.model;
  if (heads % kvHeads !== 0)
    throw new HeadscopeError("input", `${label}: ${heads} heads cannot share ${kvHeads} KV heads`, { remedy: REMEDY });
  checkTable(patterns.layers, layers, heads, {
    label: `${label}: layers`,
    columnsAre: columnNoun("heads"),
    remedy: REMEDY,
  });
  return patterns;
}

/**
 * Reads and checks a file of sparse patterns.
 * @throws HeadscopeError `missing` or `input`, starting with the path
 */
export async function readPatterns(path: string): Promise<SparsePatterns> {
  return parsePatterns(await readJson(path, "pattern file"), path);
}

/** Checks and writes a file of sparse patterns, whole or not at all. */
export async function writePatterns(path: string, patterns: SparsePatterns): Promise<void> {
  await writeFileAtomic(path, `${formatJson(parsePatterns(patterns, path))}\n`);
}
