import { translate, UnknownPattern } from "../text/oniguruma.ts";
import { type Behavior, notFollowed, type Pattern } from "./steps.ts";

/** A part of a text, from `start` to `end` in UTF-16 units, and whether it is what was looked for. */
interface Span {
  readonly start: number;
  readonly end: number;
  readonly match: boolean;
}

/**
 * The expression that a step of tokenizer.json looks for.
 * @param part where the step stands, for the refusal
 * @throws HeadscopeError "unsupported" for a regular expression that cannot be translated
 */
export function expression(pattern: Pattern, part: string): RegExp {
  if ("String" in pattern) return new RegExp(pattern.String.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&"), "gv");
  try {
    return translate(pattern.Regex);
  } catch (error) {
    if (!(error instanceof UnknownPattern)) throw error;
    const label = JSON.stringify(pattern.Regex.slice(0, 60));
    throw notFollowed(part, `the pattern ${label} is not known; ${error.message}`, error);
  }
}

/**
 * Ends of the matches of an expression, start and end in turn. As Rust's iterator does, an empty match directly behind another
 * match is passed over.
 */
function* matches(text: string, expression: RegExp): Generator<[number, number]> {
  let previous = -1;
  for (let at = 0; at <= text.length; ) {
    expression.lastIndex = at;
    const matches = expression.exec(text);
    if (matches === null) return;
    const [start, end] = [matches.index, matches.index + matches[0].length];
    if (start === end && end === previous) {
      at += (text.codePointAt(at) ?? 0) > 0xffff ? 2 : 1;
      continue;
    }
    // V8 lets an assertion hold between the halves of one character.
    if ((text.charCodeAt(start) & 0xfc00) === 0xdc00) {
      at = start + 1;
      continue;
    }
    at = end;
    previous = end;
    yield [start, end];
  }
}

function spans(text: string, expression: RegExp, invert: boolean): Span[] {
  const result: Span[] = [];
  let previous = 0;
  for (const [start, end] of matches(text, expression)) {
    if (previous !== start) result.push({ start: previous, end: start, match: invert });
    result.push({ start, end, match: !invert });
    previous = end;
  }
  if (previous !== text.length) result.push({ start: previous, end: text.length, match: invert });
  return result;
}

/** Rules of neighbours that become one piece, by the behaviour: a span's match and that of the one before. */
const JOINS: Readonly<Record<Behavior, (match: boolean, before: boolean) => boolean>> = {
  Removed: () => false,
  Isolated: () => false,
  Contiguous: (match, before) => match === before,
  MergedWithPrevious: (match, before) => match && !before,
  MergedWithNext: (match, before) => match && !before,
};

/**
 * Cuts a text by an expression.
 * @param invert what lies between two matches counts as the match
 * @returns the pieces in order, none of them empty
 */
export function cut(text: string, expression: RegExp, behavior: Behavior, invert = false): string[] {
  const backwards = behavior === "MergedWithNext";
  const matches = spans(text, expression, invert);
  if (backwards) matches.reverse();
  const pieces: { start: number; end: number }[] = [];
  let before = false;
  for (const { start, end, match } of matches) {
    const last = pieces.at(-1);
    if (behavior === "Removed" && match) continue;
    if (last !== undefined && JOINS[behavior](match, before)) {
      if (backwards) last.start = start;
      else last.end = end;
    } else pieces.push({ start, end });
    before = match;
  }
  if (backwards) pieces.reverse();
  return pieces.filter(({ start, end }) => end > start).map(({ start, end }) => text.slice(start, end));
}

/** A text with every match of an expression replaced. */
export function replaceAll(text: string, expression: RegExp, content: string): string {
  if (text === "") return "";
  let result = "";
  let previous = 0;
  for (const [start, end] of matches(text, expression)) {
    result += text.slice(previous, start) + content;
    previous = end;
  }
  return result + text.slice(previous);
}
