import type { Command } from "commander";
import { runs } from "../context.ts";
import { paramOption } from "../options.ts";

interface ImportOptions {
  model: string;
  out: string;
  param?: string[];
}

/** `headscope import FORMAT PATH`: a foreign file becomes head scores. */
export function register(program: Command): void {
  const command = program
    .command("import <format> <path>")
    .description("read another project's head file (duo-attention, retrieval-head) as head scores")
    .requiredOption("--model <ref>", "the model that the file is about")
    .requiredOption("--out <file>", "where to write the head scores");
  paramOption(command);
  runs<ImportOptions>(command, async (context, { model: ref, out, param = [] }, format, path) => {
    const [{ importers }, { readPairs }, { writeScores }, { headModelOf }, { scoresText }] = await Promise.all([
      import("../../exports/index.ts"),
      import("../../common/definitions/definition.ts"),
      import("../../heads/scores.ts"),
      import("../model.ts"),
      import("../text/scores.ts"),
    ]);
    const importer = importers.get(format!);
    importers.parse(format!, readPairs(param));
    const scores = await importer.read(path!, await headModelOf(ref));
    await writeScores(out, scores);
    await context.print(scores, () => `${scoresText(scores)}\n\nWritten to ${out}.`);
  });
}
