import { compareScores } from "../../heads/compare.ts";
import { readScores } from "../../heads/files.ts";
import type { Context } from "../context.ts";
import { headComparisonText } from "../text/compare.ts";

interface CompareOptions {
  metric?: string;
  top?: number;
}

/** Prints how two models' heads compare by relative depth. */
export async function compareModels(
  context: Context,
  options: CompareOptions,
  first: string,
  second: string,
): Promise<void> {
  const comparison = compareScores(await readScores(first), await readScores(second), options);
  await context.print(comparison, () => headComparisonText(comparison));
}
