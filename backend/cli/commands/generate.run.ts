import { z } from "zod";
import type { Stopped } from "../../common/api/generation.ts";
import { type SamplingName, samplingOf } from "../../common/api/sampling.ts";
import { parseParameters, readPairs } from "../../common/definitions/definition.ts";
import { HeadscopeError } from "../../common/errors.ts";
import { checkModel, headModel } from "../../common/heads/model.ts";
import { counted } from "../../common/text.ts";
import { PREFILLS, type Prefill } from "../../common/words.ts";
import { readMask } from "../../heads/files.ts";
import { parseHeads } from "../../heads/refs.ts";
import type { Intervention } from "../../hooks/intervention-schema.ts";
import { zeroHeads } from "../../hooks/interventions.ts";
import { checkSavable, loadCache, saveCache } from "../../inference/cache-file.ts";
import type { ContextAwareOptions } from "../../inference/decoding/context-aware.ts";
import { checkSampling } from "../../inference/decoding/sampling.ts";
import { checkSpeculative, type SpeculativeOptions } from "../../inference/decoding/speculative.ts";
import {
  type GenerateBatchOptions,
  type GenerateOptions,
  generate,
  generateBatch,
  readPrefix,
} from "../../inference/generate.ts";
import type { Generation } from "../../inference/generation.ts";
import { choosePolicies, type PolicyChoice, type UsedPolicy } from "../../inference/policies/choice.ts";
import { policies as registered } from "../../inference/policies/index.ts";
import { checkSuits } from "../../inference/policies/suits.ts";
import type { Prefix } from "../../inference/prefix.ts";
import { checkContext } from "../../inference/run/checks.ts";
import { ownStops, type Stop } from "../../inference/stop-rule.ts";
import { inspectModel } from "../../models/load.ts";
import type { Model } from "../../models/model.ts";
import type { ModelDescription } from "../../models/sources/source.ts";
import { requireTokenizer } from "../../models/tokens.ts";
import { output } from "../../setup/terminal.mjs";
import type { Context } from "../context.ts";
import { readInterventions } from "../inputs/case-files.ts";
import { policiesOf } from "../inputs/policies.ts";
import { type TokenizedModel, textOfFile, tokensOf } from "../inputs/tokens.ts";
import { descriptionOf, withModel } from "../model.ts";
import type { InferenceOptions, ModelOptions, TokenOptions } from "../options.ts";
import { bytes, dim, duration } from "../text/format.ts";

interface GenerateCommandOptions
  extends ModelOptions,
    Omit<TokenOptions, "text">,
    InferenceOptions,
    Partial<Record<SamplingName, number>> {
  text?: string[];
  textFile?: string;
  chat?: boolean;
  maxTokens: number;
  temperature: number;
  seed: number;
  mask?: string;
  policy?: string[];
  ablate?: string;
  stop?: Stop[];
  interventions?: string;
  param?: string[];
  saveCache?: string;
  fromCache?: string;
  without?: string[];
  alpha?: number;
  draftMask?: string;
  draftTokens?: number;
  withLogits?: boolean;
}

/** Most tokens that a tokenizer puts around a text. */
const BEGINNING = 2;

