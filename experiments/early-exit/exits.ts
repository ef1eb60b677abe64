import { mean } from "../curves.ts";
import type { LensValues } from "./measure.ts";

/** Thresholds on the confidence that are tried, the last of which is never passed. */
export const THRESHOLDS = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 1.1] as const;

/** The outcome of leaving the model early. */
export interface ExitOutcome {
  /** Share of the tokens whose successor is foretold. */
  readonly accuracy: number;
  /** Share of the layers that were not run. */
  readonly saved: number;
}

/** Share of right tokens after a number of layers. */
export function accuracyAfter({ likeliest, targets }: LensValues, layers: number): number {
  return mean(targets.map((target, t) => (likeliest[layers]![t] === target ? 1 : 0)));
}

/** Of the tokens that the whole model gets right, the share that is right after a number of layers; NaN where it gets none. */
export function alreadyRight({ likeliest, targets }: LensValues, layers: number): number {
  const right = targets.flatMap((target, t) => (likeliest.at(-1)![t] === target ? [t] : []));
  return mean(right.map((t) => (likeliest[layers]![t] === targets[t] ? 1 : 0)));
}

/** Leaves where the likeliest token's probability passes a threshold, after one layer at the earliest. */
export function exitAt({ likeliest, confidence, targets }: LensValues, threshold: number): ExitOutcome {
  const last = likeliest.length - 1;
  const exits = targets.map((target, t) => {
    const found = confidence.findIndex((row, layers) => layers > 0 && row[t]! >= threshold);
    const layers = found < 0 ? last : found;
    return { layers, right: likeliest[layers]![t] === target ? 1 : 0 };
  });
  return { accuracy: mean(exits.map(({ right }) => right)), saved: 1 - mean(exits.map(({ layers }) => layers)) / last };
}

/**
 * The least threshold that keeps a share of the whole model's accuracy on some texts, as do all higher ones.
 * @param kept share, such as 0.98
 */
export function thresholdFor(texts: readonly LensValues[], kept: number): number {
  const whole = mean(texts.map((text) => accuracyAfter(text, text.likeliest.length - 1)));
  let chosen: number = THRESHOLDS.at(-1)!;
  for (const threshold of THRESHOLDS.toReversed()) {
    if (mean(texts.map((text) => exitAt(text, threshold).accuracy)) < kept * whole) break;
    chosen = threshold;
  }
  return chosen;
}
