import type { Command } from "commander";
import { HeadscopeError } from "../../errors.ts";
import { runs } from "../context.ts";
import { type ModelOptions, modelOptions, paramOption, seedOption } from "../options.ts";

interface ProbeCommandOptions extends ModelOptions {
  tokensFile?: string;
  casesFile?: string;
  param?: string[];
  seed: number;
  out?: string;
}

/** `headscope probe NAME`: scores every head of a model. */
export function register(program: Command): void {
  const command = program
    .command("probe <name>")
    .description("score every head of a model (headscope probes list names the probes)");
  modelOptions(command)
    .option("--tokens-file <file>", "JSON array of rows of token ids, instead of the probe's own")
    .option("--cases-file <file>", "JSON array of needle-in-a-haystack cases, for retrieval")
    .option("--out <file>", "where to write the head scores");
  seedOption(paramOption(command, "a parameter of the probe; may be repeated"));
  runs<ProbeCommandOptions>(command, async (context, options, name) => {
    const [{ probes, probe }, { readPairs }] = await Promise.all([
      import("../../../probes/index.ts"),
      import("../../definitions/definition.ts"),
    ]);
    const parameters = readPairs(options.param ?? []);
    probes.parse(name!, parameters); // before the model is loaded, which takes seconds
    if (options.tokensFile !== undefined && options.casesFile !== undefined)
      throw new HeadscopeError("usage", "--tokens-file and --cases-file cannot go together", {
        remedy: "give one of them",
      });
    const [{ withModel }, { readTokens }, { readCases }, { writeScores }, { scoresText }] = await Promise.all([
      import("../model.ts"),
      import("../inputs.ts"),
      import("../case-files.ts"),
      import("../../heads/scores.ts"),
      import("../scores-text.ts"),
    ]);
    await withModel(context, options, async (model) => {
      const tokens = options.tokensFile === undefined ? undefined : await readTokens(options.tokensFile, model);
      const cases = options.casesFile === undefined ? undefined : await readCases(options.casesFile, model);
      const scores = await naming(options.tokensFile ?? options.casesFile, () =>
        probe(model, name!, parameters, {
          seed: options.seed,
          signal: context.signal,
          progress: context.progress,
          ...(tokens === undefined ? {} : { tokens }),
          ...(cases === undefined ? {} : { cases }),
        }),
      );
      context.signal.throwIfAborted();
      if (options.out !== undefined) await writeScores(options.out, scores);
      await context.print(scores, () =>
        [
          scoresText(scores),
          "",
          options.out === undefined ? "Keep them with --out FILE." : `Written to ${options.out}.`,
        ].join("\n"),
      );
    });
  });
}

/** Puts a file's path before what a probe has to say of the rows that came from it. */
async function naming<T>(path: string | undefined, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (path === undefined || !(error instanceof HeadscopeError) || error.kind !== "input") throw error;
    const { message, remedy, kind } = error;
    throw new HeadscopeError(kind, `${path}: ${message}`, {
      cause: error,
      ...(remedy === undefined ? {} : { remedy }),
    });
  }
}
