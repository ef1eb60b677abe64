import type { PresetReports } from "../../../experiments/index.ts";
import type { KeptReport } from "../../common/api/experiments.ts";
import { HeadscopeError } from "../../common/errors.ts";
import { PRESETS, type Preset, type Tone, toneOf } from "../../common/words.ts";

/** The lines of a Markdown file that its table of verdicts stands between. */
const [BEGIN, END] = ["<!-- verdicts -->", "<!-- /verdicts -->"];

/**
 * The verdicts of experiments as a Markdown table, laid out as the formatter of docs/ does.
 * @param rows an experiment a row: its page as a link, its paper, and of each preset how many claims were reproduced, not reproduced, or
 *   neither; nothing where no report is kept
 */
export function verdictTable(rows: readonly PresetReports[], presets: readonly Preset[]): string {
  return tableText(
    columnsOf(presets),
    rows.map((row) => cellsOf(row, presets)),
  );
}

/**
 * A Markdown text whose table of verdicts is brought up to date. Rows keep their order; counts that no report is kept of stay, as do rows of
 * experiments that have none at all or are not known; experiments that have no row get one at the end.
 * @param label name of the text, for errors
 * @throws HeadscopeError `input` for a text without the two lines, and for something else than such a table between them
 */
export function updateVerdicts(text: string, rows: readonly PresetReports[], label: string): string {
  const { before, inside, after } = partsOf(text, label);
  const columns = columnsOf(PRESETS);
  const [head, rule, ...old] = inside.map(readRow);
  if (inside.length > 0 && (`${head}` !== `${columns}` || !rule?.every((cell) => /^:?-+:?$/.test(cell))))
    throw new HeadscopeError("input", `${label} has something else than a table of verdicts between its markers`, {
      remedy: `leave nothing between ${BEGIN} and ${END}, or the table with the columns ${columns.join(", ")}`,
      subject: label,
    });
  const unseen = new Map(rows.map((row) => [row.name, row]));
  const updated = old.map((cells) => {
    const name = /`([^`]+)`/.exec(cells[0]!)?.[1] ?? "";
    const row = unseen.get(name);
    unseen.delete(name);
    return row !== undefined && Object.values(row.reports).some((report) => report !== null)
      ? cellsOf(row, PRESETS, cells)
      : cells;
  });
  const added = [...unseen.values()].map((row) => cellsOf(row, PRESETS));
  return `${before}\n\n${tableText(columns, [...updated, ...added])}\n\n${after}`;
}

/** The lines between the markers without empty ones, and all before and behind them, markers included. */
function partsOf(text: string, label: string): { before: string; inside: string[]; after: string } {
  const lines = text.split("\n");
  const places = [BEGIN, END].map((marker) => lines.flatMap((line, i) => (line.trimEnd() === marker ? [i] : [])));
  const [[begin, ...others], [end, ...more]] = places as [number[], number[]];
  if (begin === undefined || end === undefined || end < begin || others.length + more.length > 0)
    throw new HeadscopeError("input", `${label} does not have the lines ${BEGIN} and ${END}, once each in this order`, {
      remedy: "put them where the table is to stand",
      subject: label,
    });
  return {
    before: lines.slice(0, begin + 1).join("\n"),
    inside: lines.slice(begin + 1, end).filter((line) => line.trim() !== ""),
    after: lines.slice(end).join("\n"),
  };
}

function columnsOf(presets: readonly Preset[]): string[] {
  return ["experiment", "paper", ...presets.map((preset) => `${preset} preset`)];
}

/** A row of the table. @param before the row as it stands: its counts stay where no report is kept */
function cellsOf({ name, source, reports }: PresetReports, presets: readonly Preset[], before: readonly string[] = []) {
  const counts = presets.map((preset, i) => {
    const report = reports[preset];
    return report ? countsText(report.verdicts) : (before[2 + i] ?? "");
  });
  return [`[\`${name}\`](experiments/${name}.md)`, source.replaceAll("|", "\\|"), ...counts];
}

/** "4 / 0 / 1": claims reproduced, not reproduced, and neither. */
function countsText(verdicts: KeptReport["verdicts"]): string {
  const counts: Record<Tone, number> = { good: 0, bad: 0, open: 0 };
  for (const [verdict, count] of Object.entries(verdicts)) counts[toneOf(verdict)] += count;
  return `${counts.good} / ${counts.bad} / ${counts.open}`;
}

/** The cells of a table's line, as they stand in it. */
function readRow(line: string): string[] {
  return line
    .trim()
    .replace(/^\||(?<!\\)\|$/g, "")
    .split(/(?<!\\)\|/)
    .map((cell) => cell.trim());
}

/** A Markdown table whose columns are as wide as their widest cell. */
function tableText(columns: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = columns.map((_, c) => Math.max(...[columns, ...rows].map((row) => [...(row[c] ?? "")].length)));
  const line = (cells: readonly string[], fill = " ") =>
    `| ${widths.map((width, c) => (cells[c] ?? "") + fill.repeat(width - [...(cells[c] ?? "")].length)).join(" | ")} |`;
  return [line(columns), line([], "-"), ...rows.map((row) => line(row))].join("\n");
}
