import type { MetricName } from "../../../common/metrics.ts";
import type { Model } from "../../../models/model.ts";
import type { Interrupts } from "../../batches.ts";
import type { TokenPair } from "../../pairs.ts";
import type { EdgeGraph } from "../graph.ts";

/** Pairs of one length, whose runs are rows of a batch. */
export interface PairBatch {
  readonly model: Model;
  readonly graph: EdgeGraph;
  readonly pairs: readonly TokenPair[];
  readonly metric: MetricName;
}

/** Edges to score on a batch of pairs. */
export interface EdgeWork extends Interrupts {
  /** Their numbers, in any order. */
  edges: readonly number[];
  /** Called with the share of the work that is done, 0 to 1. */
  onShare(share: number): void;
}

/** Scores of edges on one pair, and figures of its whole runs. */
export interface PairScores {
  /** The metric. */
  readonly clean: number;
  readonly corrupt: number;
  /** logit(answer) - logit(wrong), whatever is measured. */
  readonly differences: { readonly clean: number; readonly corrupt: number };
  /** By edge that was scored. */
  readonly scores: Float64Array;
}
