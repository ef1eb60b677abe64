import { type Registry, registry } from "../../backend/common/definitions/definition.ts";
import type { ContextTask } from "./base.ts";
import { commonWords } from "./lists/common-words.ts";
import { frequentWords } from "./lists/frequent-words.ts";
import { keyValue } from "./lists/key-value.ts";
import { manyShot } from "./lists/many-shot.ts";
import { multiKey } from "./needles/multi-key.ts";
import { multiQuery } from "./needles/multi-query.ts";
import { multiValue } from "./needles/multi-value.ts";
import { needle } from "./needles/needle.ts";
import { passkey } from "./needles/passkey.ts";
import { variableTracking } from "./needles/variable-tracking.ts";
import { perplexity } from "./texts/perplexity.ts";
import { repeatedText } from "./texts/repeated-text.ts";

/** Every task over a long context that headscope has. */
export const contextTasks: Registry<ContextTask> = registry<ContextTask>("context task", [
  needle,
  multiKey,
  multiValue,
  multiQuery,
  passkey,
  variableTracking,
  commonWords,
  frequentWords,
  keyValue,
  manyShot,
  repeatedText,
  perplexity,
]);

export type {
  ContextCase,
  ContextNeedle,
  ContextQuestion,
  ContextRoom,
  ContextTask,
} from "./base.ts";
export { type CaseOptions, type DrawnCase, drawCase } from "./draw.ts";
export { type CasePrompt, casePrompt, caseTokens, type QuestionIds, type SplitPrompt, splitPrompt } from "./prompt.ts";
export { answerScore, greedyScore } from "./score.ts";
