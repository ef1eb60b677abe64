import { z } from "zod";
import { UNBOUNDED } from "../../common/api/fields.ts";
import { type GenerateResult, generateRequest } from "../../common/api/generation.ts";
import { generate } from "../../inference/generate.ts";
import { chatIds, resultOf, runOptions } from "../generations.ts";
import { handler } from "../handler.ts";
import { promptInputIds } from "../prompts.ts";
import { pacingOf, session } from "../session.ts";

const payload = generateRequest(UNBOUNDED, z.unknown());

/** Continues a prompt; every token is told of as it comes. */
export const request = handler({
  payload,
  async run(request, context): Promise<GenerateResult> {
    const pacing = pacingOf(context);
    const model = await session.models.open(request.model, pacing.signal);
    const tokens = request.chat ? chatIds(model, request) : promptInputIds(model, request);
    const result = await generate(model, {
      ...runOptions(model, request, [tokens], pacing),
      tokens,
      onToken: (id, text, probability) => void context.emit({ event: "token", id, text, probability: probability() }),
    });
    return resultOf(model, result, tokens);
  },
});
