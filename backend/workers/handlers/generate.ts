import { HeadscopeError } from "../../errors.ts";
import { checkModel, headModel } from "../../heads/model.ts";
import { parseHead } from "../../heads/refs.ts";
import { parseInterventions } from "../../hooks/interventions.ts";
import { zeroHeads } from "../../hooks/zero-heads.ts";
import { generate } from "../../inference/generate.ts";
import { TextStream } from "../../inference/text-stream.ts";
import { encodeText } from "../../models/encode.ts";
import type { Model } from "../../models/model.ts";
import type { GenerateRequest, GenerateResult } from "../../server/api.ts";
import { progressTo } from "../progress.ts";
import { promptIds, tokenTexts } from "../prompts.ts";
import { session } from "../session.ts";
import type { Handler } from "./index.ts";

/** Tokens of a prompt from which on it is told how far its reading is. */
const LONG = 256;

/** Continues a prompt; every token is told of as it comes. */
export const handle: Handler = async (payload, { emit, signal }): Promise<GenerateResult> => {
  const request = payload as GenerateRequest;
  const model = await session.models.open(request.model, signal);
  const { maxTokens, temperature, seed, mask, prefill, chat, ablate = [], interventions = [] } = request;
  const shape = headModel(model);
  if (mask) checkModel(mask, shape, "the mask");
  const tokens = promptIds(model, chat ? inChat(model, request) : request);
  const heads = ablate.map((head) => parseHead(head, shape));
  const text = new TextStream(model.tokenizer);
  let begun = tokens.length < LONG;
  const onLayer = (layer: number): void => {
    if (!begun) progressTo(emit)(layer, model.config.n_layers, "reading the prompt, layers");
    begun ||= layer === model.config.n_layers - 1;
  };
  const result = await generate(model, {
    tokens,
    ...(maxTokens === undefined ? {} : { maxTokens }),
    ...(temperature === undefined ? {} : { temperature }),
    ...(seed === undefined ? {} : { seed }),
    ...(mask ? { mask, prefill: prefill ?? "masked" } : {}),
    interventions: [...zeroHeads(heads), ...parseInterventions(interventions)],
    forward: { onLayer },
    onToken: (id, _, probability) => void emit({ event: "token", id, text: text.push(id), probability: probability() }),
    signal,
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
