import { workspace } from "../../state/workspace.svelte.ts";
import type { Subject } from "./subject.ts";

/** The origin of what leaves the page: the same in figures, JSON and CSV. */
export interface Provenance extends Subject {
  readonly title: string;
  /** Version of headscope. */
  readonly headscope?: string | undefined;
  /** The command line that gives the same in the terminal; absent where there is none. */
  readonly command?: string | undefined;
  /** Other choices, by name. */
  readonly settings?: Readonly<Record<string, unknown>> | undefined;
  /** ISO 8601 time. */
  readonly created: string;
}

/**
 * The provenance of a card's content now.
 * @param subject what it is of @param settings what the command does not say, such as the text and the method
 */
export function provenanceOf(
  title: string,
  command: string,
  subject: Subject,
  settings?: Readonly<Record<string, unknown>>,
): Provenance {
  const { health } = workspace;
  return {
    title,
    ...subject,
    headscope: health.value?.version,
    command: command || undefined,
    settings,
    created: new Date().toISOString(),
  };
}

/** A value with its provenance: an object gets it as one more field, anything else becomes its `data`. */
export function withProvenance(value: unknown, provenance: Provenance): unknown {
  const plain = typeof value === "object" && value !== null && !Array.isArray(value);
  return plain ? { ...value, provenance } : { provenance, data: value };
}

/** The lines of provenance, a fact each, in words; digests to their first 12 digits. */
export function provenanceLines({ model, digest, headscope, command, settings, created }: Provenance): string[] {
  const short = digest?.replace(/\b([0-9a-f]{12})[0-9a-f]+/g, "$1");
  const of = model === undefined ? [] : [`model ${model}${short === undefined ? "" : ` (${short})`}`];
  const by = `headscope${headscope === undefined ? "" : ` ${headscope}`}, ${created}`;
  const chosen =
    settings === undefined
      ? []
      : [
          Object.entries(settings)
            .map(([name, value]) => `${name} ${words(value)}`)
            .join(", "),
        ];
  return [[...of, by].join(", "), ...chosen, ...(command === undefined ? [] : command.split("\n"))].map(oneLine);
}

function words(value: unknown): string {
  return typeof value === "string" ? value : (JSON.stringify(value) ?? "");
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, " ").trim();
}

/** A table as CSV below lines of provenance that begin with "# ". @param text of the table */
export function csvWithProvenance(text: string, provenance: Provenance): string {
  const lines = [provenance.title, ...provenanceLines(provenance)].map((line) => `# ${oneLine(line)}\r\n`);
  return lines.join("") + text;
}
