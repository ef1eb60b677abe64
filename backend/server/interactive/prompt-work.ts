import type { ServerContext } from "../context.ts";
import { checkTokens, type PromptSides, tokenSides } from "../http/token-rows.ts";
import type { Effort } from "./effort.ts";
import { Efforts } from "./efforts.ts";

/** A body about a model and prompts with answers, whichever it has of these. */
interface PromptsBody {
  readonly model: string;
  readonly pairs?: readonly PromptSides[];
  readonly prompts?: readonly PromptSides[];
  /** Token rows beside them. */
  readonly reference?: readonly (readonly number[])[] | undefined;
}

/** A request as the worker takes it, and what it costs. */
export interface PromptWork<B> {
  readonly payload: B;
  readonly effort: Effort;
}

/**
 * Prepares a question about prompts: no more tokens than one request may have, a model that may be opened, and the effort.
 * @param effortOf that of the request, with the model's name as the worker takes it
 * @throws Refusal 422 for too many tokens, and as opening the model and running its prompts does
 */
export async function promptWork<B extends PromptsBody>(
  { body, signal }: { readonly body: B; readonly signal: AbortSignal },
  context: ServerContext,
  effortOf: (efforts: Efforts, payload: B) => Promise<Effort>,
): Promise<PromptWork<B>> {
  const { pairs = [], prompts = [], reference = [] } = body;
  checkTokens([...tokenSides([...pairs, ...prompts]), ...reference], context.limits);
  const payload = { ...body, model: await context.models.allowed(body.model) };
  return { payload, effort: await effortOf(new Efforts(context, signal), payload) };
}
