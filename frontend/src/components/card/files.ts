import { csvText, DOWNLOADS } from "../../../../backend/common/csv.ts";

/** Rows as a table: what a card's CSV is made of. */
export interface Table {
  readonly columns: readonly string[];
  readonly rows: readonly (readonly (string | number)[])[];
}

/** The content of a card in a form that another program reads. */
export interface CardFile {
  readonly label: string;
  readonly hint: string;
  /** Of the download. */
  readonly name: string;
  /** Media type. */
  readonly type: string;
  /** @throws ApiError where the server makes it, and refuses */
  content(): string | Promise<string>;
}

/** A table as a download's CSV. */
export function tableCsv({ columns, rows }: Table): string {
  return csvText([columns, ...rows], DOWNLOADS);
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
