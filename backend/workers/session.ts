import { OpenModels } from "./open-models.ts";
import { PromptRuns } from "./prompt-runs.ts";

/** What this worker process keeps between requests. */
export const session = { models: new OpenModels(), runs: new PromptRuns() };
