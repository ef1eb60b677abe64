import type { Command } from "commander";
import { runs } from "../context.ts";
import { integer, real } from "../options.ts";

interface MaskOptions {
  scores: string;
  metric?: string;
  top?: number;
  quantile?: number;
  threshold?: number;
  sink?: number;
  recent?: number;
  out?: string;
}

/** `headscope mask`: from head scores to the KV heads that keep everything. */
export function register(program: Command): void {
  const command = program
    .command("mask")
    .description("choose the KV heads that keep everything; the others keep first and recent tokens only")
    .requiredOption("--scores <file>", "head scores")
    .option("--metric <name>", "metric of the scores (default: the main one)")
    .option("--top <n>", "this many of the best KV heads keep everything", integer("--top", 0))
    .option("--quantile <share>", "this share of the KV heads, the lowest, keeps little", real("--quantile"))
    .option("--threshold <score>", "KV heads that score at least this keep everything", real("--threshold"))
    .option("--sink <n>", "first tokens the others keep (default: 64)", integer("--sink", 0))
    .option("--recent <n>", "latest tokens the others keep (default: 256)", integer("--recent", 1))
    .option("--out <file>", "where to write the mask");
  runs<MaskOptions>(command, async (context, { scores: scoresFile, out, ...rule }) => {
    const [{ readScores }, { maskFromScores, meaningOf, writeMask }, { formatKvHead }, format] = await Promise.all([
      import("../../heads/scores.ts"),
      import("../../heads/mask.ts"),
      import("../../heads/refs.ts"),
      import("../format.ts"),
    ]);
    const mask = maskFromScores(await readScores(scoresFile), { ...rule, scoresFile });
    if (out !== undefined) await writeMask(out, mask);
    await context.print(mask, () => {
      const { full } = meaningOf(mask);
      const { layers, kvHeads, ref } = mask.model;
      return [
        `${full.length} of ${format.plural(layers * kvHeads, "KV head")} of ${ref} keep everything; the others keep the first ${mask.sink} and the latest ${mask.recent} tokens.`,
        `  ${full.map(formatKvHead).join(" ")}`,
        out === undefined ? "Write it with --out FILE." : `Written to ${out}.`,
      ].join("\n");
    });
  });
}
