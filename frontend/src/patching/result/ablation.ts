import type { PairAlignment, PairInput } from "../../../../backend/common/api/patching.ts";
import { heldToken, partParam, wrongToken } from "../../ablation/params.ts";
import { hold } from "../../state/hold.ts";
import { prompt, promptText } from "../../state/prompt.svelte.ts";
import { sideText } from "../pair/pairs.ts";

/**
 * Parameters for `view.href` so that the Ablation page asks the question of a pair: the clean prompt with its answer, which is held
 * against the wrong one.
 */
export function ablationOf(
  pair: PairInput,
  { clean, answer, wrong }: PairAlignment,
): Record<string, string | undefined> {
  const text = `${sideText(pair.clean)}${typeof pair.clean === "string" ? answer.text : ` ${answer.id}`}`;
  return {
    ...promptText.to(text),
    ...heldToken.to(hold(clean.ids.length, prompt.requestFor(text))),
    ...wrongToken.to(wrong.id),
    ...partParam.to("auto"),
  };
}
