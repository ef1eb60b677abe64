import { HeadscopeError } from "../../common/errors.ts";
import { checkOptions, type Rules, real } from "../../common/options.ts";

/**
 * Context-aware decoding: the next token by (1 + alpha) times the logits behind the prompt, minus alpha times those behind the prompt
 * without its context, so that the context weighs more than what the model knows (Shi et al., 'Trusting your evidence', 2023).
 */
export interface ContextAwareOptions {
  /** The prompt without its context: a text or token ids. */
  without: string | readonly number[];
  /** Weight of the difference, default 0.5; 0 leaves the logits as they are. */
  alpha?: number | undefined;
}

/** Weight of the difference unless it is said: the paper's for summaries. */
export const ALPHA = 0.5;

const OPTIONS: Rules<ContextAwareOptions> = {
  without: {
    wants: "the prompt without its context, a text or token ids",
    fits: (prompt) => typeof prompt === "string" || ArrayBuffer.isView(prompt) || Array.isArray(prompt),
  },
  alpha: real(0),
};

/** @throws HeadscopeError (usage) where a prompt can't be read twice, with its context and without, or each row is looked at */
export function checkContextAware(
  contextAware: ContextAwareOptions | undefined,
  {
    prefix,
    speculative,
    onStep,
    keep,
  }: { prefix?: unknown; speculative?: unknown; onStep?: unknown; keep?: boolean | undefined },
): void {
  if (!contextAware) return;
  checkOptions("contextAware", contextAware, OPTIONS, ["without"]);
  const refuse = (what: string, remedy: string) =>
    new HeadscopeError("usage", `context-aware decoding is not for ${what}`, { remedy, field: "contextAware" });
  if (prefix) throw refuse("prompts behind a prefix, which would be the context of both", "give whole prompts");
  if (speculative) throw refuse("drafts, which are of one prompt", "leave one of the two out");
  if (keep) throw refuse("what is kept, which is one prompt", "leave keep out");
  if (onStep) throw refuse("forwards that are looked at, which have rows of their own", "leave onStep out");
}

/** Logits behind a prompt made more unlike those without its context. @param logits of both [d_vocab] @returns [d_vocab] */
export function contrasted(logits: Float32Array, without: Float32Array, alpha: number): Float32Array {
  return logits.map((logit, i) => (1 + alpha) * logit - alpha * without[i]!);
}
