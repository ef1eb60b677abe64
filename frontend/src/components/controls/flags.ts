import type { Problem } from "../../../../backend/common/api/problem.ts";
import type { Flag } from "../../../../backend/common/definitions/definition.ts";

const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

/** The choices of a flag; undefined where it takes other things. */
export function choicesOf({ type }: Pick<Flag, "type">): readonly string[] | undefined {
  if (type === "true or false") return ["true", "false"];
  const words = type.split(" | ");
  return words.length > 1 && !type.includes(" or ") ? words : undefined;
}

/** A flag's default as it would be typed; "" for none. */
export function defaultText({ default: value }: Pick<Flag, "default">): string {
  if (value === undefined || value === null) return "";
  if (Array.isArray(value))
    return value.every((each) => typeof each !== "object") ? value.join(",") : JSON.stringify(value);
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** The fault of a flag's text; undefined where it can be sent. The server has the last word. */
export function flagProblem({ type, range }: Pick<Flag, "type" | "range">, text: string): string | undefined {
  const given = text.trim();
  if (given === "") return undefined;
  const choices = choicesOf({ type });
  if (choices) return choices.includes(given) ? undefined : `one of ${choices.join(", ")}`;
  if (type === "integer" || type === "number") return numberProblem(type, range, given);
  const list = /^list of (integer|number)s$/.exec(type);
  return list && !given.startsWith("[") ? listProblem(list[1]!, range, given.split(",")) : undefined;
}

/** @param range of each number, then of how many: "at least 8, 2 to 4 of them" */
function listProblem(type: string, range: string, parts: readonly string[]): string | undefined {
  const limits = range.split(", ");
  const count = limits.at(-1)!.endsWith(" of them") ? limits.pop()! : "";
  for (const part of parts.map((each) => each.trim())) {
    const wrong = numberProblem(type, limits.join(", "), part);
    if (wrong) return `${part || "nothing"} in the list: ${wrong}`;
  }
  const words = /^\d/.test(count) ? `from ${count}` : count;
  return inRange(words, parts.length) ? undefined : count;
}

function numberProblem(type: string, range: string, given: string): string | undefined {
  if (!NUMBER.test(given)) return type === "integer" ? "a whole number" : "a number";
  const value = Number(given);
  if (type === "integer" && !Number.isInteger(value)) return "a whole number";
  return inRange(range, value) ? undefined : range;
}

/** Says whether a number keeps to "from 1 to 8", "at least 2", "at most 9", "above 0, below 1". */
function inRange(range: string, value: number): boolean {
  const limit = (pattern: RegExp): number => Number(pattern.exec(range)?.[1] ?? Number.NaN);
  const [least, most, above, below] = [
    limit(/(?:at least|from) (\S+?)(?:,|\s|$)/),
    limit(/(?:at most|from \S+ to) (\S+?)(?:,|\s|$)/),
    limit(/above (\S+?)(?:,|\s|$)/),
    limit(/below (\S+?)(?:,|\s|$)/),
  ];
  return !(value < least! || value > most! || value <= above! || value >= below!);
}

/** Puts a problem beside the parameters that it is about. @param names of all parameters */
export function problemsByField(
  { detail, remedy, field = [] }: Problem,
  names: readonly string[],
): Record<string, string> {
  const text = remedy === undefined ? detail : `${detail}: ${remedy}`;
  return Object.fromEntries([field].flat().flatMap((name) => (names.includes(name) ? [[name, text]] : [])));
}
