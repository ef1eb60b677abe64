import { z } from "zod";
import { UNBOUNDED } from "../../common/api/fields.ts";
import { type GenerateResult, generateRequest } from "../../common/api/generation.ts";
import { HeadscopeError } from "../../common/errors.ts";
import { parseHead } from "../../common/heads/head.ts";
import { checkModel, headModel } from "../../common/heads/model.ts";
import { parseInterventions } from "../../hooks/intervention-schema.ts";
import { zeroHeads } from "../../hooks/interventions.ts";
import { type Generation, generate, PART } from "../../inference/generate.ts";
import { ownStops } from "../../inference/stop-rule.ts";
import type { Model } from "../../models/model.ts";
import { requireTokenizer } from "../../models/tokens.ts";
import { handler } from "../handler.ts";
import { LONG_PROMPT } from "../prompt-runs.ts";
import { promptInputIds, tokenTexts } from "../prompts.ts";
import { pacingOf, session } from "../session.ts";

const payload = generateRequest(UNBOUNDED, z.unknown());
type GenerateRequest = z.output<typeof payload>;

/** Continues a prompt; every token is told of as it comes. */
export const request = handler({
  payload,
  async run(request, context): Promise<GenerateResult> {
    const { emit } = context;
    const { signal, turn, progress } = pacingOf(context);
    const model = await session.models.open(request.model, signal);
    const { maxTokens, temperature, seed, mask, prefill, chat, ablate = [], stop = [], interventions = [] } = request;
    const shape = headModel(model);
    if (mask) checkModel(mask, shape, "the mask");
    const tokens = promptInputIds(model, chat ? inChat(model, request) : request);
    const heads = ablate.map((head) => parseHead(head, shape));
    const { n_layers } = model.config;
    const parts = Math.ceil(tokens.length / PART);
    let layers = tokens.length < LONG_PROMPT ? parts * n_layers : 0;
    const onLayer = (): void => {
      if (layers < parts * n_layers) progress(layers++, parts * n_layers, "reading the prompt, layers");
    };
    const result = await generate(model, {
      tokens,
      maxTokens,
      temperature,
      seed,
      stop: ownStops(model, stop),
      mask,
      prefill: mask && (prefill ?? "masked"),
      interventions: [...zeroHeads(heads), ...parseInterventions(interventions)],
      forward: { onLayer },
      onToken: (id, text, probability) => void emit({ event: "token", id, text, probability: probability() }),
      signal,
      turn,
    });
    return {
      ids: result.ids,
      tokens: shownTexts(model, result),
      text: result.text ?? result.ids.join(" "),
      stopped: result.stopped,
      promptTokens: result.promptTokens,
      cache: { bytes: result.cache.bytes, bytesFull: result.cache.bytesFull },
      prefillMs: result.prefillMs,
      decodeMsPerToken: result.decodeMsPerToken,
    };
  },
});

/** Each new token as text; of one that goes on in a stop text, what stands before it. */
function shownTexts(model: Model, { ids, text, stopped }: Generation): string[] {
  const texts = tokenTexts(model, ids);
  if (stopped.by !== "text" || ids.length === 0) return texts;
  const before = model.tokenizer!.decode(ids.slice(0, -1));
  return [...texts.slice(0, -1), text!.slice(before.length)];
}

/** Ids of a text as a user's message in the model's chat template. */
function inChat(model: Model, request: GenerateRequest): GenerateRequest {
  if (!("text" in request))
    throw new HeadscopeError("usage", "a chat needs a text", { remedy: "give `text`, or leave `chat` out" });
  const tokenizer = requireTokenizer(model);
  const turn = tokenizer.chat([{ role: "user", content: request.text }], { addGenerationPrompt: true });
  return { model: request.model, tokens: tokenizer.encode(turn, { prependBos: false }) };
}