/** Continues texts or rows of token ids. */
export async function continueText(context: Context, given: GenerateCommandOptions): Promise<void> {
  const options = await withTextFile(given);
  const policies = policiesOf(options);
  const policyChoice = await choosePolicies(policies);
  const { used, form } = policyChoice;
  if (options.saveCache !== undefined) checkSavable(form?.policy.form?.(form.params, form.prepared));
  checkSampling(options);
  const parameters = await readParameters(options.policy ? [] : (options.param ?? []));
  const mask = options.mask === undefined ? undefined : await readMask(options.mask);
  const speculative = await draftOf(options);
  checkSpeculative({ mask, policies, speculative });
  checkWithout(options);
  const described = await descriptionOf(options);
  if (mask !== undefined) checkModel(mask, headModel(described), `mask ${options.mask}`);
  if (speculative) checkModel(speculative.mask, headModel(described), `mask ${options.draftMask}`);
  checkSuits(described, policyChoice);
  await checkLengths(described, options, policyChoice);
  await withModel(context, options, async (model) => {
    const { maxTokens, temperature, seed, cache, activations } = options;
    const run = {
      ...{ mask, prefill: mask && parameters.prefill, policies, cache, activations },
      interventions: await changesOf(model, options),
      signal: context.signal,
    };
    const stop = ownStops(model, options.stop);
    const choice = { maxTokens, temperature, seed, stop, ...samplingOf(options) };
    const { prompts, prefix, readMs } = await beginningsOf(model, options, run);
    try {
      // A prompt that is saved has been read, and its tokens chosen.
      const open = options.saveCache === undefined ? policies : policies.filter((_, i) => goesOn(used[i]!));
      const generation = { ...run, policies: open, ...choice, speculative, prefix };
      const contexts = await contextsOf(model, options, prompts.length);
      const each = prompts.map((tokens, i) => ({ tokens, contextAware: contexts[i] }));
      if (prompts.length > 1) await continueSeveral(context, model, { ...generation, prompts: each }, options);
      else await continueOne(context, model, { ...generation, ...each[0], readMs, used }, options);
    } finally {
      prefix?.dispose();
    }
  });
}

/** The options with the text of a file as if --text had given it. @throws as `textOfFile` */
async function withTextFile(options: GenerateCommandOptions): Promise<GenerateCommandOptions> {
  const { textFile, text, tokensFile } = options;
  const content = await textOfFile(textFile, { "--text": text, "--tokens-file": tokensFile });
  return content === undefined ? options : { ...options, text: [content] };
}

/**
 * Insists that prompts fit the context before a model is loaded, where they don't follow a saved one. Its tokenizer is read only
 * where a text might be too long: no token has less than a byte.
 * @throws HeadscopeError (input) with the numbers
 */
async function checkLengths(
  described: ModelDescription,
  options: GenerateCommandOptions,
  choice: PolicyChoice,
): Promise<void> {
  const { model, maxTokens, text = [], tokensFile, fromCache } = options;
  if (fromCache !== undefined) return;
  const most = Math.max(0, ...text.map((each) => Buffer.byteLength(each)));
  if (tokensFile === undefined && !options.chat && most + BEGINNING + maxTokens <= described.config.n_ctx) return;
  const noTokenizer = { tokenizer: undefined, tokenizerFault: undefined };
  const inspected = tokensFile === undefined ? await inspectModel(model) : { ...described, ...noTokenizer };
  for (const prompt of await promptsOf(inspected, options))
    checkContext(inspected, { number: 0, prompt, maxTokens, all: [] }, { choice });
}

/** The draft that is asked for. @throws HeadscopeError (usage) for tokens without a mask, and a file that is none */
async function draftOf({
  draftMask,
  draftTokens: tokens,
}: GenerateCommandOptions): Promise<SpeculativeOptions | undefined> {
  if (draftMask !== undefined) return { mask: await readMask(draftMask), tokens };
  if (tokens === undefined) return undefined;
  throw new HeadscopeError("usage", "--draft-tokens needs a draft", { remedy: "give --draft-mask" });
}

/** @throws HeadscopeError (usage) for a weight of nothing, and prompts that have no text to leave the context out of */
function checkWithout({ without, alpha, text = [], ...others }: GenerateCommandOptions): void {
  const refuse = (what: string, remedy: string) => new HeadscopeError("usage", what, { remedy });
  if (without === undefined) {
    if (alpha !== undefined) throw refuse("--alpha weighs a prompt without its context", "give --without");
    return;
  }
  const { fromCache, saveCache, draftMask } = others;
  if (fromCache !== undefined || saveCache !== undefined || draftMask !== undefined)
    throw refuse(
      "--without is for whole texts, each read twice",
      "leave --from-cache, --save-cache and --draft-mask out",
    );
  if (text.length === 0 || (without.length > 1 && without.length !== text.length))
    throw refuse(
      `--without stands ${without.length} times, for ${counted(text.length, "text")}`,
      "give it once, or once for each --text",
    );
}

