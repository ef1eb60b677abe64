import { z } from "zod";
import { contextTasks, drawCase } from "../../../synthetic-tasks/contexts/index.ts";
import { parseParameters, readPairs } from "../../common/definitions/definition.ts";
import { HeadscopeError } from "../../common/errors.ts";
import { writePatterns } from "../../heads/patterns.ts";
import { lateParameters } from "../../inference/policies/blocks/minference.ts";
import { PATTERN_SHARE, searchPatterns } from "../../inference/policies/prompt/search.ts";
import { readText } from "../../json.ts";
import type { Model } from "../../models/model.ts";
import { requireTokenizer } from "../../models/tokens.ts";
import type { Context } from "../context.ts";
import { encode, readTokens } from "../inputs/tokens.ts";
import { withModel } from "../model.ts";
import type { ModelOptions } from "../options.ts";
import { patternsText } from "../text/patterns.ts";

/** Options of `headscope patterns search`. */
export interface PatternsCommandOptions extends ModelOptions {
  textFile?: string;
  tokensFile?: string;
  tokens?: number;
  seed: number;
  out: string;
  param?: string[];
}

/** Tokens of a sample unless told otherwise. */
const TOKENS = 4096;
/** The task that a sample is drawn of. */
const TASK = "multi-key";

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
  const { textFile, tokensFile } = options;
  if (textFile !== undefined && tokensFile !== undefined)
    throw new HeadscopeError("usage", "--text-file and --tokens-file cannot go together", {
      remedy: "give one of them",
    });
  const text = textFile === undefined ? undefined : await readText(textFile, "text file");
  await withModel(context, options, async (model) => {
    const tokens = await sampleOf(model, text, options);
    const { signal, progress } = context;
    const patterns = searchPatterns(model, { ...params, tokens, signal, progress });
    await writePatterns(options.out, patterns);
    await context.print(patterns, () => patternsText(patterns));
  });
}

/** Ids of the sample. */
async function sampleOf(model: Model, text: string | undefined, options: PatternsCommandOptions): Promise<number[]> {
  const { tokens, tokensFile, seed } = options;
  const most = tokens ?? Math.min(TOKENS, model.config.n_ctx);
  if (tokensFile !== undefined) return (await readTokens(tokensFile, { config: model.config }))[0]!.slice(0, most);
  if (text !== undefined) return encode(model, text).slice(0, most);
  const tokenizer = requireTokenizer(model, { remedy: "give token ids with --tokens-file" });
  const task = contextTasks.get(TASK);
  const { prompt } = drawCase(tokenizer, task, contextTasks.parse(TASK, {}), { tokens: most, number: 0, seed });
  const { request, lead } = prompt.questions[0]!;
  return [...prompt.context, ...request, ...lead];
}
