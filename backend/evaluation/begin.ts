import type { CacheKind, EvaluationMode } from "../common/words.ts";
import { readPrefix } from "../inference/generate.ts";
import { type PolicyChoice, type PolicyRequest, pruningOf } from "../inference/policies/choice.ts";
import { policies as registered } from "../inference/policies/index.ts";
import { Prefix } from "../inference/prefix.ts";
import type { RunOptions } from "../inference/run/options.ts";
import type { Model } from "../models/model.ts";
import type { PlannedPoint } from "./plan.ts";
import type { SharedRead } from "./shared-read.ts";

/** A prompt under a policy, and the way on from it. */
export interface Beginning {
  /** The first prompt as the policy leaves it; absent where it is read with the answer. */
  readonly prefix?: Prefix;
  /** The context as it was cut for the first question, for others behind it; absent where these are none. */
  readonly context?: Prefix;
  /** Options of what goes on. */
  readonly run: Pick<RunOptions, "mask" | "prefill" | "policies" | "cache">;
  /** Milliseconds until the first prompt was read; 0 where it is still to be. */
  readonly ms: number;
  /** True where one read serves others too: then what is held is cut by now. */
  readonly shared: boolean;
}

/** The first prompt of a case, and what is to come behind it. */
export interface FirstPrompt {
  readonly context: readonly number[];
  /** Context and question. */
  readonly tokens: readonly number[];
  readonly mode: EvaluationMode;
  readonly cache: CacheKind;
  readonly signal?: AbortSignal | undefined;
}

/** Begins from a prompt that was read for several policies. The context alone is cut where requests ask for it. */
export function beginShared(read: SharedRead, { choice }: PlannedPoint, { context, mode }: FirstPrompt): Beginning {
  const { prefix, ms } = read.cut(choice);
  const going = choice.reads ? [{ name: choice.reads.policy, params: choice.reads.params }] : [];
  const windows = choice.heads && !choice.heads.once ? { mask: choice.heads.mask, prefill: "masked" as const } : {};
  try {
    const more = mode === "requests" ? { context: read.cut(choice, { upTo: context.length }).prefix } : {};
    return { prefix, ...more, run: { ...windows, policies: going }, ms: read.ms + ms, shared: true };
  } catch (error) {
    prefix.dispose();
    throw error;
  }
}

/**
 * Begins with a read of the policy's own. Tokens that wait before layers do not outlive a run: for a single question such a policy reads
 * with the answer, and again for the loss.
 */
export async function beginAlone(model: Model, point: PlannedPoint, prompt: FirstPrompt): Promise<Beginning> {
  const { tokens, mode, cache, signal } = prompt;
  const { requests: policies } = point;
  if (mode === "single" && pruningOf(point.choice)) return { run: { policies, cache }, ms: 0, shared: false };
  const began = performance.now();
  const prefix = await readPrefix(model, { tokens, policies, cache, signal });
  const ms = performance.now() - began;
  const run = { policies: policies.filter((one) => goesOn(one, point.choice)) };
  if (mode !== "requests") return { prefix, run, ms, shared: false };
  try {
    return { prefix, context: await contextOf(model, point, { ...prompt, read: prefix }), run, ms, shared: false };
  } catch (error) {
    prefix.dispose();
    throw error;
  }
}

/** The context as the first prompt has left it; where heads slide their windows, as it is without a question behind it. */
async function contextOf(
  model: Model,
  { choice, requests: policies }: PlannedPoint,
  { context, cache, signal, read }: FirstPrompt & { read: Prefix },
): Promise<Prefix> {
  if (choice.heads && !choice.heads.once) return readPrefix(model, { tokens: context, policies, cache, signal });
  const fork = read.cache.fork();
  try {
    const tokens = context.slice(0, read.tokens.length);
    fork.truncate(tokens.length);
    return new Prefix(model, { tokens, cache: fork, logits: read.logits, changes: read.changes });
  } catch (error) {
    fork.dispose();
    throw error;
  }
}

/** Tells whether a policy has more to do once a prompt is read. */
function goesOn({ name }: PolicyRequest, { tokens, form }: PolicyChoice): boolean {
  const { chooses } = typeof name === "string" ? registered.get(name) : name;
  if (chooses === "tokens") return tokens?.params.when === "decode";
  if (chooses === "form") return form?.policy.channels === undefined;
  return chooses !== "inputs";
}
