import { contextTasks, drawCase } from "../../../synthetic-tasks/contexts/index.ts";
import type { Model } from "../../models/model.ts";
import { requireTokenizer } from "../../models/tokens.ts";
import { encode, readTokens, textOfFile } from "./tokens.ts";

/** Options of the sample that a command learns from. */
export interface SampleOptions {
  textFile?: string;
  tokensFile?: string;
  /** Most tokens. */
  tokens?: number;
  seed: number;
}

/** The task that a sample is drawn of where none is given. */
const TASK = "multi-key";

/** Reads the sample's text, before a model is loaded. @throws as `textOfFile` */
export function sampleText({ textFile, tokensFile }: SampleOptions): Promise<string | undefined> {
  return textOfFile(textFile, { "--tokens-file": tokensFile });
}

/**
 * Ids of the sample: of the text, of the tokens file's first row, or of a case of the task multi-key.
 * @param most tokens unless the options say otherwise, or the model's context
 */
export async function sampleTokens(
  model: Model,
  text: string | undefined,
  { tokens, tokensFile, seed }: SampleOptions,
  most: number,
): Promise<number[]> {
  const count = tokens ?? Math.min(most, model.config.n_ctx);
  if (tokensFile !== undefined) return (await readTokens(tokensFile, { config: model.config }))[0]!.slice(0, count);
  if (text !== undefined) return encode(model, text).slice(0, count);
  const tokenizer = requireTokenizer(model, { remedy: "give token ids with --tokens-file" });
  const task = contextTasks.get(TASK);
  const { prompt } = drawCase(tokenizer, task, contextTasks.parse(TASK, {}), { tokens: count, number: 0, seed });
  const { request, lead } = prompt.questions[0]!;
  return [...prompt.context, ...request, ...lead];
}
