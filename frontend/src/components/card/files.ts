/** Rows as a table: what a card's CSV is made of. */
export interface Table {
  readonly columns: readonly string[];
  readonly rows: readonly (readonly (string | number)[])[];
}

/** What spreadsheets take for the beginning of a formula. */
const FORMULA = /^[=+\-@\t\r]/;

/**
 * A table as RFC 4180 CSV. Numbers keep full precision; what is not finite stays empty. Text that a spreadsheet would run as a formula,
 * as a token or a name of a metric may look, gets an apostrophe in front. Text with "#" is quoted, so that it begins no
 * comment where comments are read.
 */
export function csvText({ columns, rows }: Table): string {
  const cell = (value: string | number): string => {
    if (typeof value === "number") return Number.isFinite(value) ? String(value) : "";
    const plain = FORMULA.test(value) && !isNumber(value) ? `'${value}` : value;
    return /[",;\t\r\n#]/.test(plain) ? `"${plain.replaceAll('"', '""')}"` : plain;
  };
  return [columns, ...rows].map((row) => `${row.map(cell).join(",")}\r\n`).join("");
}

function isNumber(text: string): boolean {
  return /^[+-]?[\d.]/.test(text) && Number.isFinite(Number(text));
}

/** The name of a download: headscope-TITLE.EXTENSION in lower case with hyphens. */
export function fileName(title: string, extension: string): string {
  const words = title
    .toLowerCase()
    .replace(/[^\p{L}\p{N}.]+/gu, "-")
    .replace(/^-+|-+$/g, "");
  return `headscope-${words || "data"}.${extension}`;
}

/** Hands the user a file. */
export function save(name: string, content: string | Blob, type = "text/plain"): void {
  const blob = typeof content === "string" ? new Blob([content], { type }) : content;
  const url = URL.createObjectURL(blob);
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  // Browsers read the URL after the click.
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
