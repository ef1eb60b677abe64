import { handler } from "../handler.ts";
import { promptIds, promptInput } from "../prompts.ts";
import { session } from "../session.ts";

/** Counts the tokens of a prompt, without running it. */
export const request = handler({
  payload: promptInput,
  async run(input, { signal }): Promise<{ tokens: number }> {
    return { tokens: promptIds(await session.models.open(input.model, signal), input).length };
  },
});
