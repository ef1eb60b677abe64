import type { MetricName } from "../../common/metrics.ts";
import { logSoftmax, logSumExp } from "../../common/numerics/softmax.ts";

/** Tokens and logits that the logits of one row are measured against. */
export interface Target {
  /** Tokens that count as the answer. */
  readonly answers: readonly number[];
  /** Tokens that count as the wrong one. */
  readonly wrong: readonly number[];
  /** Logits of the clean run [outputs]; empty where there are none. */
  readonly clean: Float32Array;
}

/** A metric of the logits of one position: its value, and the gradient with respect to them. In float64. */
export interface MetricDefinition {
  /** Fields of the target that it reads. */
  readonly needs: readonly (keyof Target)[];
  /** @param logits [outputs] */
  value(logits: Float32Array, target: Target): number;
  /** @param logits [outputs] @returns [outputs] */
  gradient(logits: Float32Array, target: Target): Float32Array;
  /** Of a metric that is linear in a few logits: their coefficients by token, which are its gradient wherever that is not 0. */
  coefficients?(target: Target): Map<number, number>;
}

/** Sum of the probabilities of some tokens, whose gradient is p(v) · ([v in tokens] - sum). */
const probability = {
  value: (logits: Float32Array, tokens: readonly number[]): number => {
    const p = probabilities(logits);
    return tokens.reduce((sum, id) => sum + p[id]!, 0);
  },
  gradient: (logits: Float32Array, tokens: readonly number[]): Float64Array => {
    const p = probabilities(logits);
    const sum = tokens.reduce((total, id) => total + p[id]!, 0);
    const gradient = p.map((each) => -each * sum);
    for (const id of tokens) gradient[id]! += p[id]!;
    return gradient;
  },
};

/** Logarithm of the sum of the probabilities of some tokens: log-sum-exp over them minus that over all. */
const logProbability = {
  value: (logits: Float32Array, tokens: readonly number[]): number =>
    logSumExp(tokens.map((id) => logits[id]!)) - logSumExp(logits),
  gradient: (logits: Float32Array, tokens: readonly number[]): Float64Array => {
    const gradient = probabilities(logits).map((p) => -p);
    const among = probabilities(tokens.map((id) => logits[id]!));
    for (const [i, id] of tokens.entries()) gradient[id]! += among[i]!;
    return gradient;
  },
};

/** Coefficients of the mean logit of the answers less that of the wrong ones. */
function differenceCoefficients({ answers, wrong }: Target): Map<number, number> {
  const sums = new Map<number, number>();
  const add = (tokens: readonly number[], share: number): void => {
    for (const id of tokens) sums.set(id, (sums.get(id) ?? 0) + share / tokens.length);
  };
  add(answers, 1);
  add(wrong, -1);
  return sums;
}

/** Every metric by its name. To add one is to add its name in common/metrics.ts and an entry here. */
export const METRIC_DEFINITIONS: Readonly<Record<MetricName, MetricDefinition>> = {
  "logit-diff": {
    needs: ["answers", "wrong"],
    value: (logits, { answers, wrong }) => meanAt(logits, answers) - meanAt(logits, wrong),
    gradient: (logits, target) => {
      const gradient = new Float32Array(logits.length);
      for (const [id, coefficient] of differenceCoefficients(target)) gradient[id] = coefficient;
      return gradient;
    },
    coefficients: differenceCoefficients,
  },
  probability: {
    needs: ["answers"],
    value: (logits, { answers }) => probability.value(logits, answers),
    gradient: (logits, { answers }) => Float32Array.from(probability.gradient(logits, answers)),
  },
  "probability-diff": {
    needs: ["answers", "wrong"],
    value: (logits, { answers, wrong }) => probability.value(logits, answers) - probability.value(logits, wrong),
    gradient: (logits, { answers, wrong }) => {
      const minus = probability.gradient(logits, wrong);
      return Float32Array.from(probability.gradient(logits, answers), (plus, id) => plus - minus[id]!);
    },
  },
  "log-probability": {
    needs: ["answers"],
    value: (logits, { answers }) => logProbability.value(logits, answers),
    gradient: (logits, { answers }) => Float32Array.from(logProbability.gradient(logits, answers)),
  },
  kl: {
    needs: ["clean"],
    value: (logits, { clean }) => {
      const [own, other] = [logSumExp(logits), logSumExp(clean)];
      return clean.reduce((sum, u, id) => sum + Math.exp(u - other) * (u - other - (logits[id]! - own)), 0);
    },
    gradient: (logits, { clean }) => {
      const expected = probabilities(clean);
      return Float32Array.from(probabilities(logits), (p, id) => p - expected[id]!);
    },
  },
  loss: {
    needs: ["answers"],
    value: (logits, { answers }) => -logProbability.value(logits, answers),
    gradient: (logits, { answers }) => Float32Array.from(logProbability.gradient(logits, answers), (g) => -g),
  },
};

function meanAt(logits: Float32Array, tokens: readonly number[]): number {
  return tokens.reduce((sum, id) => sum + logits[id]!, 0) / tokens.length;
}

/** Softmax of logits, through its logarithms. */
function probabilities(logits: ArrayLike<number>): Float64Array {
  return logSoftmax(logits).map(Math.exp);
}
