import { readPairs } from "../../common/definitions/definition.ts";
import { importers } from "../../exports/index.ts";
import { writeScores } from "../../heads/files.ts";
import { writePatterns } from "../../heads/patterns.ts";
import type { Context } from "../context.ts";
import { headModelOf } from "../model.ts";
import { patternsText } from "../text/patterns.ts";
import { scoresText } from "../text/scores.ts";

interface ImportOptions {
  model: string;
  out: string;
  param?: string[];
}

/** Reads another project's head file as head scores or sparse patterns. */
export async function importForeign(
  context: Context,
  { model: ref, out, param = [] }: ImportOptions,
  format: string,
  path: string,
): Promise<void> {
  const importer = importers.get(format);
  importers.parse(format, readPairs(param));
  const model = await headModelOf(ref);
  const written = `\n\nWritten to ${out}.`;
  if (importer.gives === "patterns") {
    const patterns = await importer.read(path, model);
    await writePatterns(out, patterns);
    return context.print(patterns, () => patternsText(patterns) + written);
  }
  const scores = await importer.read(path, model);
  await writeScores(out, scores);
  await context.print(scores, () => scoresText(scores) + written);
}