/** By prompt, itself without its context. */
async function contextsOf(
  model: Model,
  { without, alpha, ...options }: GenerateCommandOptions,
  prompts: number,
): Promise<(ContextAwareOptions | undefined)[]> {
  if (without === undefined) return [];
  const ids = await promptsOf(model, { ...options, text: without });
  return Array.from({ length: prompts }, (_, i) => ({ without: ids[ids.length > 1 ? i : 0]!, alpha }));
}

/** Options that all prompts have in common. */
type Common = Pick<
  GenerateOptions,
  "mask" | "prefill" | "policies" | "cache" | "activations" | "interventions" | "signal"
>;

/** Prompts, and what is read before them. */
interface Beginnings {
  readonly prompts: number[][];
  readonly prefix?: Prefix;
  /** Of a prompt that was read to be saved. */
  readonly readMs: number;
}

/** The prompts, behind what a file holds; a single one is read and saved where that is asked for. */
async function beginningsOf(model: Model, options: GenerateCommandOptions, run: Common): Promise<Beginnings> {
  const { fromCache, saveCache: file } = options;
  const held = fromCache === undefined ? undefined : await loadCache(fromCache, model);
  try {
    const prompts = await promptsOf(model, options);
    if (file === undefined) return { prompts, ...(held ? { prefix: held } : {}), readMs: 0 };
    if (prompts.length > 1)
      throw new HeadscopeError("usage", `--save-cache keeps one prompt, and there are ${prompts.length}`, {
        remedy: "save what they begin with, then continue it with --from-cache",
      });
    const began = performance.now();
    const prefix = await readPrefix(model, { ...run, prefix: held, tokens: prompts[0]! });
    const readMs = performance.now() - began;
    held?.dispose();
    await saveCache(file, prefix);
    return { prompts: [[]], prefix, readMs };
  } catch (error) {
    held?.dispose();
    throw error;
  }
}

/** Continues one prompt; on a terminal the text shows as it comes. */
async function continueOne(
  context: Context,
  model: Model,
  { readMs, used, ...options }: GenerateOptions & Pick<Beginnings, "readMs"> & Pick<PolicyChoice, "used">,
  { withLogits }: GenerateCommandOptions,
): Promise<void> {
  const types = !context.json && output.isTTY;
  let [done, typed] = [0, ""];
  const result = await generate(model, {
    ...options,
    onToken: (_, text) => {
      if (types) void output.write(text);
      else context.progress(++done, options.maxTokens!, "new tokens");
      typed += text;
    },
  });
  result.prefillMs += readMs;
  if (used.length > 0) result.policies = used;
  const text = result.text ?? result.ids.join(" ");
  await context.print(documentOf(result, withLogits === true), () =>
    // On a terminal all but what was held back at the end stands there already.
    [types ? text.slice(typed.length) : text, "", factsOf(result, model)].join("\n"),
  );
}

/** Continues several prompts together. */
async function continueSeveral(
  context: Context,
  model: Model,
  { prompts, ...options }: GenerateBatchOptions,
  { withLogits }: GenerateCommandOptions,
): Promise<void> {
  let done = 0;
  const results = await generateBatch(model, {
    ...options,
    prompts,
    onToken: () => context.progress(++done, prompts.length * options.maxTokens!, "new tokens"),
  });
  await context.print(
    results.map((result) => documentOf(result, withLogits === true)),
    () =>
      results
        .map((result, row) =>
          [`Prompt ${row + 1}: ${result.text ?? result.ids.join(" ")}`, factsOf(result, model)].join("\n"),
        )
        .join("\n\n"),
  );
}

/** Heads taken out, then the interventions of a file. */
async function changesOf(model: Model, { ablate, interventions }: GenerateCommandOptions): Promise<Intervention[]> {
  const heads = ablate === undefined ? [] : await parseHeads(ablate, headModel(model));
  return [...zeroHeads(heads), ...(interventions === undefined ? [] : await readInterventions(interventions))];
}

