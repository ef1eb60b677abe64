import { likeliest } from "../inference/decoding/sampling.ts";
import { Forwards } from "../inference/forwards.ts";
import { choosePolicies, pruningOf } from "../inference/policies/choice.ts";
import type { Prefix } from "../inference/prefix.ts";
import { readPrompts } from "../inference/reading.ts";
import type { RunOptions } from "../inference/run/options.ts";
import type { KvCache } from "../models/cache/kv-cache.ts";
import type { Model } from "../models/model.ts";

/** Tokens of a text that go through a model together. */
const TOGETHER = 64;

/** Options of `foretell`. */
export interface ForetellOptions extends Pick<RunOptions, "mask" | "prefill" | "policies" | "cache" | "signal"> {
  /** Tokens before the text, of which a prefix holds the first. */
  readonly tokens: readonly number[];
  readonly prefix?: Prefix | undefined;
  /** The text, at least one token. */
  readonly scored: readonly number[];
}

/** A model's foresight of a text. */
export interface Foretold {
  /** Likeliest token at each place of the text. */
  readonly likeliest: number[];
  /** Mean negative log-likelihood of the text's tokens, in nats. */
  readonly loss: number;
  /** Holds the text and what was before it; the caller's. */
  readonly cache: KvCache;
  /** Until what is before the text was read. */
  readonly prefillMs: number;
  /** Share of that attention which was computed, where a policy chooses. */
  readonly prefillRead?: number | undefined;
}

/**
 * Runs a given text behind a prompt as if it were generated: under policies that choose at each step one token at a time.
 * @throws HeadscopeError as `generate` does
 */
export async function foretell(model: Model, options: ForetellOptions): Promise<Foretold> {
  const { tokens, prefix, scored, policies = [], mask, prefill, cache: kind, signal } = options;
  const choice = await choosePolicies(policies);
  const heads = choice.heads ? { mask: choice.heads.mask, prefill: choice.heads.prefill } : { mask, prefill };
  const sequence = { number: 0, prompt: tokens, maxTokens: scored.length, all: [] as number[] };
  const began = performance.now();
  const forwards = new Forwards(model, [sequence], { ...heads, cache: kind, signal, prefix, choice });
  let cache: KvCache | undefined;
  try {
    const [read] = await readPrompts(forwards, [sequence], prefix?.logits);
    const prefillMs = performance.now() - began;
    cache = forwards.cut(read!.cache);
    const logits = [read!.logits];
    const single = choice.reads || pruningOf(choice) || choice.tokens?.params.when === "decode";
    const size = single ? 1 : TOGETHER;
    const before = scored.slice(0, -1); // the last token foretells nothing that is scored
    for (let first = 0; first < before.length; first += size) {
      const part = before.slice(first, first + size);
      sequence.all.push(...part);
      logits.push(...forwards.steps([sequence], cache, [part])[0]!);
      await forwards.turn();
    }
    const loss = scored.reduce((sum, id, i) => sum + lossOf(logits[i]!, id), 0) / scored.length;
    return {
      likeliest: logits.map(likeliest),
      loss,
      cache,
      prefillMs,
      prefillRead: forwards.policies.prefill(0).prefill?.read,
    };
  } catch (error) {
    cache?.dispose();
    throw error;
  } finally {
    forwards.dispose();
  }
}

/** Negative log-likelihood of a token, in nats. @param logits [d_vocab] */
function lossOf(logits: Float32Array, id: number): number {
  const largest = logits[likeliest(logits)]!;
  let total = 0;
  for (const logit of logits) total += Math.exp(logit - largest);
  return largest + Math.log(total) - logits[id]!;
}
