import { meanLoss, residLosses } from "../backend/circuits/loss.ts";
import { HeadscopeError } from "../backend/common/errors.ts";
import { type HeadMask, maskFromScores } from "../backend/common/heads/mask.ts";
import { meaningOf } from "../backend/common/heads/meaning.ts";
import type { HeadScores } from "../backend/common/heads/scores.ts";
import type { MaskWindow } from "../backend/common/heads/window.ts";
import { forward } from "../backend/models/forward/forward.ts";
import type { Model } from "../backend/models/model.ts";
import { type Haystack, haystackFor } from "./haystack.ts";
import { answerNeedle } from "./needle.ts";

/** The questions of every mask, and the masks that are tried. */
export interface MaskSearchOptions extends MaskWindow {
  /** Metric of the scores by which KV heads are kept; default the main one. */
  readonly metric?: string | undefined;
  /** Tokens of the needle questions, each more than sink and recent together. */
  readonly lengths: readonly number[];
  /** Places of the needle, 0 to 1; default 0.1, 0.5 and 0.9. */
  readonly depths?: readonly number[] | undefined;
  /** Questions at each length and depth; default 1. */
  readonly needles?: number | undefined;
  /** Of the first question; default 0. */
  readonly seed?: number | undefined;
  /** Numbers of KV heads kept that are tried, besides those that the search adds; default eighths and quarters of all. */
  readonly budgets?: readonly number[] | undefined;
  /** Tries no larger budget once one has answered everything; default false: the whole curve. */
  readonly stop?: boolean | undefined;
  /** Path of the scores, noted in the mask. */
  readonly scoresFile?: string | undefined;
  readonly progress?: ((done: number, total: number, label: string) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** The results with so many KV heads kept full. */
export interface MaskPoint {
  /** KV heads that keep everything, the best by their score. */
  readonly kvHeads: number;
  /** Questions answered right, of those that the model answers with all heads full. */
  readonly right: number;
  /** Nats a token on the questions' texts, where the streaming heads no longer hold everything. */
  readonly loss: number;
}

/** The curve of quality against KV heads kept, and the smallest mask that loses no answer. */
export interface MaskSearch {
  /** KV heads of the model. */
  readonly total: number;
  /** Questions tried, and those of them that the model answers with all heads full. */
  readonly asked: number;
  readonly answered: number;
  /** By KV heads kept, ascending; the last one keeps all. */
  readonly points: readonly MaskPoint[];
  /** Keeps as few KV heads as answered everything; its `source` holds the curve. */
  readonly mask: HeadMask;
}

const DEPTHS = [0.1, 0.5, 0.9];
/** Shares of the KV heads that are tried. */
const SHARES = [0, 1 / 8, 1 / 4, 3 / 8, 1 / 2, 3 / 4];
/** The search ends between two budgets this share of the KV heads apart. */
const RESOLUTION = 1 / 32;

/**
 * Finds the smallest mask, by a score's order, that answers every needle question which the model answers with all heads full:
 * tries budgets from small to large, then halves the gap below the first that answers all.
 * @throws HeadscopeError `usage` for lengths that the window covers, `input` where the model answers none with all heads full
 * @see Xiao et al. 2024, DuoAttention, for the masks; Kamradt 2023 for the questions
 */
export async function searchMask(model: Model, scores: HeadScores, options: MaskSearchOptions): Promise<MaskSearch> {
  const { metric, sink, recent, scoresFile, signal, progress, stop = false } = options;
  const maskOf = (top: number) => maskFromScores(scores, { top, metric, sink, recent, scoresFile });
  const total = scores.model.layers * scores.model.kvHeads;
  const past = windowOf(maskOf(0));
  const questions = questionsOf(model, options, past);
  const budgets = [...new Set(options.budgets ?? SHARES.map((share) => Math.round(share * total)))]
    .filter((budget) => budget >= 0 && budget < total)
    .sort((a, b) => a - b);
  // With the questions of the full model, and two more budgets of the halving.
  const most = questions.length * (budgets.length + 3);
  let done = 0;
  const answers = async (question: Haystack, mask?: HeadMask): Promise<boolean> => {
    progress?.(Math.min(done++, most), most, mask ? "needle questions with masks" : "needle questions, all heads full");
    return (await answerNeedle(model, question, { mask, signal })).right;
  };
  const answerable: Haystack[] = [];
  for (const question of questions) if (await answers(question)) answerable.push(question);
  if (answerable.length === 0)
    throw new HeadscopeError("input", `the model answers none of ${questions.length} questions with all heads full`, {
      remedy: "ask in shorter texts, or choose the mask by its loss",
    });
  const points = new Map<number, MaskPoint>();
  const attempt = async (kvHeads: number): Promise<boolean> => {
    const mask = maskOf(kvHeads);
    let right = 0;
    for (const question of answerable) if (await answers(question, mask)) right++;
    points.set(kvHeads, { kvHeads, right, loss: textLoss(model, { questions: answerable, mask, past }) });
    return right === answerable.length;
  };
  let best = total;
  let below = -1;
  for (const budget of budgets) {
    const passes = await attempt(budget);
    if (passes && best === total) best = budget;
    if (!passes && best === total) below = budget;
    if (stop && best < total) break;
  }
  while (best - below > Math.max(1, RESOLUTION * total)) {
    const middle = Math.floor((best + below) / 2);
    if (await attempt(middle)) best = middle;
    else below = middle;
  }
  const loss = textLoss(model, { questions: answerable, mask: maskOf(total), past });
  points.set(total, { kvHeads: total, right: answerable.length, loss });
  progress?.(most, most, "needle questions with masks");
  const curve = [...points.values()].sort((a, b) => a.kvHeads - b.kvHeads);
  const mask = maskOf(best);
  const search = { asked: questions.length, answered: answerable.length, lengths: options.lengths, points: curve };
  return {
    total,
    asked: questions.length,
    answered: answerable.length,
    points: curve,
    mask: { ...mask, source: { ...(mask.source as object), search } },
  };
}

/** Tokens that a streaming head holds at most. */
function windowOf({ sink, recent }: HeadMask): number {
  return sink + recent;
}

function questionsOf(
  model: Model,
  { lengths, depths = DEPTHS, needles = 1, seed = 0 }: MaskSearchOptions,
  past: number,
): Haystack[] {
  const short = lengths.find((length) => length <= past);
  if (short !== undefined)
    throw new HeadscopeError("usage", `texts of ${short} tokens fit into sink and recent tokens, which are ${past}`, {
      remedy: "give longer texts, or a smaller sink and fewer recent tokens",
    });
  return lengths.flatMap((tokens) =>
    depths.flatMap((depth) =>
      Array.from({ length: needles }, (_, i) => haystackFor(model, { tokens, depth, seed: seed + i })),
    ),
  );
}

/** Mean loss of the questions' texts under a mask, over the tokens past what a streaming head holds, in nats. */
function textLoss(
  model: Model,
  { questions, mask, past }: { questions: readonly Haystack[]; mask: HeadMask; past: number },
): number {
  const { windows } = meaningOf(mask);
  const losses = questions.map(({ ids }) => {
    const { resid } = forward(model, { tokens: [ids], windows, logitsAt: "none" });
    try {
      return residLosses(model, resid, [ids])[0]!.slice(past);
    } finally {
      resid.dispose();
    }
  });
  return meanLoss(losses);
}
