import { z } from "zod";
import { parseParameters, readPairs } from "../../common/definitions/definition.ts";
import { writePatterns } from "../../heads/patterns.ts";
import { lateParameters } from "../../inference/policies/blocks/minference.ts";
import { PATTERN_SHARE, searchPatterns } from "../../inference/policies/prompt/search.ts";
import type { Context } from "../context.ts";
import { type SampleOptions, sampleText, sampleTokens } from "../inputs/sample.ts";
import { withStudiedModel } from "../model.ts";
import type { StudiedModelOptions } from "../options.ts";
import { patternsText } from "../text/patterns.ts";

/** Options of `headscope patterns search`. */
export interface PatternsCommandOptions extends StudiedModelOptions, SampleOptions {
  out: string;
  param?: string[];
}

/** Tokens of a sample unless told otherwise. */
const TOKENS = 4096;

const parameters = z.object({
  share: z
    .number()
    .gt(0)
    .max(1)
    .default(PATTERN_SHARE)
    .describe("share of the sample's keys that each candidate reads at its end"),
  ...lateParameters,
});

/** Searches the sparse patterns of a model, and writes them. */
export async function search(context: Context, options: PatternsCommandOptions): Promise<void> {
  const params = parseParameters("patterns search", parameters, readPairs(options.param ?? []));
  const text = await sampleText(options);
  await withStudiedModel(context, options, async (model) => {
    const tokens = await sampleTokens(model, text, options, TOKENS);
    const { signal, progress } = context;
    const patterns = searchPatterns(model, { ...params, tokens, signal, progress });
    await writePatterns(options.out, patterns);
    await context.print(patterns, () => patternsText(patterns));
  });
}
