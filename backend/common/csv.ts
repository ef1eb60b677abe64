/** A cell: a number, or text. */
export type CsvCell = string | number;

/** Beginning of a text that spreadsheets take for a formula. */
const FORMULA = /^[=+\-@\t\r]/;

/**
 * Rows as CSV (RFC 4180 quoting, lines end with \n). Text that a spreadsheet would run as a formula gets an apostrophe in front: names
 * of metrics and texts of tokens come from anybody's file. Numbers have all their digits, also those that are text already.
 */
export function csvText(rows: readonly (readonly CsvCell[])[]): string {
  return rows.map((row) => `${row.map(cellText).join(",")}\n`).join("");
}

function cellText(cell: CsvCell): string {
  if (typeof cell === "number") return String(cell);
  const plain = FORMULA.test(cell) && !isNumber(cell) ? `'${cell}` : cell;
  return /[",;\t\r\n]/.test(plain) ? `"${plain.replaceAll('"', '""')}"` : plain;
}

function isNumber(text: string): boolean {
  return /^[+-]?[\d.]/.test(text) && Number.isFinite(Number(text));
}
