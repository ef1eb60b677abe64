import type { PromptInput } from "../../common/api/prompts.ts";
import { promptIds } from "../prompts.ts";
import { session } from "../session.ts";
import type { Handler } from "./index.ts";

/** Counts the tokens of a prompt, without running it. */
export const handle: Handler = async (payload, { signal }): Promise<{ tokens: number }> => {
  const input = payload as PromptInput;
  return { tokens: promptIds(await session.models.open(input.model, signal), input).length };
};
