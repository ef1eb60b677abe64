import { type Registry, registry } from "../../backend/common/definitions/definition.ts";
import type { ContextTask } from "./base.ts";
import { multiKey } from "./multi-key.ts";

/** Every task over a long context that headscope has. */
export const contextTasks: Registry<ContextTask> = registry<ContextTask>("context task", [multiKey]);

export type {
  ContextCase,
  ContextNeedle,
  ContextQuestion,
  ContextRoom,
  ContextTask,
} from "./base.ts";
export { type CaseOptions, type DrawnCase, drawCase } from "./draw.ts";
export { type CasePrompt, casePrompt, caseTokens, type QuestionIds } from "./prompt.ts";
export { answerScore, greedyScore } from "./score.ts";
