/** A cell: a number, or text. */
export type CsvCell = string | number;

/** Forms of CSV that readers differ in. */
export interface CsvForm {
  /** End of a line. */
  readonly newline: "\n" | "\r\n";
  /** Numbers that are none are left empty; else they are written as NaN and Infinity. */
  readonly empty: boolean;
  /** Text that has one of these characters is quoted. */
  readonly quoted: RegExp;
}

/** For programs that read the numbers back. */
const FILES: CsvForm = { newline: "\n", empty: false, quoted: /[",;\t\r\n]/ };

/** For downloads, which people open anywhere: text with "#" is quoted, so that it begins no comment where comments are read. */
export const DOWNLOADS: CsvForm = { newline: "\r\n", empty: true, quoted: /[",;\t\r\n#]/ };

/** Characters that spreadsheets take for the beginning of a formula. */
const FORMULA = /^[=+\-@\t\r]/;

/**
 * Rows as CSV (RFC 4180 quoting). Text that a spreadsheet would run as a formula gets an apostrophe in front: names
 * of metrics and texts of tokens come from anybody's file. Numbers have all their digits, also those that are text already.
 */
export function csvText(rows: readonly (readonly CsvCell[])[], form: CsvForm = FILES): string {
  return rows.map((row) => `${row.map((cell) => cellText(cell, form)).join(",")}${form.newline}`).join("");
}

function cellText(cell: CsvCell, { empty, quoted }: CsvForm): string {
  if (typeof cell === "number") return empty && !Number.isFinite(cell) ? "" : String(cell);
  const plain = FORMULA.test(cell) && !isNumber(cell) ? `'${cell}` : cell;
  return quoted.test(plain) ? `"${plain.replaceAll('"', '""')}"` : plain;
}

function isNumber(text: string): boolean {
  return /^[+-]?[\d.]/.test(text) && Number.isFinite(Number(text));
}
