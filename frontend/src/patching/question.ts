import type { PairInput } from "../../../backend/common/api/patching.ts";
import { DIRECT_EFFECT } from "../../../backend/common/texts/head-scores.ts";
import { metricParam, textMetricId } from "../components/head-metrics/params.ts";
import type { PageName } from "../state/pages.ts";
import { prompt, promptText } from "../state/prompt.svelte.ts";
import { sideText } from "./pair/pairs.ts";
import { pairsParam, shownPair } from "./params.ts";
import { patching } from "./patching.svelte.ts";
import { ablationOf } from "./result/ablation.ts";

/** The pages that a pair's question can be asked on. */
export const QUESTION_PAGES = [
  "patching",
  "circuits",
  "ablation",
  "attention",
  "heads",
] as const satisfies readonly PageName[];

/**
 * Parameters for `view.href` so that a page asks the question of the shown pair: the pair itself, which every page keeps, and of
 * pages about a text the clean prompt; on the Ablation page with its answer, which is held against the wrong one. The Heads page
 * is coloured by what each head adds to the answer.
 */
export function questionOn(page: (typeof QUESTION_PAGES)[number]): Record<string, string | undefined> {
  const { pair, pairs, index, alignment } = patching;
  if (pair === undefined) return {};
  const kept = { ...pairsParam.to(pairs), ...shownPair.to(index) };
  if (page === "ablation" && alignment !== undefined) return { ...kept, ...ablationOf(pair, alignment) };
  if (page === "heads")
    return { ...kept, ...promptText.to(sideText(pair.clean)), ...metricParam.to(textMetricId(DIRECT_EFFECT.name)) };
  if (page === "ablation" || page === "attention") return { ...kept, ...promptText.to(sideText(pair.clean)) };
  return kept;
}

/**
 * Has the card of a head be about the shown pair's clean prompt, and its links ask the pair's question; run in an effect.
 * @returns ends that
 */
export function lendQuestion(): (() => void) | undefined {
  const text = patching.pair && sideText(patching.pair.clean);
  if (text === undefined) return undefined;
  return prompt.lend({ text, name: "the clean prompt", to: questionOn });
}

/** Says that a text is a pair's clean prompt, with an answer behind it or without: a page about it asks the pair's question. */
export function isQuestionOf(pair: PairInput, text: string): boolean {
  const clean = sideText(pair.clean);
  return text === clean || text.startsWith(typeof pair.clean === "string" ? clean : `${clean} `);
}

/** A question about a text: the token at a position, or the next one behind the text, against a wrong one. */
export interface TextQuestion {
  readonly position: number;
  /** Absent where it is the token that stands there. */
  readonly answer?: number;
  readonly wrong: number;
}

/** Says that the pairs have been chosen, and that a text is the shown one's clean prompt: then it is to be aligned. */
export function isOfPair(text: string): boolean {
  return pairsParam.value.length > 0 && patching.pair !== undefined && isQuestionOf(patching.pair, text);
}

/**
 * The shown pair's question about its clean prompt; undefined for another text, while the pair is not aligned, and of several
 * tokens that count as one answer.
 */
export function questionOfPair(text: string): TextQuestion | undefined {
  const { pair, alignment } = patching;
  if (!isOfPair(text) || alignment === undefined || alignment.problem !== undefined) return undefined;
  if (Array.isArray(pair?.answer) || Array.isArray(pair?.wrong)) return undefined;
  return { position: alignment.clean.ids.length, answer: alignment.answer.id, wrong: alignment.wrong.id };
}
