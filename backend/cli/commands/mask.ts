import type { Command } from "commander";
import { HeadscopeError } from "../../common/errors.ts";
import { SELECTION_RULES } from "../../common/words.ts";
import type { HeadMask } from "../../heads/mask.ts";
import type { HeadScores } from "../../heads/scores.ts";
import { type Context, runs } from "../context.ts";
import { integer, numbers, real } from "../options.ts";

interface MaskOptions {
  scores: string;
  metric?: string;
  top?: number;
  quantile?: number;
  threshold?: number;
  sink?: number;
  recent?: number;
  out?: string;
  smallest?: boolean;
  model?: string;
  lengths?: number[];
  depths?: number[];
  needles?: number;
}

/** Tokens of the questions that --smallest asks by default. */
const LENGTHS = [1_000];

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
    .option("--smallest", "as few KV heads as answer every needle question that all of them answer; shows the curve")
    .option("--model <ref>", "with --smallest: the model that is asked (default: that of the scores)")
    .option("--lengths <list>", "with --smallest: tokens of the questions (default: 1000)", numbers("--lengths", 1))
    .option(
      "--depths <list>",
      "with --smallest: places of the needle (default: 0.1,0.5,0.9)",
      numbers("--depths", 0, 1),
    )
    .option(
      "--needles <n>",
      "with --smallest: questions at each length and depth (default: 1)",
      integer("--needles", 1),
    )
    .option("--out <file>", "where to write the mask");
  runs<MaskOptions>(command, async (context, options) => {
    const { scores: scoresFile, out, smallest = false, model, lengths, depths, needles, ...rule } = options;
    if (!smallest) refuseQuestions({ model, lengths, depths, needles });
    const [{ readScores }, { maskFromScores, writeMask }, { maskText }] = await Promise.all([
      import("../../heads/scores.ts"),
      import("../../heads/mask.ts"),
      import("../text/mask.ts"),
    ]);
    const scores = await readScores(scoresFile);
    const mask = smallest ? await search(context, scores, options) : maskFromScores(scores, { ...rule, scoresFile });
    if (out !== undefined) await writeMask(out, mask);
    await context.print(mask, () => maskText(mask, out));
  });
}

/** @throws HeadscopeError `usage` for options that mean nothing without --smallest */
function refuseQuestions(given: Readonly<Record<string, unknown>>): void {
  const [name] = Object.entries(given).find(([, value]) => value !== undefined) ?? [];
  if (name === undefined) return;
  throw new HeadscopeError("usage", `--${name} is about needle questions, which only --smallest asks`, {
    remedy: "add --smallest, or leave it out",
  });
}

/** The smallest mask that loses no answer. */
async function search(context: Context, scores: HeadScores, options: MaskOptions): Promise<HeadMask> {
  const rule = SELECTION_RULES.find((name) => options[name] !== undefined);
  if (rule !== undefined)
    throw new HeadscopeError("usage", `--smallest chooses how many KV heads stay, and so does --${rule}`, {
      remedy: "give one of them",
    });
  const [{ withModel }, { checkModel, headModel }, { searchMask }] = await Promise.all([
    import("../model.ts"),
    import("../../heads/model.ts"),
    import("../../../probes/mask-search.ts"),
  ]);
  const { metric, sink, recent, depths, needles, scores: scoresFile, lengths = LENGTHS } = options;
  return withModel(context, { model: options.model ?? scores.model.ref }, async (model) => {
    checkModel(scores, headModel(model), `scores ${scoresFile}`);
    const { signal, progress } = context;
    const asked = { metric, sink, recent, lengths, depths, needles, scoresFile, signal, progress };
    return (await searchMask(model, scores, asked)).mask;
  });
}
