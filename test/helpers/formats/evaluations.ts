import {
  type EvaluatedPoint,
  POLICY_EVALUATION_FORMAT,
  type PolicyEvaluation,
} from "../../../backend/common/api/evaluations.ts";

/** An evaluated point of round numbers, with one case. */
export function evaluatedPoint({
  score = 1,
  loss = 0.5,
  ...changes
}: Partial<Omit<EvaluatedPoint, "score" | "loss">> & { score?: number; loss?: number } = {}): EvaluatedPoint {
  return {
    ...{ label: "full", policies: [], budget: null, task: "multi-key", length: 512, scoring: "answers", chance: 0.125 },
    ...{ score: { value: score, low: 0, high: 1 }, loss: { value: loss, low: 0.25, high: 1 } },
    ...{ byQuestion: [score], kept: 1, sharedPrefill: true, front: [] },
    ...{ bytes: 100, bytesFull: 100, prefillMs: 10, decodeMsPerToken: 1 },
    cases: [
      {
        ...{ number: 0, tokens: 500, score, bytes: 100, bytesFull: 100, prefillMs: 10, decodeMs: 4, steps: 4 },
        questions: [
          {
            ...{ question: "Which?", expected: ["12"], text: "It is 12.", score, chance: 0.125, loss },
            needles: [{ text: "It is 12.", depth: 0.5, kept: 1 }],
          },
        ],
      },
    ],
    ...changes,
  };
}

/** An evaluation of some points. */
export function policyEvaluationOf(points: readonly EvaluatedPoint[]): PolicyEvaluation {
  return {
    format: POLICY_EVALUATION_FORMAT,
    model: { ref: "toy-induction", family: "toy", layers: 2, heads: 4, kvHeads: 4 },
    settings: {
      policies: [[{ name: "knorm", params: {} }]],
      budgets: [0.25],
      tasks: [{ name: "multi-key", params: { keys: 8 } }],
      lengths: [512],
      ...{ cases: 1, mode: "single", seed: 0, cache: "f32" },
    },
    environment: { node: "v20", platform: "linux x64", kernels: "avx2", threads: 2 },
    created: "2026-01-01T00:00:00.000Z",
    headscope: "0.1.0",
    command: "npx headscope evaluate",
    points,
  };
}
