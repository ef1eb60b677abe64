import { SAMPLING_RULES } from "../common/api/sampling.ts";
import { HeadscopeError } from "../common/errors.ts";
import { ANYTHING, checkOptions, FUNCTION, type Rules, real, whole } from "../common/options.ts";
import type { ForwardResult } from "../models/forward/types.ts";
import type { Model } from "../models/model.ts";
import { checkRow, requireTokenizer } from "../models/tokens.ts";
import { type ChoiceOptions, Continuation, type TokenListener } from "./continuation.ts";
import { checkContextAware } from "./decoding/context-aware.ts";
import { Forwards } from "./forwards.ts";
import { continueAll, type Generation } from "./generation.ts";
import { choosePolicies, refuseTwoMasks } from "./policies/choice.ts";
import { Prefix } from "./prefix.ts";
import { readPrompts } from "./reading.ts";
import { checkLeaves } from "./run/checks.ts";
import { type CheckedRun, RUN_OPTIONS, type RunOptions, type StepListener } from "./run/options.ts";

/** A prompt: token ids or, for models with a tokenizer, a text. Behind a prefix neither is needed. */
interface PromptOptions {
  tokens?: readonly number[] | undefined;
  text?: string | undefined;
}

/** A prompt of several, and what is its own of the choice of its tokens. */
export interface BatchPrompt extends PromptOptions, ChoiceOptions {}

/** Options of `generate`. */
export interface GenerateOptions extends PromptOptions, ChoiceOptions, RunOptions {
  /**
   * Token ids that an answer begins with: run behind the prompt as new tokens are, on what policies have left of it, and no part
   * of the result; `logits` are then of what follows them. Default none.
   */
  lead?: readonly number[] | undefined;
  /** Sees every forward's result before it is freed: step 0 is the prompt. */
  onStep?: ((result: ForwardResult, step: number) => void) | undefined;
  /**
   * Called with every new token and the text that is certain with it, which lags behind where a character lacks bytes or a
   * stop text may have begun; `probability` works out how likely the model held the token (before the temperature).
   */
  onToken?: TokenListener | undefined;
}

/** Options of `generateBatch`. */
export interface GenerateBatchOptions extends ChoiceOptions, RunOptions {
  /** Each with its own choice of tokens, which goes before that for all. */
  prompts: readonly BatchPrompt[];
  /** As `generate` has it, with the number of the prompt, from 0. */
  onToken?: ((prompt: number, ...token: Parameters<TokenListener>) => void) | undefined;
  /** As `generate` has it: of step 0 there is a result for each prompt, later results have a row for each that goes on. */
  onStep?: StepListener | undefined;
}

/** Options of `readPrefix`. */
export type ReadPrefixOptions = PromptOptions &
  Pick<
    RunOptions,
    "mask" | "prefill" | "policies" | "interventions" | "cache" | "activations" | "prefix" | "signal" | "turn"
  >;

const PROMPT: Rules<PromptOptions> = {
  tokens: {
    wants: "one row of token ids",
    fits: (ids) => ArrayBuffer.isView(ids) || (Array.isArray(ids) && ids.every((id) => typeof id === "number")),
  },
  text: { wants: "a text", fits: (text) => typeof text === "string" },
};

const CHOICE: Rules<ChoiceOptions> = {
  maxTokens: whole(1),
  temperature: real(0),
  ...SAMPLING_RULES,
  seed: whole(0),
  contextAware: {
    wants: "an object with the prompt `without` its context",
    fits: (options) => typeof options === "object",
  },
  stop: {
    wants: "a list of token ids and texts",
    fits: (stops) => Array.isArray(stops) && stops.every((stop) => typeof stop === "string" || Number.isInteger(stop)),
  },
};

const LISTENERS = { onStep: FUNCTION, onToken: FUNCTION };
const OPTIONS: Rules<GenerateOptions> = { ...PROMPT, lead: PROMPT.tokens, ...CHOICE, ...RUN_OPTIONS, ...LISTENERS };
const BATCH: Rules<GenerateBatchOptions> = { prompts: ANYTHING, ...CHOICE, ...RUN_OPTIONS, ...LISTENERS };
const BATCH_PROMPT: Rules<BatchPrompt> = { ...PROMPT, ...CHOICE };
const { useCache: _, sources: __, forward: ___, speculative: ____, keep: _____, ...OF_READING } = RUN_OPTIONS;
const PREFIX: Rules<ReadPrefixOptions> = { ...PROMPT, ...OF_READING };

/**
 * Continues a prompt with keys and values cached: all of them for full heads, sink and recent ones for streaming heads.
 * @throws HeadscopeError for options that do not exist or do not fit, a prompt that does not fit, a mask of another shape, text
 * without a tokenizer, and logits that are no numbers, with the place where they arose
 */
export async function generate(model: Model, options: GenerateOptions): Promise<Generation> {
  checkOptions("generate", options, OPTIONS);
  const { tokens, text, lead, onStep, onToken, ...rest } = options;
  checkContextAware(options.contextAware, options);
  if (lead?.length) checkLead(model, lead, options);
  const prompt = promptIds(model, options, "the prompt");
  const without = withoutContext(model, options, 1);
  const continuation = new Continuation(model, { number: 0, prompt, lead, without, ...rest }, onToken);
  const [only] = await continueAll(model, [continuation], await checked(rest), onStep);
  return only!;
}

