import { distance } from "fastest-levenshtein";

/** Kinds of errors, by who can mend them: `usage` is a wrong call (exit code 2), the others are exit code 1. */
export type ErrorKind =
  | "usage"
  | "input"
  | "corrupt"
  | "missing"
  | "unsupported"
  | "network"
  | "mismatch"
  | "busy"
  | "crashed"
  | "cancelled";

/** Most characters of a message or a remedy: what it quotes may come from anybody, and the line is for a person. */
const LINE = 2_000;
/** Most characters of one name that a message quotes. */
const NAME = 200;
/** Most fields that an error names. */
const FIELDS = 16;

/**
 * A text cut to a length, an ellipsis in place of the rest; no character is cut in two.
 * @param most UTF-16 units, default what a quoted name may have
 */
export function brief(text: string, most = NAME): string {
  if (text.length <= most) return text;
  return `${text.slice(0, most - 1).replace(/[\ud800-\udbff]$/, "")}…`;
}

/** Parts of an error beside its kind and message. */
export interface ErrorParts {
  /** Advice for whoever reads the message. */
  readonly remedy?: string | undefined;
  readonly cause?: unknown;
  /** Parameter, option or field of a request that cannot be as it is; several where they contradict each other. */
  readonly field?: string | readonly string[] | undefined;
  /** Name of the thing that the error is about: the path of a file; of a `usage` error a name that nothing goes by. */
  readonly subject?: string | undefined;
}

/** A field within a document as a person writes it: "metrics.induction.values[3][1]". */
export function fieldPath(path: readonly PropertyKey[]): string {
  return path
    .map((part, i) => (typeof part === "number" ? `[${part}]` : `${i > 0 ? "." : ""}${String(part)}`))
    .join("");
}

/** Cuts the names of fields, which may come from anybody, and leaves out those beyond sixteen. */
export function briefField(field: ErrorParts["field"]): ErrorParts["field"] {
  return typeof field === "object" ? field.slice(0, FIELDS).map((name) => brief(name)) : field && brief(field);
}

/**
 * An error written for the person who must act on it: one line that names the thing, and a remedy.
 * Everything that headscope throws on purpose is one of these; anything else is a defect. What is longer than a person
 * reads is cut, whoever it came from. Programs decide by kind, field and subject, never by the message.
 */
export class HeadscopeError extends Error {
  readonly kind: ErrorKind;
  readonly remedy: string | undefined;
  readonly field: string | readonly string[] | undefined;
  readonly subject: string | undefined;

  constructor(kind: ErrorKind, message: string, { remedy, cause, field, subject }: ErrorParts = {}) {
    super(brief(message, LINE), cause === undefined ? undefined : { cause });
    this.name = "HeadscopeError";
    this.kind = kind;
    this.remedy = remedy === undefined ? undefined : brief(remedy, LINE);
    this.field = briefField(field);
    this.subject = subject && brief(subject, LINE);
  }

  /** Process exit code: 2 for a wrong call, 1 for everything else. */
  get exitCode(): 1 | 2 {
    return this.kind === "usage" ? 2 : 1;
  }

  /** The line that a person reads: what is wrong, then what to do. */
  get line(): string {
    return this.remedy === undefined ? this.message : `${this.message}; ${this.remedy}`;
  }
}

/**
 * The names nearest to a misspelt one, best first; of a very long one its beginning counts.
 * @param most how many at most, default 3
 */
export function nearestNames(name: string, candidates: readonly string[], most = 3): string[] {
  const target = brief(name).toLowerCase();
  return candidates
    .map((candidate) => {
      const lower = candidate.toLowerCase();
      const begun = target.length > 1 && lower.startsWith(target); // a name that somebody has begun to type
      const contained = lower.includes(target) || target.includes(lower);
      const score = distance(target, lower) - (contained ? target.length / 2 : 0);
      return { candidate, score: begun ? score - lower.length : score };
    })
    .sort((a, b) => a.score - b.score)
    .slice(0, most)
    .map(({ candidate }) => candidate);
}

/** Says of an error that it is one of `unknownName`'s, also after it came through a pipe. */
export function isUnknownName({ kind, subject }: HeadscopeError): boolean {
  return kind === "usage" && subject !== undefined;
}

/** The error for a name that no registry knows: it lists the nearest names. */
export function unknownName(what: string, given: string, candidates: readonly string[]): HeadscopeError {
  const name = String(given); // of a caller without types it may be anything
  const near = nearestNames(name, candidates);
  const remedy = near.length > 0 ? `did you mean ${near.join(", ")}?` : `there is no ${what} to choose from`;
  return new HeadscopeError("usage", `unknown ${what} "${brief(name)}"`, { remedy, subject: brief(name) });
}

/** The same error with a place before its message, such as the file and field that it comes from. */
export function errorAt(place: string, error: HeadscopeError): HeadscopeError {
  const { kind, message, remedy, field, subject } = error;
  return new HeadscopeError(kind, `${place}: ${message}`, { remedy, cause: error, field, subject });
}
