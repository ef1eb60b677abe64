import { z } from "zod";
import { UNBOUNDED } from "../../common/api/fields.ts";
import { type GenerateBatchResult, generateBatchRequest } from "../../common/api/generation.ts";
import { samplingOf } from "../../common/api/sampling.ts";
import { generateBatch } from "../../inference/generate.ts";
import { ownStops } from "../../inference/stop-rule.ts";
import { chatIds, contextOf, resultOf, runOptions } from "../generations.ts";
import { handler } from "../handler.ts";
import { promptInputIds } from "../prompts.ts";
import { pacingOf, session } from "../session.ts";

const payload = generateBatchRequest(UNBOUNDED, z.unknown());

/** Continues prompts together; every token is told of with its row as it comes. */
export const request = handler({
  payload,
  async run(request, context): Promise<GenerateBatchResult> {
    const pacing = pacingOf(context);
    const model = await session.models.open(request.model, pacing.signal);
    const prompts = request.prompts.map((prompt) => ({
      tokens: request.chat ? chatIds(model, prompt) : promptInputIds(model, { model: request.model, ...prompt }),
      ...{ maxTokens: prompt.maxTokens, temperature: prompt.temperature, seed: prompt.seed, ...samplingOf(prompt) },
      ...contextOf(model, { chat: request.chat, contextAware: prompt.contextAware }),
      ...(prompt.stop ? { stop: ownStops(model, prompt.stop) } : {}),
    }));
    const rows = prompts.map(({ tokens }) => tokens);
    const results = await generateBatch(model, {
      ...runOptions(model, request, rows, pacing),
      prompts,
      onToken: (row, id, text, probability) =>
        void context.emit({ event: "token", row, id, text, probability: probability() }),
    });
    return { rows: results.map((result, i) => resultOf(model, result, rows[i]!)) };
  },
});
