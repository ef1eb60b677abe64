/**
 * Metrics of a run, from the logits of one position. Answers and wrong answers are tokens, or sets of them.
 * logit-diff: mean logit of the answers minus that of the wrong ones. probability: sum over the answers. probability-diff: the same
 * minus the sum over the wrong ones. log-probability: of that sum, in nats. kl: from the clean run to this one, in nats. loss: minus
 * the log-probability.
 */
export const METRICS = ["logit-diff", "probability", "probability-diff", "log-probability", "kl", "loss"] as const;
/** One of `METRICS`. */
export type MetricName = (typeof METRICS)[number];

/** The words for a metric's values, and the direction in which a model that answers worse moves them. */
export const METRIC_WORDS: Readonly<Record<MetricName, { words: string; unit: string; worse: "higher" | "lower" }>> = {
  "logit-diff": { words: "logit difference", unit: "logits", worse: "lower" },
  probability: { words: "probability", unit: "of 1", worse: "lower" },
  "probability-diff": { words: "probability difference", unit: "of 1", worse: "lower" },
  "log-probability": { words: "log-probability", unit: "nats", worse: "lower" },
  kl: { words: "KL divergence from the clean run", unit: "nats", worse: "higher" },
  loss: { words: "loss", unit: "nats", worse: "higher" },
};
