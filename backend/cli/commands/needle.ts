import type { Command } from "commander";
import { HeadscopeError } from "../../common/errors.ts";
import { runs } from "../context.ts";
import { integer, type ModelOptions, modelOptions, numbers, seedOption } from "../options.ts";

interface NeedleCommandOptions extends ModelOptions {
  mask?: string;
  lengths: number[];
  depths: number[];
  needles: number;
  maxTokens?: number;
  seed: number;
}

/** `headscope needle`: questions about one sentence of a long text, with all heads full and with a mask. */
export function register(program: Command): void {
  const command = program
    .command("needle")
    .description("ask about one sentence in long texts, with all heads full and with a head mask");
  modelOptions(command)
    .option("--mask <file>", "head mask: every question is also answered with its streaming heads")
    .requiredOption("--lengths <list>", "tokens of the prompts, with commas between", numbers("--lengths", 1))
    .option("--depths <list>", "places of the sentence, 0 to 1, with commas between", numbers("--depths", 0, 1), [0.5])
    .option("--needles <n>", "questions at each length and depth", integer("--needles", 1), 1)
    .option("--max-tokens <n>", "most tokens of an answer", integer("--max-tokens", 1));
  seedOption(command);
  runs<NeedleCommandOptions>(command, async (context, options) => {
    const [{ withModel }, { readMask }, { checkModel, headModel }, { needleTest }, { needleText }] = await Promise.all([
      import("../model.ts"),
      import("../../heads/mask.ts"),
      import("../../heads/model.ts"),
      import("../../../probes/needle.ts"),
      import("../text/needle.ts"),
    ]);
    const { lengths, depths, needles, maxTokens, seed } = options;
    const bad = lengths.find((length) => !Number.isInteger(length));
    if (bad !== undefined)
      throw new HeadscopeError("usage", `--lengths cannot be ${bad}`, { remedy: "give whole numbers of tokens" });
    const mask = options.mask === undefined ? undefined : await readMask(options.mask);
    await withModel(context, options, async (model) => {
      if (mask) checkModel(mask, headModel(model), `mask ${options.mask}`);
      const trials = await needleTest(model, {
        lengths,
        depths,
        needles,
        seed,
        ...(maxTokens === undefined ? {} : { maxTokens }),
        ...(mask ? { mask } : {}),
        signal: context.signal,
        progress: context.progress,
      });
      await context.print({ model: model.ref, trials }, () => needleText(trials));
    });
  });
}
