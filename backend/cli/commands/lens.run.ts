import { readFile } from "node:fs/promises";
import { lens } from "../../circuits/attribution/lens.ts";
import { type TunedLens, tuneLens } from "../../circuits/attribution/tuned-lens.ts";
import { HeadscopeError } from "../../common/errors.ts";
import type { Model } from "../../models/model.ts";
import type { Context } from "../context.ts";
import { readOptionalInterventions } from "../inputs/case-files.ts";
import { questionsOf } from "../inputs/questions.ts";
import { encode } from "../inputs/tokens.ts";
import { withModel } from "../model.ts";
import type { ModelOptions, QuestionOptions } from "../options.ts";
import { lensText } from "../text/lens.ts";

/** Options of `headscope lens`. */
export interface LensCommandOptions extends ModelOptions, QuestionOptions {
  top: number;
  tunedOn?: string;
  tunedTokens: number;
  ridge: number;
}

/** Tokens of a row of the text that maps are fitted on. */
const ROW = 128;

/** Reads the stream of prompts out at every layer, through maps fitted on a text too where one is given. */
export async function readLens(context: Context, options: LensCommandOptions): Promise<void> {
  await withModel(context, options, async (model) => {
    const prompts = await questionsOf(model, options);
    const interventions = await readOptionalInterventions(options.interventions);
    const tuned = options.tunedOn === undefined ? undefined : await tune(context, model, options.tunedOn, options);
    try {
      const { position, top } = options;
      const { signal, progress } = context;
      const result = await lens(model, { prompts, position, top, tuned, interventions, signal, progress });
      const fit = tuned && { tokens: tuned.fitted, heldOut: tuned.heldOut, kl: tuned.quality };
      await context.print(fit ? { ...result, fit } : result, () => lensText(result, model, tuned));
    } finally {
      tuned?.dispose();
    }
  });
}

/** Fits maps on a text file. */
async function tune(
  { signal, progress }: Context,
  model: Model,
  path: string,
  { tunedTokens, ridge, prependBos }: LensCommandOptions,
): Promise<TunedLens> {
  const text = await readFile(path, "utf8").catch((cause: unknown) => {
    throw new HeadscopeError("missing", `there is no text to read at ${path}`, {
      remedy: "give a text file",
      subject: path,
      cause,
    });
  });
  const ids = encode(model, text, prependBos).slice(0, tunedTokens);
  const length = Math.min(ROW, model.config.n_ctx);
  const rows = Array.from({ length: Math.ceil(ids.length / length) }, (_, r) =>
    ids.slice(r * length, (r + 1) * length),
  );
  return tuneLens(model, { tokens: rows.filter((row) => row.length > 1), ridge, signal, progress });
}
