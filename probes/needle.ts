import type { NeedleAnswer, NeedleTrial } from "../backend/common/api/jobs.ts";
import type { HeadMask } from "../backend/common/heads/mask.ts";
import { generate } from "../backend/inference/generate.ts";
import type { RunOptions } from "../backend/inference/run/options.ts";
import type { Model } from "../backend/models/model.ts";
import { type Haystack, haystackFor } from "./haystack.ts";

export interface NeedleAnswerOptions extends Pick<RunOptions, "cache" | "activations" | "policies" | "prefill"> {
  /** Its streaming heads keep the mask's sink and recent tokens only; default all heads are full. */
  mask?: HeadMask | undefined;
  /** Most tokens of the answer; default 12, without a tokenizer as many as the answer has. */
  maxTokens?: number | undefined;
  /** Called with every token of the answer. */
  onToken?: (() => void) | undefined;
  signal?: AbortSignal | undefined;
}

const ANSWER_TOKENS = 12;

/** Tokens that an answer may take. */
export function answerTokens(model: Model, question: Haystack, maxTokens?: number): number {
  return maxTokens ?? (model.tokenizer ? ANSWER_TOKENS : question.answer.split(" ").length);
}

/** Asks one needle question. @throws HeadscopeError for a prompt beyond the context, a mask of another model */
export async function answerNeedle(
  model: Model,
  question: Haystack,
  { maxTokens, ...run }: NeedleAnswerOptions = {},
): Promise<NeedleAnswer> {
  // The prompt's last token is read on what is left, so that no token of the answer is foretold by what was dropped.
  const less = run.mask !== undefined || (run.policies ?? []).length > 0;
  const end = less ? question.ids.length - 1 : question.ids.length;
  const { text, ids, cache, prefillMs, decodeMsPerToken } = await generate(model, {
    tokens: question.ids.slice(0, end),
    lead: question.ids.slice(end),
    maxTokens: answerTokens(model, question, maxTokens),
    ...run,
  });
  const words = text ?? ids.join(" ");
  const { bytes, bytesFull } = cache;
  return { text: words, right: words.includes(question.answer), bytes, bytesFull, prefillMs, decodeMsPerToken };
}

export interface NeedleOptions extends Omit<NeedleAnswerOptions, "onToken"> {
  /** Tokens of the prompts. */
  lengths: readonly number[];
  /** Places of the needle, 0 to 1. */
  depths: readonly number[];
  /** Questions at each length and depth, default 1. */
  needles?: number | undefined;
  /** Of the first question's needle and text; the others count on from it. Default 0. */
  seed?: number | undefined;
  progress?: (done: number, total: number, label: string) => void;
  /** Called with every trial as soon as it is done. */
  onTrial?: (trial: NeedleTrial) => void;
}

/**
 * Needle questions at every length and depth, with everything held and read and, where a mask or policies are given, with these.
 * @returns trials by length, then depth, then needle
 * @throws HeadscopeError before anything is computed for a length too short for its question
 * @see Kamradt 2023, needle in a haystack; Xiao et al. 2024, DuoAttention, for the masks
 */
export async function needleTest(model: Model, options: NeedleOptions): Promise<NeedleTrial[]> {
  const { lengths, depths, needles = 1, seed = 0, progress, onTrial } = options;
  const { mask, prefill, policies = [], maxTokens, cache, activations, signal } = options;
  const less = mask !== undefined || policies.length > 0 ? { mask, prefill: mask && prefill, policies } : undefined;
  const questions = lengths.flatMap((length) =>
    depths.flatMap((depth) =>
      Array.from({ length: needles }, (_, needle) => ({
        length,
        depth,
        needle,
        question: haystackFor(model, { tokens: length, depth, seed: seed + needle }),
      })),
    ),
  );
  const answers = questions.length * (less ? 2 : 1);
  let done = 0;
  const ask = async (question: Haystack, run: NeedleAnswerOptions = {}): Promise<NeedleAnswer> => {
    progress?.(done, answers, "needle questions");
    const answer = await answerNeedle(model, question, { ...run, maxTokens, cache, activations, signal });
    progress?.(++done, answers, "needle questions");
    return answer;
  };
  const trials: NeedleTrial[] = [];
  for (const { question, ...place } of questions) {
    const full = await ask(question);
    const masked = less && (await ask(question, less));
    const { question: text, answer: expected } = question;
    trials.push({ ...place, question: text, expected, full, masked });
    onTrial?.(trials.at(-1)!);
  }
  return trials;
}
