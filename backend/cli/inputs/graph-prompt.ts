import { tokensIn } from "../../circuits/answers.ts";
import { metricValues } from "../../circuits/metrics/measure.ts";
import type { GraphPrompt } from "../../common/circuit-files/neuronpedia.ts";
import { HeadscopeError } from "../../common/errors.ts";
import { forward } from "../../models/forward/forward.ts";
import { tokenLabel, tokenLabels } from "../../models/tokenizers/labels.ts";
import type { Context } from "../context.ts";
import { withModel } from "../model.ts";
import type { ModelOptions } from "../options.ts";
import { readPairFile } from "./case-files.ts";

/**
 * The clean prompt of a pair file's first pair, with its answer's probability, for a graph that is shown over it.
 * @throws HeadscopeError (usage) without a model or a pair file
 */
export async function promptOf(
  context: Context,
  {
    model: ref,
    pairFile,
    prependBos,
    weights,
    process,
  }: Partial<ModelOptions> & { pairFile?: string; prependBos?: boolean },
): Promise<GraphPrompt> {
  if (ref === undefined || pairFile === undefined)
    throw new HeadscopeError("usage", "a graph for Neuronpedia is shown over a prompt", {
      remedy: "give --model and --pair-file",
      field: ref === undefined ? "model" : "pairFile",
    });
  const options = { model: ref, ...(weights && { weights }), ...(process && { process }) };
  return withModel(context, options, async (model) => {
    const { clean, answer } = (await readPairFile(pairFile, model, prependBos))[0]!;
    const { logits, dispose } = forward(model, { tokens: [clean], logitsAt: "last" });
    const [probability] = metricValues(logits!, { name: "probability", answers: [answer] });
    dispose();
    const { tokenizer } = model;
    const tokens = tokenizer ? tokenLabels(tokenizer, clean) : clean.map(String);
    const word = tokensIn(answer)
      .map((id) => (tokenizer ? tokenLabel(tokenizer, id) : String(id)))
      .join(" | ");
    return { text: tokens.join(tokenizer ? "" : " "), tokens, answer: word, probability: probability! };
  });
}
