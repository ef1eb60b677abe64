import type { AblateResult } from "../../../../backend/common/api/interventions.ts";
import { METRIC_WORDS, type MetricName } from "../../../../backend/common/metrics.ts";
import { counted } from "../../../../backend/common/text.ts";
import { drawsSpread } from "../../../../backend/common/texts/parts.ts";
import { nats, signedNats } from "../../format.ts";

export type Control = NonNullable<AblateResult["control"]>;

/** An effect beside that of other heads of the same layers. */
export interface ControlVerdict {
  readonly kind: "worse" | "within" | "milder" | "alone";
  /** One or two sentences for the reader. */
  readonly words: string;
}

/** Losses in nats a token, or another metric's values, that a verdict is about. */
export interface Losses {
  readonly clean: number;
  readonly changed: number;
  readonly control?: ControlLosses | undefined;
  /** Default "loss"; others are of an answer against a wrong one. */
  readonly measure?: MetricName;
  /** Name of what they are of, such as "the repeated tokens"; default the whole text. */
  readonly over?: string | undefined;
  /** True if a control was asked for: then there are no other heads to draw where none came. */
  readonly wanted?: boolean;
}

/** Losses of a control's draws. */
export interface ControlLosses {
  /** Loss of each draw. */
  readonly draws: readonly number[];
  readonly mean: number;
  readonly range: readonly [number, number];
  /** Heads of a draw, where they are fewer than were taken out: the layers have no more to spare. */
  readonly fewer?: number;
}

/** A control's figures. @param draws losses of the draws, at least one @param heads of a draw @param wanted heads taken out */
export function controlLosses(draws: readonly number[], heads: number, wanted: number): ControlLosses {
  return {
    draws,
    ...drawsSpread(draws),
    ...(heads < wanted ? { fewer: heads } : {}),
  };
}

/**
 * Says whether taking out a set of heads does something that taking out others of the same layers does not.
 * Outside the range of the draws counts as an effect of these heads; inside it does not. Above it the model is worse by some
 * metrics, such as the loss, and below it by others, such as the logit difference of an answer.
 */
export function verdictOf({ clean, changed, control, measure = "loss", over, wanted = false }: Losses): ControlVerdict {
  const effect = changed - clean;
  const { words: name, worse } = METRIC_WORDS[measure];
  const what = `the ${name}${over === undefined ? "" : ` on ${over}`}`;
  const moves = effect >= 0 ? `raises ${what} by ${nats(effect)}` : `lowers ${what} by ${nats(-effect)}`;
  if (control === undefined) {
    const why = wanted
      ? "There are no other heads in these layers to compare with."
      : "No control was asked for: set control draws to compare with other heads.";
    return { kind: "alone", words: `Taking them out ${moves}. ${why}` };
  }
  const [low, high] = control.range.map((loss) => loss - clean) as [number, number];
  const count = counted(control.draws.length, "draw");
  const span = signedNats(low) === signedNats(high) ? signedNats(low) : `${signedNats(low)} to ${signedNats(high)}`;
  const compared = `Taking them out ${moves}; ${othersWords(control)} by ${span} (${count}).`;
  if (effect > high || effect < low) {
    const kind = effect > high === (worse === "higher") ? "worse" : "milder";
    const milder = measure === "loss" ? "these heads matter less here" : "these heads work against the answer more";
    const say = kind === "worse" ? "these heads matter more here" : milder;
    const side = effect > high ? "above" : "below";
    return { kind, words: `${compared} The effect is outside the control's range, ${side} it: ${say} than others.` };
  }
  return { kind: "within", words: `${compared} The effect is within the control's range: other heads do as much.` };
}

function othersWords({ fewer }: ControlLosses): string {
  if (fewer === undefined) return "as many other heads of the same layers change it";
  return fewer === 1
    ? "the one other head that a draw finds in the same layers changes it"
    : `the ${fewer} other heads that a draw finds in the same layers, which are fewer, change it`;
}

/** Lowest and highest loss of the draws at each place. @param draws [draws][positions] */
export function band(draws: readonly (readonly number[])[]): { low: number[]; high: number[] } {
  const places = draws[0] ?? [];
  return {
    low: places.map((_, t) => Math.min(...draws.map((draw) => draw[t]!))),
    high: places.map((_, t) => Math.max(...draws.map((draw) => draw[t]!))),
  };
}

/** Change of each token's loss, with undefined for the first token, which has none. */
export function changes(clean: readonly number[], changed: readonly number[]): (number | undefined)[] {
  return [undefined, ...clean.map((before, t) => changed[t]! - before)];
}

/**
 * The place of a change on a diverging scale, -1 to 1; 0 is no change. The scale ends at the largest change shown, but never
 * below half a nat, so that a change that hardly is one stays pale.
 */
export function shade(change: number, largest: number): number {
  return Math.max(-1, Math.min(1, change / Math.max(0.5, largest)));
}
