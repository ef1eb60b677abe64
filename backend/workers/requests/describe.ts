import { z } from "zod";
import type { ModelInfo } from "../../common/api/models.ts";
import { headModel } from "../../common/heads/model.ts";
import type { Model } from "../../models/model.ts";
import { initBackend } from "../../runtime/backend.ts";
import { handler } from "../handler.ts";
import { session } from "../session.ts";

/** Opens a model and says what it is, and what this worker computes on. */
export const request = handler({
  payload: z.strictObject({ model: z.string() }),
  async run({ model: ref }, { signal }) {
    const { name, why, threads } = await initBackend();
    const model = await session.models.open(ref, signal);
    return { info: infoOf(model), backend: { name, why, threads } };
  },
});

function infoOf(model: Model): ModelInfo {
  const { family, digest, config, tokenizer, tokenizerFault } = model;
  const tokens = model.stops.tokens.map((stop) => ({ ...stop, text: tokenizer?.token(stop.id) ?? String(stop.id) }));
  const stops = [...tokens, ...model.stops.texts];
  const common = { ...headModel(model), family, digest, config, stops };
  if (!tokenizer) return { ...common, tokenizerFault };
  const { bos, addsBos, chats: chat } = tokenizer;
  return {
    ...common,
    tokenizer: { bos: bos === undefined ? undefined : { id: bos, text: tokenizer.token(bos) }, addsBos, chat },
  };
}
