import { OpenModels } from "./open-models.ts";
import { progressTo } from "./progress.ts";
import { PromptRuns, type Way } from "./prompt-runs.ts";
import type { HandlerContext } from "./requests/index.ts";

/** What this worker process keeps between requests. */
export const session = { models: new OpenModels(), runs: new PromptRuns() };

/** How a handler's long work is given up, tells how far it is, and lets short requests in: what it works with stays meanwhile. */
export function wayOf({ signal, turn, emit }: HandlerContext): Required<Way> {
  const hold = (): (() => void) => {
    const ends = [session.models.hold(), session.runs.hold()];
    return () => {
      for (const end of ends) end();
    };
  };
  return { signal, turn: () => turn(hold), progress: progressTo(emit) };
}
