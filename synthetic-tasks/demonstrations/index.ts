import type { LabelledTexts } from "./base.ts";
import { sentiment } from "./sentiment.ts";
import { topic } from "./topic.ts";

/** Every set of labelled texts that prompts of demonstrations are made of. */
export const LABELLED_TEXTS: readonly LabelledTexts[] = [sentiment, topic];

export {
  checkShots,
  type DemonstrationPrompt,
  drawOpenings,
  drawPrompts,
  drawText,
  drawTwins,
  type LabelledText,
  type LabelledTexts,
  labelTokens,
  type PromptTokens,
  promptTokens,
} from "./base.ts";
