import type { Command } from "commander";
import { runs } from "../context.ts";
import { integer } from "../options.ts";

interface CompareOptions {
  metric?: string;
  top?: number;
}

/** `headscope compare FIRST SECOND`: two models' heads by one metric, by relative depth. */
export function register(program: Command): void {
  const command = program
    .command("compare <first> <second>")
    .description("compare the heads of two models by their score files, at which depth the best of each lie")
    .option("--metric <name>", "metric of the scores (default: the main one)")
    .option("--top <n>", "best heads of each model (default: 5)", integer("--top", 1));
  runs<CompareOptions>(command, async (context, options, first, second) => {
    const [{ readScores }, { compareScores }, { comparisonText }] = await Promise.all([
      import("../../heads/scores.ts"),
      import("../../heads/compare.ts"),
      import("../text/compare.ts"),
    ]);
    const comparison = compareScores(await readScores(first!), await readScores(second!), options);
    await context.print(comparison, () => comparisonText(comparison));
  });
}