/** True of a policy that acts on new tokens behind a prompt that was read under it. */
function goesOn({ name, params }: UsedPolicy): boolean {
  const policy = registered.get(name);
  if (policy.chooses === "form") return policy.condense !== undefined;
  return policy.chooses === "heads" || policy.chooses === "reads" || params.when === "decode";
}

/** The parameters of a generation with a mask. @throws HeadscopeError `usage` */
async function readParameters(pairs: readonly string[]): Promise<{ prefill: Prefill }> {
  const schema = z.object({
    prefill: z.enum(PREFILLS).default("masked").describe("whether the mask holds during the prompt, or only after it"),
  });
  return parseParameters("generate", schema, readPairs(pairs));
}

/** Token ids of each prompt; behind a saved beginning there may be none. */
async function promptsOf(model: TokenizedModel, options: GenerateCommandOptions): Promise<number[][]> {
  const { text: texts = [], chat, tokensFile, fromCache } = options;
  if (chat) {
    if (texts.length === 0)
      throw new HeadscopeError("usage", "--chat needs a text", { remedy: "give --text or --text-file" });
    const tokenizer = requireTokenizer(model, { remedy: "give token ids with --tokens-file" });
    const turn = (content: string) => tokenizer.chat([{ role: "user", content }], { addGenerationPrompt: true });
    return texts.map((text) => tokenizer.encode(turn(text), { prependBos: false }));
  }
  if (fromCache !== undefined && texts.length === 0 && tokensFile === undefined) return [[]];
  // What stands in the middle of a text has no BOS before it.
  const prependBos = options.prependBos ?? (fromCache === undefined || texts.length === 0 ? undefined : false);
  const common: TokenOptions = {
    ...(tokensFile === undefined ? {} : { tokensFile }),
    ...(prependBos === undefined ? {} : { prependBos }),
  };
  const each = texts.length === 0 ? [common] : texts.map((text) => ({ ...common, text }));
  return (await Promise.all(each.map((one) => tokensOf(model, one)))).flat();
}

/** Document of `headscope generate --json`; of several prompts there is a list. */
function documentOf(result: Generation, withLogits: boolean): Record<string, unknown> {
  const { text, ids, stopped, cache, policies, activations, speculative, contextAware, promptTokens, logits } = result;
  const { prefill, prefillMs, decodeMsPerToken } = result;
  return {
    text,
    ids,
    stopped,
    cache,
    policies,
    activations,
    speculative,
    contextAware,
    promptTokens,
    prefill,
    prefillMs,
    decodeMsPerToken,
    logits: withLogits ? Array.from(logits.subarray(0, 8)) : undefined,
  };
}

function factsOf(result: Generation, { tokenizer }: Model): string {
  const { cache, promptTokens, ids, stopped, prefillMs, decodeMsPerToken, speculative } = result;
  const share = cache.bytes === cache.bytesFull ? "" : ` of ${bytes(cache.bytesFull)} with everything kept`;
  const kind = cache.kind === undefined ? "" : ` in ${cache.kind}`;
  const drafts = speculative
    ? `, ${speculative.accepted} of ${counted(speculative.drafted, "drafted token")} taken, draft's cache ${bytes(speculative.bytes)}`
    : "";
  return dim(
    `${counted(promptTokens, "prompt token")} in ${duration(prefillMs)}, ${counted(ids.length, "new token")} at ${duration(decodeMsPerToken)} each, ${endOf(stopped, tokenizer)}, KV cache ${bytes(cache.bytes)}${kind}${share}${drafts}`,
  );
}

function endOf(stopped: Stopped, tokenizer: Model["tokenizer"]): string {
  if (stopped.by === "limit") return "as many as were asked for";
  if (stopped.by === "text") return `ended by ${JSON.stringify(stopped.text)}`;
  return `ended by token ${stopped.id}${tokenizer ? ` ${JSON.stringify(tokenizer.token(stopped.id))}` : ""}`;
}
