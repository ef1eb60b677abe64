import type { EvaluatedPoint, PolicyEvaluation } from "../../common/api/evaluations.ts";
import { counted } from "../../common/text.ts";
import { EVALUATION_FILES } from "../../evaluation/files/write.ts";
import { bold, type Column, dim, duration, number, percent, right, table } from "./format.ts";

/** An evaluation for people: a table for every task and length, with a star where no other point is as good in less memory. */
export function evaluationText({ points, settings }: PolicyEvaluation, out: string): string {
  const groups = [...new Set(points.map(groupOf))].map((name) => {
    const own = points.filter((point) => groupOf(point) === name);
    const guess = own[0]!.scoring === "answers" ? `, a guess scores ${number(own[0]!.chance)}` : "";
    return [bold(name) + dim(guess), table(columns(own), own.map(row), "  "), ""].join("\n"); // biome-ignore format: one call
  });
  return [
    dim(`${counted(settings.cases, "case")} each, mode ${settings.mode}; * no other is as good in less memory`),
    ...groups,
    `Written to ${out}: ${Object.values(EVALUATION_FILES).join(", ")}.`,
  ].join("\n");
}

function groupOf({ task, length }: EvaluatedPoint): string {
  return `${task}, ${counted(length, "token")}`;
}

function columns(points: readonly EvaluatedPoint[]): Column[] {
  const read = points.some((point) => point.read !== undefined);
  return ["", "policy", ...["budget", "score", "95 %", "loss", "needles held", "memory", ...(read ? ["read"] : []), "prompt", "token"].map(right)]; // biome-ignore format: one list
}

function row(point: EvaluatedPoint, _: number, all: readonly EvaluatedPoint[]): string[] {
  const { label, budget, score, loss, kept, bytes, bytesFull, prefillMs, decodeMsPerToken } = point;
  const read = all.some((each) => each.read !== undefined);
  return [
    point.front.includes("bytes") ? "*" : "",
    label,
    budget === null ? "" : String(budget),
    number(score.value),
    score.low === null ? "" : `${number(score.low)} to ${number(score.high!)}`,
    number(loss.value),
    kept === null ? "" : percent(kept),
    percent(bytes / bytesFull),
    ...(read ? [point.read === undefined ? "" : percent(point.read)] : []),
    duration(prefillMs),
    decodeMsPerToken === null ? "" : duration(decodeMsPerToken),
  ];
}
