import { lens } from "../../circuits/attribution/lens.ts";
import type { Context } from "../context.ts";
import { readOptionalInterventions } from "../inputs/case-files.ts";
import { questionsOf } from "../inputs/questions.ts";
import { withModel } from "../model.ts";
import type { ModelOptions, QuestionOptions } from "../options.ts";
import { lensText } from "../text/lens.ts";

/** Options of `headscope lens`. */
export interface LensCommandOptions extends ModelOptions, QuestionOptions {
  top: number;
}

/** Reads the stream of prompts out at every layer. */
export async function readLens(context: Context, options: LensCommandOptions): Promise<void> {
  await withModel(context, options, async (model) => {
    const prompts = await questionsOf(model, options);
    const interventions = await readOptionalInterventions(options.interventions);
    const { position, top } = options;
    const { signal, progress } = context;
    const result = await lens(model, { prompts, position, top, interventions, signal, progress });
    await context.print(result, () => lensText(result, model));
  });
}
