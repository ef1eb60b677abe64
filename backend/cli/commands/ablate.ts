import type { Command } from "commander";
import { HeadscopeError } from "../../common/errors.ts";
import { ABLATION_METHODS, type AblationMethod } from "../../common/words.ts";
import { type Context, runs } from "../context.ts";
import {
  integer,
  interventionsOption,
  type ModelOptions,
  modelOptions,
  oneOf,
  seedOption,
  type TokenOptions,
  tokenOptions,
} from "../options.ts";

interface AblateCommandOptions extends ModelOptions, TokenOptions {
  heads?: string;
  interventions?: string;
  method: AblationMethod;
  byPosition?: boolean;
  referenceFile?: string;
  controls: number;
  seed: number;
}

/** `headscope ablate`: what a set of heads does for the loss, beside as many other heads of the same layers. */
export function register(program: Command): void {
  const command = program
    .command("ablate")
    .description("take heads out, and as many others of the same layers as a control");
  modelOptions(command);
  tokenOptions(command)
    .option("--heads <heads>", "heads to take out: 18.6,17.3 or top:8@scores.json#metric")
    .option(
      "--method <method>",
      `what stands in for a head's output: ${ABLATION_METHODS.join(", ")}`,
      oneOf("--method", ABLATION_METHODS),
      "zero",
    )
    .option("--by-position", "mean: one mean a position instead of one over all positions")
    .option(
      "--reference-file <file>",
      "tokens file whose rows mean and resample draw from (default: the other rows; of a single one 8 rows of random tokens)",
    )
    .option("--controls <n>", "draws of other heads; 0 leaves the control out", integer("--controls", 0), 5);
  interventionsOption(command, "instead of --heads: anything to change, without a control");
  seedOption(command);
  runs<AblateCommandOptions>(command, async (context, options) => {
    const [
      { withModel },
      { readTokens, tokensOf },
      { headModel },
      { parseHeads },
      { ablate },
      { randomReference },
      { ablationDocument, ablationText },
    ] = await Promise.all([
      import("../model.ts"),
      import("../inputs.ts"),
      import("../../heads/model.ts"),
      import("../../heads/refs.ts"),
      import("../../circuits/ablate.ts"),
      import("../../hooks/reference.ts"),
      import("../text/ablation.ts"),
    ]);
    if ((options.heads === undefined) === (options.interventions === undefined))
      throw new HeadscopeError(
        "usage",
        options.heads === undefined ? "nothing is named to take out" : "--heads and --interventions cannot go together",
        { remedy: "give one of --heads and --interventions" },
      );
    if (options.interventions !== undefined) return interveneCommand(context, options, options.interventions);
    if (options.byPosition && options.method !== "mean")
      throw new HeadscopeError("usage", "--by-position is for --method mean", {
        remedy: "leave it out, or choose mean",
      });
    await withModel(context, options, async (model) => {
      const heads = await parseHeads(options.heads!, headModel(model));
      const tokens = await tokensOf(model, options, { least: 2 });
      const { referenceFile, method, seed } = options;
      const given = referenceFile === undefined ? undefined : await readTokens(referenceFile, model);
      const random = given ? undefined : randomReference(model, tokens, method, seed);
      const reference = given ?? random;
      const result = await ablate(model, {
        tokens,
        heads,
        method,
        controls: options.controls,
        seed,
        ...(options.byPosition ? { byPosition: true } : {}),
        ...(reference === undefined ? {} : { reference }),
        signal: context.signal,
        progress: context.progress,
      });
      await context.print(ablationDocument(result, random), () => ablationText(result, random));
    });
  });
}

/** What the interventions of a file do. */
async function interveneCommand(context: Context, options: AblateCommandOptions, path: string): Promise<void> {
  if (options.byPosition || options.referenceFile !== undefined || options.method !== "zero")
    throw new HeadscopeError("usage", "--method, --by-position and --reference-file are for --heads", {
      remedy: 'say it in the file: {"do": "mean", "byPosition": true, "with": {"tokens": rows}}',
    });
  const [{ withModel }, { tokensOf }, { readInterventions }, { intervene }, { interventionText }] = await Promise.all([
    import("../model.ts"),
    import("../inputs.ts"),
    import("../case-files.ts"),
    import("../../circuits/intervene.ts"),
    import("../text/ablation.ts"),
  ]);
  const interventions = await readInterventions(path);
  await withModel(context, options, async (model) => {
    const tokens = await tokensOf(model, options, { least: 2 });
    const { signal, progress } = context;
    const result = await intervene(model, { tokens, interventions, signal, progress });
    await context.print({ ...result, interventions }, () => interventionText(result, interventions.length));
  });
}
