import type { NeedleAnswer, NeedleTrial } from "../../common/api/jobs.ts";
import { bold, bytes, dim, duration, right, table } from "./format.ts";

/** Needle questions for people: a line for every length and depth, then what the answers took. */
export function needleText(trials: readonly NeedleTrial[]): string {
  const masked = trials.some((trial) => trial.masked !== undefined);
  const places = groups(trials, ({ length, depth }) => `${length} ${depth}`);
  const rightOf = (answers: readonly NeedleAnswer[]): string =>
    `${answers.filter(({ right }) => right).length} of ${answers.length}`;
  const masksOf = (group: readonly NeedleTrial[]) => group.flatMap(({ masked }) => masked ?? []);
  const rows = places.map((group) => [
    String(group[0]!.length),
    String(group[0]!.depth),
    rightOf(group.map(({ full }) => full)),
    ...(masked ? [rightOf(masksOf(group))] : []),
  ]);
  const columns = ["length", "depth", "right", ...(masked ? ["right, masked"] : [])];
  const costs = groups(trials, ({ length }) => String(length)).flatMap((group) => [
    dim(`  ${group[0]!.length} tokens: ${costOf(group.map(({ full }) => full))}`),
    ...(masked ? [dim(`  ${group[0]!.length} tokens, masked: ${costOf(masksOf(group))}`)] : []),
  ]);
  return [bold("Needle questions"), table(columns.map(right), rows, "  "), "", ...costs].join("\n");
}

function groups(trials: readonly NeedleTrial[], key: (trial: NeedleTrial) => string): NeedleTrial[][] {
  return [...new Set(trials.map(key))].map((name) => trials.filter((trial) => key(trial) === name));
}

/** Means over answers. */
function costOf(answers: readonly NeedleAnswer[]): string {
  const mean = (of: (answer: NeedleAnswer) => number): number =>
    answers.reduce((sum, answer) => sum + of(answer), 0) / answers.length;
  const [size, prefill, decode] = [mean((a) => a.bytes), mean((a) => a.prefillMs), mean((a) => a.decodeMsPerToken)];
  return `KV cache ${bytes(size)}, prompt in ${duration(prefill)}, ${duration(decode)} a token`;
}
