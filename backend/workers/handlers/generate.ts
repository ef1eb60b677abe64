import { HeadscopeError } from "../../errors.ts";
import { checkModel, headModel } from "../../heads/model.ts";
import { parseHead } from "../../heads/refs.ts";
import { compileInterventions, disposeInterventions } from "../../hooks/interventions.ts";
import { zeroHeads } from "../../hooks/zero-heads.ts";
import { generate, PART } from "../../inference/generate.ts";
import { TextStream } from "../../inference/text-stream.ts";
import { encodeText } from "../../models/encode.ts";
import type { Model } from "../../models/model.ts";
import type { GenerateRequest, GenerateResult } from "../../server/api.ts";
import { LONG } from "../prompt-runs.ts";
import { promptIds, tokenTexts } from "../prompts.ts";
import { session, wayOf } from "../session.ts";
import type { Handler } from "./index.ts";

/** Continues a prompt; every token is told of as it comes. */
export const handle: Handler = async (payload, context): Promise<GenerateResult> => {
  const request = payload as GenerateRequest;
  const { emit } = context;
  const { signal, turn, progress } = wayOf(context);
  const model = await session.models.open(request.model, signal);
  const { maxTokens, temperature, seed, mask, prefill, chat, ablate = [] } = request;
  const shape = headModel(model);
  if (mask) checkModel(mask, shape, "the mask");
  const tokens = promptIds(model, chat ? inChat(model, request) : request);
  const heads = ablate.map((head) => parseHead(head, shape));
  const interventions = compileInterventions(model, zeroHeads(heads), { rows: 1, positions: 1 });
  const text = new TextStream(model.tokenizer);
  const { n_layers } = model.config;
  const parts = Math.ceil(tokens.length / PART);
  let layers = tokens.length < LONG ? parts * n_layers : 0;
  const onLayer = (): void => {
    if (layers < parts * n_layers) progress(layers++, parts * n_layers, "reading the prompt, layers");
  };
  try {
    const result = await generate(model, {
      tokens,
      ...(maxTokens === undefined ? {} : { maxTokens }),
      ...(temperature === undefined ? {} : { temperature }),
      ...(seed === undefined ? {} : { seed }),
      ...(mask ? { mask, prefill: prefill ?? "masked" } : {}),
      forward: { interventions, onLayer },
      onToken: (id, _, probability) =>
        void emit({ event: "token", id, text: text.push(id), probability: probability() }),
      signal,
      turn,
    });
    return {
      ids: result.ids,
      tokens: tokenTexts(model, result.ids),
      text: result.text ?? result.ids.join(" "),
      promptTokens: result.promptTokens,
      cache: { bytes: result.cache.bytes, bytesFull: result.cache.bytesFull },
      prefillMs: result.prefillMs,
      decodeMsPerToken: result.decodeMsPerToken,
    };
  } finally {
    disposeInterventions(interventions);
  }
};

/** Ids of a text as a user's message in the model's chat template. */
function inChat(model: Model, request: GenerateRequest): GenerateRequest {
  if (!("text" in request))
    throw new HeadscopeError("usage", "a chat needs a text", { remedy: "give `text`, or leave `chat` out" });
  const { tokenizer } = model;
  if (!tokenizer) return { model: request.model, tokens: encodeText(model, request.text) };
  const turn = tokenizer.chat([{ role: "user", content: request.text }], { addGenerationPrompt: true });
  return { model: request.model, tokens: encodeText(model, turn, false) };
}
