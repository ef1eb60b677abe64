import type { PolicyEvaluation } from "../../common/api/evaluations.ts";
import { parameterPairs } from "../../common/command-line.ts";
import { type CsvCell, csvText } from "../../common/csv.ts";

const COLUMNS = [
  ...[
    "task",
    "length",
    "policy",
    "budget",
    "parameters",
    "cases",
    "score",
    "low",
    "high",
    "chance",
    "loss",
    "loss_low",
    "loss_high",
    "kept",
  ],
  ...["bytes", "bytes_full", "read", "prefill_read", "prefill_ms", "decode_ms_per_token", "front"],
] as const;

/** An evaluation as CSV, a line a point; what was not measured is empty. */
export function evaluationCsv({ points }: PolicyEvaluation): string {
  const rows = points.map((point): CsvCell[] => [
    ...[point.task, point.length, point.label, point.budget ?? ""],
    point.policies.map(({ name, params }) => [name, ...parameterPairs(params)].join(" ")).join("; "),
    ...[point.cases.length, point.score.value, point.score.low ?? "", point.score.high ?? "", point.chance],
    ...[
      point.loss.value,
      point.loss.low ?? "",
      point.loss.high ?? "",
      point.kept ?? "",
      point.bytes,
      point.bytesFull,
      point.read ?? "",
      point.prefillRead ?? "",
    ],
    ...[point.prefillMs, point.decodeMsPerToken ?? "", point.front.join(" ")],
  ]);
  return csvText([[...COLUMNS], ...rows]);
}
