import type { z } from "zod";
import type { GenerateResult, generateBatchRequest } from "../common/api/generation.ts";
import { samplingOf } from "../common/api/sampling.ts";
import { HeadscopeError } from "../common/errors.ts";
import { parseHead } from "../common/heads/head.ts";
import { checkModel, headModel } from "../common/heads/model.ts";
import { parseInterventions } from "../hooks/intervention-schema.ts";
import { zeroHeads } from "../hooks/interventions.ts";
import type { ChoiceOptions } from "../inference/continuation.ts";
import type { Generation } from "../inference/generation.ts";
import type { UsedPolicy } from "../inference/policies/choice.ts";
import { policies as registered } from "../inference/policies/index.ts";
import { PART, type RunOptions } from "../inference/run/options.ts";
import { ownStops } from "../inference/stop-rule.ts";
import type { Model } from "../models/model.ts";
import { requireTokenizer } from "../models/tokens.ts";
import { LONG_PROMPT, type Pacing } from "./prompt-runs.ts";
import { promptInputIds, tokenTexts } from "./prompts.ts";

/** The parts of a request that concern all of its prompts. */
type RunRequest = Omit<z.output<ReturnType<typeof generateBatchRequest<z.ZodType>>>, "model" | "prompts">;

/**
 * Options of a generation as a request asks for it; reading long prompts is told of as progress.
 * @param prompts token ids of each
 * @throws HeadscopeError for a mask of another model, heads and interventions that there are not
 */
export function runOptions(
  model: Model,
  request: RunRequest,
  prompts: readonly (readonly number[])[],
  { signal, turn, progress }: Required<Pacing>,
): ChoiceOptions & RunOptions {
  const { maxTokens, temperature, seed, stop = [], mask, prefill, cache, activations, speculative } = request;
  const { policies, ablate = [], interventions = [] } = request;
  const shape = headModel(model);
  if (mask) checkModel(mask, shape, "the mask");
  if (speculative) checkModel(speculative.mask, shape, "the draft's mask");
  const heads = ablate.map((head) => parseHead(head, shape));
  const parts = prompts.reduce((sum, { length }) => sum + Math.ceil(length / PART), 0);
  const all = parts * model.config.n_layers;
  const long = prompts.some(({ length }) => length >= LONG_PROMPT);
  let layers = long ? 0 : all;
  const onLayer = (): void => {
    if (layers < all) progress(layers++, all, "reading the prompt, layers");
  };
  return {
    ...{
      maxTokens,
      temperature,
      seed,
      ...samplingOf(request),
      ...contextOf(model, request),
      stop: ownStops(model, stop),
    },
    ...{ mask, prefill: mask && (prefill ?? "masked"), policies, cache, activations, speculative },
    interventions: [...zeroHeads(heads), ...parseInterventions(interventions)],
    forward: { onLayer },
    ...{ signal, turn },
  };
}

/** Context-aware decoding as a request asks for it, of ids. @throws HeadscopeError for a prompt that is none */
export function contextOf(
  model: Model,
  { chat, contextAware }: Pick<RunRequest, "chat" | "contextAware">,
): Pick<ChoiceOptions, "contextAware"> {
  if (!contextAware) return {};
  const { without, alpha } = contextAware;
  const prompt = typeof without === "string" ? { text: without } : { tokens: without };
  const ids = chat ? chatIds(model, prompt) : promptInputIds(model, { model: model.ref, ...prompt });
  return { contextAware: { without: ids, alpha } };
}

/** Ids of a text as a user's message in the model's chat template. @throws HeadscopeError `usage` for tokens */
export function chatIds(model: Model, prompt: { readonly text?: string } | { readonly tokens: unknown }): number[] {
  if (!("text" in prompt) || prompt.text === undefined)
    throw new HeadscopeError("usage", "a chat needs a text", { remedy: "give `text`, or leave `chat` out" });
  const tokenizer = requireTokenizer(model);
  const turn = tokenizer.chat([{ role: "user", content: prompt.text }], { addGenerationPrompt: true });
  return tokenizer.encode(turn, { prependBos: false });
}

/** A continuation as the API gives it. @param prompt its token ids */
export function resultOf(model: Model, generation: Generation, prompt: readonly number[]): GenerateResult {
  const { ids, text, stopped, promptTokens, cache, policies, activations, speculative, contextAware } = generation;
  const { prefill, prefillMs, decodeMsPerToken } = generation;
  const { bytes, bytesFull, kind } = cache;
  const keptByPosition = sharesOf(cache.kept, promptTokens);
  const held = { bytes, bytesFull, ...(kind ? { kind } : {}), ...(keptByPosition ? { keptByPosition } : {}) };
  return {
    ids,
    tokens: shownTexts(model, generation),
    text: text ?? ids.join(" "),
    ...{ stopped, promptTokens, cache: held },
    ...(keptByPosition ? { promptTexts: tokenTexts(model, prompt) } : {}),
    ...(policies ? { policies: policies.map(withoutFiles) } : {}),
    ...(prefill ? { prefill } : {}),
    ...(activations ? { activations } : {}),
    ...(speculative ? { speculative } : {}),
    ...(contextAware ? { contextAware } : {}),
    ...{ prefillMs, decodeMsPerToken },
  };
}

/**
 * The share of the KV heads of all layers that hold each position of a prompt, to three digits.
 * @param kept positions by layer and KV head
 * @returns undefined where all hold all
 */
function sharesOf(kept: Generation["cache"]["kept"], promptTokens: number): number[] | undefined {
  const heads = kept?.flat() ?? [];
  const holders = new Array<number>(promptTokens).fill(0);
  for (const position of heads.flat()) if (position < promptTokens) holders[position]!++;
  if (holders.every((count) => count === heads.length) || heads.length === 0) return undefined;
  return holders.map((count) => Math.round((1000 * count) / heads.length) / 1000);
}

/** A policy as it was used, without the names of files, which are the server's own affair. */
function withoutFiles({ name, params }: UsedPolicy): { name: string; params: Record<string, unknown> } {
  const files = new Set(registered.flags(name).flatMap((flag) => (flag.file === undefined ? [] : [flag.name])));
  return { name, params: Object.fromEntries(Object.entries(params).filter(([key]) => !files.has(key))) };
}

/** Each new token as text; of one that goes on in a stop text, what stands before it. */
function shownTexts(model: Model, { ids, text, stopped }: Generation): string[] {
  const texts = tokenTexts(model, ids);
  if (stopped.by !== "text" || ids.length === 0) return texts;
  const before = model.tokenizer!.decode(ids.slice(0, -1));
  return [...texts.slice(0, -1), text!.slice(before.length)];
}
