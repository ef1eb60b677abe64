import { METRICS, type MetricName } from "../../common/metrics.ts";
import { ANYTHING, FUNCTION, oneOf, type Rules, YES_OR_NO } from "../../common/options.ts";
import type { Turn } from "../../runtime/turn.ts";
import type { Pair } from "../pairs.ts";

/** Pairs that edges are measured on, the metric, and the way of long work. */
export interface CircuitWork {
  pairs: readonly Pair[];
  /** Default that of the circuit's scores; of a new circuit, and of one that names none, logit-diff. */
  metric?: MetricName | undefined;
  /** For texts: whether BOS comes first. Default: as the tokenizer does. */
  prependBos?: boolean | undefined;
  progress?: ((done: number, total: number, label: string) => void) | undefined;
  signal?: AbortSignal | undefined;
  /** Lets others in between layers of a long run. */
  turn?: Turn | undefined;
}

/** The options of some work that are `CircuitWork`'s. */
export function workOf({ pairs, metric, prependBos, progress, signal, turn }: CircuitWork): CircuitWork {
  return { pairs, metric, prependBos, progress, signal, turn };
}

/** Rules of the options of `CircuitWork`. */
export const CIRCUIT_WORK: Rules<CircuitWork> = {
  pairs: ANYTHING,
  metric: oneOf(METRICS),
  prependBos: YES_OR_NO,
  progress: FUNCTION,
  signal: ANYTHING,
  turn: FUNCTION,
};
