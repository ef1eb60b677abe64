import { attribute } from "../../circuits/attribution/direct.ts";
import type { Context } from "../context.ts";
import { readOptionalInterventions } from "../inputs/case-files.ts";
import { questionsOf } from "../inputs/questions.ts";
import { withModel } from "../model.ts";
import type { ModelOptions, QuestionOptions } from "../options.ts";
import { attributionText } from "../text/attribution.ts";

/** Options of `headscope attribute`. */
export interface AttributeCommandOptions extends ModelOptions, QuestionOptions {
  neurons?: number[];
  top: number;
}

/** Attributes the logit difference of prompts to the parts of the stream. */
export async function attributePrompts(context: Context, options: AttributeCommandOptions): Promise<void> {
  await withModel(context, options, async (model) => {
    const prompts = await questionsOf(model, options);
    const interventions = await readOptionalInterventions(options.interventions);
    const { position, neurons, top } = options;
    const { signal, progress } = context;
    const result = await attribute(model, {
      prompts,
      position,
      interventions,
      ...(neurons ? { neurons } : {}),
      signal,
      progress,
    });
    await context.print(result, () => attributionText(result, { model, top }));
  });
}
