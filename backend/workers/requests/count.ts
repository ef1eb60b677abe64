import { handler } from "../handler.ts";
import { promptInput, promptInputIds } from "../prompts.ts";
import { session } from "../session.ts";

/** Counts the tokens of a prompt, without running it. */
export const request = handler({
  payload: promptInput,
  async run(input, { signal }): Promise<{ tokens: number }> {
    return { tokens: promptInputIds(await session.models.open(input.model, signal), input).length };
  },
});
