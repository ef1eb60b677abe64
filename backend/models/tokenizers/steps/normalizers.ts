import { damaged } from "../models/token-model.ts";
import { byteLevel } from "../text/bytes.ts";
import { CLASSES, everywhere } from "../text/unicode.ts";
import { expression, replaceAll } from "./cutting.ts";
import { precompiled } from "./precompiled.ts";
import type { Normalizer } from "./steps.ts";

/** A step of the normalizer. */
export type Normalize = (text: string) => string;

const PART = "normalizer";
const INERT = everywhere(CLASSES.inert);
const MARKS = everywhere(CLASSES.mark);
const ACCENTS = everywhere(CLASSES.accent);
const SPACE = CLASSES.space;
const LEADING = new RegExp(`^[${SPACE}]+`, "v");
const CHINESE =
  /[\u{3400}-\u{4dbf}\u{4e00}-\u{9fff}\u{f900}-\u{faff}\u{20000}-\u{2a6df}\u{2a700}-\u{2b81f}\u{2b920}-\u{2ceaf}\u{2f800}-\u{2fa1f}]/gu;
/** Control characters of the crate unicode_categories, tab and line ends left out. */
const CONTROL = /[\0\ufffd]|(?![\t\n\r\u0890\u0891\u08e2\u{110cd}\u{13430}-\u{1343f}])[\p{Cc}\p{Cf}\p{Co}]/gu;
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is taken away
const NMT_REMOVED = /[\x01-\x08\x0b\x0e-\x1f\x7f\x8f\x9f]/g;
const NMT_SPACE = /[\t\n\f\r\u1680\u200b-\u200f\u2028\u2029\u2581\ufeff\ufffd]/g;

/**
 * Builds a normalizer.
 * @throws HeadscopeError "unsupported" for a pattern or table that cannot be followed
 */
export function normalizer(step: Normalizer): Normalize {
  switch (step.type) {
    case "NFC":
    case "NFD":
    case "NFKC":
    case "NFKD":
      return (text) => normalised(text, step.type);
    case "Lowercase":
      return lowercase;
    case "StripAccents":
      return (text) => text.replace(MARKS, "");
    case "Nmt":
      return (text) => text.replace(NMT_REMOVED, "").replace(NMT_SPACE, " ");
    case "ByteLevel":
      return byteLevel;
    case "Prepend":
      return (text) => (text === "" ? "" : step.prepend + text);
    case "Strip":
      return (text) => {
        const right = step.strip_right ? withoutTrailing(text) : text;
        return step.strip_left ? right.replace(LEADING, "") : right;
      };
    case "Replace": {
      const pattern = expression(step.pattern, PART);
      return (text) => replaceAll(text, pattern, step.content);
    }
    case "Precompiled":
      return precompiled(new Uint8Array(Buffer.from(step.precompiled_charsmap, "base64")));
    case "BertNormalizer":
      return bert(step);
    case "Sequence":
      return inTurn(step.normalizers.map(normalizer));
  }
}

/** Longest text in UTF-16 units that a step may make of a shorter one: replacements can multiply it, step by step. */
const LONGEST = 2 ** 22;

function inTurn(steps: readonly Normalize[]): Normalize {
  return (text) =>
    steps.reduce((before, step) => {
      const after = step(before);
      if (after.length > Math.max(LONGEST, 2 * text.length))
        throw damaged(`its normalizer makes ${after.length} characters of ${text.length}`);
      return after;
    }, text);
}

/** A normal form of Unicode in the tables of Rust's tokenizers: what these don't know stays, and parts its neighbours. */
function normalised(text: string, form: string): string {
  let result = "";
  let previous = 0;
  for (const { index, 0: char } of text.matchAll(INERT)) {
    result += text.slice(previous, index).normalize(form) + char;
    previous = index + char.length;
  }
  return result + text.slice(previous).normalize(form);
}

/** Small letters by character: JavaScript's own looks at the neighbours of a sigma. */
function lowercase(text: string): string {
  return text.includes("Σ")
    ? text
        .split("Σ")
        .map((part) => part.toLowerCase())
        .join("σ")
    : text.toLowerCase();
}

/** A text without the white space at its end; an expression of white space at an end is tried at every space. */
function withoutTrailing(text: string): string {
  let end = text.length;
  while (end > 0 && isSpace(text[end - 1]!)) end--;
  return text.slice(0, end);
}

const SPACE_CHAR = new RegExp(`^[${SPACE}]$`, "v");

/** Tells whether a character is white space to Rust: U+0085 is, U+FEFF is not. */
function isSpace(char: string): boolean {
  return SPACE_CHAR.test(char);
}

function bert({
  clean_text,
  handle_chinese_chars,
  strip_accents,
  lowercase: lower,
}: Extract<Normalizer, { type: "BertNormalizer" }>): Normalize {
  const spaces = everywhere(SPACE);
  const steps: Normalize[] = [];
  if (clean_text) steps.push((text) => text.replace(CONTROL, "").replace(spaces, " "));
  if (handle_chinese_chars) steps.push((text) => text.replace(CHINESE, " $& "));
  if (strip_accents ?? lower) steps.push((text) => normalised(text, "NFD").replace(ACCENTS, ""));
  if (lower) steps.push(lowercase);
  return inTurn(steps);
}
