/**
 * Metrics of a run, from the logits of one position. Answers and wrong answers are tokens, or sets of them.
 * logit-diff: mean logit of the answers minus that of the wrong ones. probability: sum over the answers. probability-diff: the same
 * minus the sum over the wrong ones. log-probability: of that sum, in nats. kl: from the clean run to this one, in nats. loss: minus
 * the log-probability.
 */
export const METRICS = ["logit-diff", "probability", "probability-diff", "log-probability", "kl", "loss"] as const;
/** One of `METRICS`. */
export type MetricName = (typeof METRICS)[number];

/** True of a metric that is smaller where the answer is likelier, so that a falling one helps. */
export function falls(metric: MetricName): boolean {
  return metric === "kl" || metric === "loss";
}
