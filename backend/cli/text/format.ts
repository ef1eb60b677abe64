import type { Model } from "../../models/model.ts";
import { mark, output } from "../../setup/terminal.mjs";

/** A table's column: its heading over text, or with `align: "right"` over numbers. */
export type Column = string | { readonly head: string; readonly align?: "right" };

/** A column of numbers. */
export function right(head: string): Column {
  return { head, align: "right" };
}

const GAP = "  ";

/** Tells whether text for this stream may hold colours: a terminal, and NO_COLOR is not set. */
export function colourful(stream: { readonly isTTY?: boolean | undefined }, env = process.env): boolean {
  return stream.isTTY === true && !env["NO_COLOR"] && env["TERM"] !== "dumb";
}

/** Text in bold where the terminal shows it, the text itself elsewhere. */
export function bold(text: string, on = colourful(output)): string {
  return on ? `${mark("bold")}${text}${mark("plain")}` : text;
}

/** Text that stands back where the terminal shows it, the text itself elsewhere. */
export function dim(text: string, on = colourful(output)): string {
  return on ? `${mark("dim")}${text}${mark("plain")}` : text;
}

/**
 * A table of text: as wide as its cells, two spaces between columns, no lines.
 * @param rows cells as text, one array a row; a missing cell is empty
 * @param indent put before every line
 */
export function table(columns: readonly Column[], rows: readonly (readonly string[])[], indent = ""): string {
  const heads = columns.map((column) => (typeof column === "string" ? column : column.head));
  const widths = heads.map((head, c) => Math.max(head.length, ...rows.map((row) => row[c]?.length ?? 0)));
  const line = (cells: readonly string[]) =>
    columns
      .map((column, c) => {
        const [cell, width] = [cells[c] ?? "", widths[c]!];
        return typeof column === "string" || column.align !== "right" ? cell.padEnd(width) : cell.padStart(width);
      })
      .join(GAP)
      .trimEnd();
  const body = rows.map((row) => indent + line(row));
  return (heads.some((head) => head !== "") ? [indent + dim(line(heads)), ...body] : body).join("\n");
}

/** Bytes for people: "512 B", "24.9 MB". Decimal units. */
export function bytes(count: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = count;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 || value >= 99.95 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

/** Milliseconds for people: "3.2 ms", "840 ms", "12.4 s". */
export function duration(milliseconds: number): string {
  if (milliseconds < 10) return `${milliseconds.toFixed(1)} ms`;
  return milliseconds < 1000 ? `${Math.round(milliseconds)} ms` : `${(milliseconds / 1000).toFixed(1)} s`;
}

/** A score or loss: three decimals. */
export function number(value: number, digits = 3): string {
  return value.toFixed(digits);
}

/** A share of a whole: "12.3 %". */
export function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}

/** A token in quotes, or its id where the model has no tokenizer. */
export function tokenText({ tokenizer }: Pick<Model, "tokenizer">, id: number): string {
  return tokenizer ? JSON.stringify(tokenizer.token(id)) : String(id);
}

/** A whole number with commas between thousands. */
export function count(value: number): string {
  return value.toLocaleString("en-US");
}

/** Text on one line, cut to a width, in quotes; line breaks become spaces. */
export function quoted(text: string, width = 60): string {
  const line = text.replace(/\s+/g, " ").trim();
  return `"${line.length > width ? `${line.slice(0, width - 1)}…` : line}"`;
}
