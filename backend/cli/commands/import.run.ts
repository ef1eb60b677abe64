import { readPairs } from "../../common/definitions/definition.ts";
import { importers } from "../../exports/index.ts";
import { writeScores } from "../../heads/files.ts";
import type { Context } from "../context.ts";
import { headModelOf } from "../model.ts";
import { scoresText } from "../text/scores.ts";

interface ImportOptions {
  model: string;
  out: string;
  param?: string[];
}

/** Reads another project's head file as head scores. */
export async function importScores(
  context: Context,
  { model: ref, out, param = [] }: ImportOptions,
  format: string,
  path: string,
): Promise<void> {
  const importer = importers.get(format);
  importers.parse(format, readPairs(param));
  const scores = await importer.read(path, await headModelOf(ref));
  await writeScores(out, scores);
  await context.print(scores, () => `${scoresText(scores)}\n\nWritten to ${out}.`);
}
