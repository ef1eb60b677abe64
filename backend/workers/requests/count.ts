import { workerRequests } from "../../common/api/worker.ts";
import { handler } from "../handler.ts";
import { promptIds } from "../prompts.ts";
import { session } from "../session.ts";

/** Counts the tokens of a prompt, without running it. */
export const request = handler({
  payload: workerRequests.count.payload,
  async run(input, { signal }): Promise<{ tokens: number }> {
    return { tokens: promptIds(await session.models.open(input.model, signal), input).length };
  },
});
