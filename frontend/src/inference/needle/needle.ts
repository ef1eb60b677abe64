import type { NeedleAnswer, NeedleTrial } from "../../../../backend/common/api/jobs.ts";
import { plotText } from "../../../../backend/common/figures/text.ts";
import { counted } from "../../../../backend/common/text.ts";
import type { Table } from "../../components/card/files.ts";

export type CacheSide = "full" | "masked";

/** Shares of right answers, one row a depth, one column a length. */
export interface NeedleTable {
  readonly lengths: readonly number[];
  readonly depths: readonly number[];
  /** [depths][lengths] in [0, 1]; null where nothing was asked. */
  readonly share: readonly (readonly (number | null)[])[];
  /** Right answers of all, over the whole table. */
  readonly right: number;
  readonly asked: number;
}

/** The answers of one side by length and depth, both ascending. */
export function needleTable(trials: readonly NeedleTrial[], side: CacheSide): NeedleTable {
  const lengths = ascending(trials.map(({ length }) => length));
  const depths = ascending(trials.map(({ depth }) => depth));
  const share = depths.map((depth) =>
    lengths.map((length) => {
      const answers = answersOf(cellTrials(trials, length, depth), side);
      return answers.length === 0 ? null : answers.filter(({ right }) => right).length / answers.length;
    }),
  );
  const all = answersOf(trials, side);
  return { lengths, depths, share, right: all.filter(({ right }) => right).length, asked: all.length };
}

/** The questions of one cell. */
export function cellTrials(trials: readonly NeedleTrial[], length: number, depth: number): NeedleTrial[] {
  return trials.filter((trial) => trial.length === length && trial.depth === depth);
}

/** The answers of each cell in one text, a line an answer, as a table [depths][lengths]; safe in plotly's hover. */
export function answerWords(trials: readonly NeedleTrial[], side: CacheSide): string[][] {
  const { lengths, depths } = needleTable(trials, side);
  const plain = (text: string): string => plotText(text.replace(/\s+/g, " ").trim());
  return depths.map((depth) =>
    lengths.map((length) =>
      answersOf(cellTrials(trials, length, depth), side)
        .map(({ right, text }) => `${right ? "right" : "wrong"}: ${plain(text)}`)
        .join("<br>"),
    ),
  );
}

function answersOf(trials: readonly NeedleTrial[], side: CacheSide): NeedleAnswer[] {
  return trials.flatMap((trial) => trial[side] ?? []);
}

function ascending(values: readonly number[]): number[] {
  return [...new Set(values)].sort((a, b) => a - b);
}

/** Columns and rows of the answers, for a table and CSV: one row a question and side. */
export function needleRows(trials: readonly NeedleTrial[]): Table {
  return {
    columns: [
      "length",
      "depth",
      "needle",
      "heads",
      "right",
      "expected",
      "answer",
      "kv_bytes",
      "prefill_ms",
      "decode_ms_per_token",
    ],
    rows: trials.flatMap((trial) =>
      (["full", "masked"] as const).flatMap((side) => {
        const answer = trial[side];
        if (answer === undefined) return [];
        const { text, right, bytes, prefillMs, decodeMsPerToken } = answer;
        const where = [trial.length, trial.depth, trial.needle, side];
        return [[...where, right ? 1 : 0, trial.expected, text, bytes, prefillMs, decodeMsPerToken]];
      }),
    ),
  };
}

/** Lengths offered, in tokens: doublings up to the context, from 256 in long ones. */
export function offeredLengths(context: number): number[] {
  const least = Math.min(256, context / 8);
  return Array.from({ length: 14 }, (_, i) => 16 * 2 ** i).filter((length) => length >= least && length < context);
}

/** The two shortest of the lengths offered that are longer than what streaming heads keep; the longest where none is. */
export function defaultLengths(
  offered: readonly number[],
  mask: { sink: number; recent: number } | undefined,
): number[] {
  const kept = mask === undefined ? 0 : mask.sink + mask.recent;
  const longer = offered.filter((length) => length > kept).slice(0, 2);
  return longer.length > 0 ? longer : offered.slice(-1);
}

/** Reads "512, 1024": numbers with commas or spaces between them, ascending, each once. @returns undefined for other text */
export function readNumbers(text: string): number[] | undefined {
  const words = text.split(/[\s,;]+/).filter((word) => word !== "");
  const numbers = words.map(Number);
  return words.length > 0 && numbers.every(Number.isFinite) ? ascending(numbers) : undefined;
}

/** The fault of lengths in a context; undefined when nothing is. Answers take `maxTokens` of it. */
export function lengthsProblem(
  lengths: readonly number[] | undefined,
  context: number,
  maxTokens: number,
): string | undefined {
  if (lengths === undefined) return "Give lengths in tokens, such as 512, 1024.";
  const odd = lengths.find((length) => !Number.isInteger(length) || length < 16);
  if (odd !== undefined) return `${odd} is not a length: give whole numbers of tokens from 16.`;
  const most = context - maxTokens;
  const long = lengths.find((length) => length > most);
  if (long === undefined) return undefined;
  return `${counted(long, "token")} do not fit: the context is ${counted(context, "token")}, and the answer takes ${maxTokens} of them. At most ${most}.`;
}

/** The fault of depths; undefined when nothing is. */
export function depthsProblem(depths: readonly number[] | undefined): string | undefined {
  if (depths === undefined) return "Give depths from 0 (start) to 1 (end), such as 0.1, 0.5, 0.9.";
  const odd = depths.find((depth) => depth < 0 || depth > 1);
  return odd === undefined ? undefined : `${odd} is not a depth: 0 is the start of the text, 1 its end.`;
}
