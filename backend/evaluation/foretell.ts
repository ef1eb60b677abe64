import { logSumExp } from "../common/numerics/softmax.ts";
import { likeliest } from "../inference/decoding/sampling.ts";
import { Forwards } from "../inference/forwards.ts";
import { type Generation, heldBy } from "../inference/generation.ts";
import { choosePolicies } from "../inference/policies/choice.ts";
import type { Prefix } from "../inference/prefix.ts";
import { readPrompts } from "../inference/reading.ts";
import type { RunOptions } from "../inference/run/options.ts";
import type { KvCache } from "../models/cache/kv-cache.ts";
import type { Model } from "../models/model.ts";

/** Options of `foretell`. */
export interface ForetellOptions extends Pick<RunOptions, "mask" | "prefill" | "policies" | "cache" | "signal"> {
  /** Prompt before the text, of which a prefix holds the first tokens. */
  readonly tokens: readonly number[];
  readonly prefix?: Prefix | undefined;
  /** Stands between the two, and is run as the text is; at least one token. */
  readonly lead: readonly number[];
  /** The text, at least one token. */
  readonly scored: readonly number[];
}

/** A model's foresight of a text. */
export interface Foretold {
  /** Likeliest token at each place of the text. */
  readonly likeliest: number[];
  /** Mean negative log-likelihood of the text's tokens, in nats. */
  readonly loss: number;
  /** Memory at the end. */
  readonly cache: Generation["cache"];
  /** Until what is before the lead was read, or what a prefix lacked of that. */
  readonly prefillMs: number;
}

/**
 * Runs a given text behind a prompt as if it were generated, on what policies have left of that.
 * @throws HeadscopeError as `generate` does
 */
export async function foretell(model: Model, options: ForetellOptions): Promise<Foretold> {
  const { tokens, prefix, lead, scored, policies = [], mask, prefill, cache: kind, signal } = options;
  const choice = await choosePolicies(policies);
  const heads = choice.heads ? { mask: choice.heads.mask, prefill: choice.heads.prefill } : { mask, prefill };
  const sequence = { number: 0, prompt: tokens, maxTokens: lead.length + scored.length, all: [] };
  const began = performance.now();
  const forwards = new Forwards(model, [sequence], { ...heads, cache: kind, signal, prefix, choice });
  let cache: KvCache | undefined;
  try {
    const [read] = await readPrompts(forwards, [sequence], prefix?.logits);
    cache = forwards.cut(read!.cache);
    await forwards.policies.condense([sequence], cache, forwards.turn);
    const prefillMs = performance.now() - began;
    const before = [...lead, ...scored.slice(0, -1)]; // the last token foretells nothing that is scored
    const logits = (await forwards.follow(sequence, cache, before)).slice(lead.length - 1);
    const loss = scored.reduce((sum, id, i) => sum + lossOf(logits[i]!, id), 0) / scored.length;
    return { likeliest: logits.map(likeliest), loss, cache: heldBy(forwards, [sequence], cache, [0]), prefillMs };
  } finally {
    cache?.dispose();
    forwards.dispose();
  }
}

/** Negative log-likelihood of a token, in nats. @param logits [d_vocab] */
function lossOf(logits: Float32Array, id: number): number {
  return logSumExp(logits) - logits[id]!;
}