/**
 * Continues several prompts together: each is read by itself, beginnings that they share once; then a token of each goes through the
 * model at a time, and those that end leave. Each gets the tokens that it gets alone.
 * @returns in the order of the prompts
 * @throws as `generate` does; HeadscopeError (usage) for interventions that depend on the rows or the tokens of a run
 */
export async function generateBatch(model: Model, options: GenerateBatchOptions): Promise<Generation[]> {
  checkOptions("generateBatch", options, BATCH, ["prompts"]);
  const { prompts, onStep, onToken, ...rest } = options;
  if (!Array.isArray(prompts) || prompts.length === 0)
    throw new HeadscopeError("usage", "generateBatch: there are no prompts", {
      remedy: "give a list such as [{ text }, { tokens }]",
      field: "prompts",
    });
  const continuations = prompts.map((own: BatchPrompt, number) => {
    checkOptions(`prompt ${number} of generateBatch`, own, BATCH_PROMPT);
    const prompt = promptIds(model, { ...own, prefix: rest.prefix }, `prompt ${number}`);
    const choice = { ...rest, ...definedOnly(own) };
    checkContextAware(choice.contextAware, { ...rest, onStep });
    const without = withoutContext(model, choice, prompts.length + number);
    const tell = onToken && ((...token: Parameters<TokenListener>) => onToken(number, ...token));
    return new Continuation(model, { number, prompt, without, ...choice }, tell);
  });
  return continueAll(model, continuations, await checked(rest), onStep);
}

/**
 * Reads a text that is to be the beginning of several prompts, whether in one call or in many: nothing of it is computed again.
 * @returns a prefix of the caller's
 * @throws as `generate` does
 */
export async function readPrefix(model: Model, options: ReadPrefixOptions): Promise<Prefix> {
  checkOptions("readPrefix", options, PREFIX);
  const { tokens, text, ...rest } = options;
  const prompt = promptIds(model, options, "the prefix");
  const sequence = { number: 0, prompt, maxTokens: model.config.n_ctx - prompt.length, all: [] };
  const run = await checked(rest);
  checkLeaves(run);
  const forwards = new Forwards(model, [sequence], run);
  try {
    const [read] = await readPrompts(forwards, [sequence], options.prefix?.logits);
    const { logits } = read!;
    // What is cut later is put into codes then.
    const cache = forwards.cutsLater && !forwards.cutsOnce ? read!.cache : forwards.cut(read!.cache);
    return new Prefix(model, {
      tokens: prompt,
      cache,
      logits,
      changes: forwards.changes,
      known: forwards.policies.known(sequence),
      learnt: forwards.policies.learnt(sequence),
      ...forwards.policies.prefill(0),
    });
  } finally {
    forwards.dispose();
  }
}

/** Options with their policies checked. @throws HeadscopeError (usage) for a mask beside a policy that chooses heads */
async function checked({ policies = [], ...options }: RunOptions): Promise<CheckedRun> {
  const choice = await choosePolicies(policies);
  if (!choice.heads) return { ...options, choice };
  refuseTwoMasks(options.mask, choice);
  const { mask, prefill } = choice.heads;
  return { ...options, mask, prefill, choice };
}

/** Token ids of a prompt, behind those of a prefix. @throws HeadscopeError for both tokens and text, or neither where there is no prefix */
function promptIds(
  model: Model,
  { tokens, text, prefix }: PromptOptions & Pick<RunOptions, "prefix">,
  label: string,
): readonly number[] {
  const given = Number(tokens !== undefined) + Number(text !== undefined);
  if (given > 1 || (given === 0 && !prefix))
    throw new HeadscopeError("usage", "a generation starts from either tokens or a text", {
      remedy: "give one of them",
    });
  const encode = (text: string): number[] =>
    requireTokenizer(model, { remedy: "give token ids instead of a text" }).encode(
      text,
      prefix ? { prependBos: false } : {},
    );
  const ids = [...(prefix?.tokens ?? []), ...(tokens ?? (text === undefined ? [] : encode(text)))];
  checkRow(ids, label, model);
  return ids;
}

/** Insists that new tokens can stand behind a lead. @throws HeadscopeError (usage) for what reads more than one sequence, or caches nothing */
function checkLead(
  model: Model,
  lead: readonly number[],
  { contextAware, speculative, useCache = true }: Pick<GenerateOptions, "contextAware" | "speculative" | "useCache">,
): void {
  checkRow(lead, "the lead", model);
  const beside = contextAware ? "contextAware" : speculative ? "speculative" : useCache ? undefined : "useCache";
  if (beside === undefined) return;
  throw new HeadscopeError(
    "usage",
    `a lead can't go together with ${beside === "useCache" ? "useCache: false" : beside}`,
    {
      remedy: "leave one of them out, or end the prompt with the lead",
      field: ["lead", beside],
    },
  );
}

/** The prompt without its context, where that is asked for. @param number its own among all that are run together */
function withoutContext(
  model: Model,
  { contextAware }: ChoiceOptions,
  number: number,
): { number: number; prompt: readonly number[] } | undefined {
  if (!contextAware) return undefined;
  const { without } = contextAware;
  const prompt = typeof without === "string" ? { text: without } : { tokens: without };
  return { number, prompt: promptIds(model, prompt, "the prompt without its context") };
}

/** Options without those that are undefined, so that they can go before others. */
function definedOnly<T extends object>(options: T): Partial<T> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Partial<T>;
}
