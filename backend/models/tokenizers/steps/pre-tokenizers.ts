import { byteLevel } from "../text/bytes.ts";
import { translate } from "../text/oniguruma.ts";
import { CLASSES, everywhere } from "../text/unicode.ts";
import { cut, expression } from "./cutting.ts";
import { notFollowed, type PreTokenizer } from "./steps.ts";

/**
 * A step of the pre-tokenizer.
 * @param first whether the first piece begins where the whole text does
 * @returns smaller pieces in order, none of them empty
 */
export type PreTokenize = (pieces: readonly string[], first: boolean) => string[];

/** GPT-2's cut of a text, in the terms of the original's regular expressions. */
export const GPT2_CUT = String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`;

const PART = "pre_tokenizer";
const WORDS = new RegExp(`[${CLASSES.rustWord}]+|[^${CLASSES.rustWord}${CLASSES.space}]+`, "gv");
const SPACE = everywhere(CLASSES.space);
const PUNCTUATION = everywhere(CLASSES.punctuation);
const NUMERIC = everywhere(CLASSES.numeric);
const GPT2 = translate(GPT2_CUT);

/**
 * Builds a pre-tokenizer.
 * @throws HeadscopeError "unsupported" for a pattern that cannot be followed
 */
export function preTokenizer(step: PreTokenizer): PreTokenize {
  switch (step.type) {
    case "Whitespace":
      return each((piece) => cut(piece, WORDS, "Removed", true));
    case "WhitespaceSplit":
      return each((piece) => cut(piece, SPACE, "Removed"));
    case "BertPreTokenizer":
      return each((piece) => cut(piece, SPACE, "Removed").flatMap((word) => cut(word, PUNCTUATION, "Isolated")));
    case "Punctuation":
      return each((piece) => cut(piece, PUNCTUATION, step.behavior));
    case "Digits":
      return each((piece) => cut(piece, NUMERIC, step.individual_digits ? "Isolated" : "Contiguous"));
    case "CharDelimiterSplit": {
      const delimiter = expression({ String: step.delimiter }, PART);
      return each((piece) => cut(piece, delimiter, "Removed"));
    }
    case "FixedLength":
      return each((piece) => runs(piece, step.length));
    case "Split": {
      const pattern = expression(step.pattern, PART);
      return each((piece) => cut(piece, pattern, step.behavior, step.invert));
    }
    case "ByteLevel":
      return each((piece) => {
        const text = step.add_prefix_space && !piece.startsWith(" ") ? ` ${piece}` : piece;
        return (step.use_regex ? cut(text, GPT2, "Isolated") : [text]).map(byteLevel);
      });
    case "Metaspace":
      return metaspace(step);
    case "Sequence": {
      const late = step.pretokenizers.slice(1).find((later) => later.type === "Metaspace" && scheme(later) === "first");
      if (late) throw notFollowed(PART, 'Metaspace has prepend_scheme "first" behind another step');
      const steps = step.pretokenizers.map(preTokenizer);
      return (pieces, first) => steps.reduce<string[]>((before, next) => next(before, first), [...pieces]);
    }
  }
}

const each =
  (step: (piece: string) => string[]): PreTokenize =>
  (pieces) =>
    pieces.flatMap(step);

function runs(piece: string, length: number): string[] {
  const chars = [...piece];
  return Array.from({ length: Math.ceil(chars.length / length) }, (_, run) =>
    chars.slice(run * length, (run + 1) * length).join(""),
  );
}

/** Rule by which Metaspace puts its mark before a text; older files say it by a flag. */
export function scheme(step: {
  readonly prepend_scheme?: "always" | "first" | "never" | undefined;
  readonly add_prefix_space?: boolean | undefined;
}): "always" | "first" | "never" {
  if (step.add_prefix_space === false && step.prepend_scheme !== undefined && step.prepend_scheme !== "never")
    throw notFollowed(PART, `Metaspace has add_prefix_space false and prepend_scheme "${step.prepend_scheme}"`);
  return step.prepend_scheme ?? (step.add_prefix_space === false ? "never" : "always");
}

function metaspace(step: Extract<PreTokenizer, { type: "Metaspace" }>): PreTokenize {
  const { replacement } = step;
  const prepends = scheme(step);
  const mark = expression({ String: replacement }, PART);
  return (pieces, first) =>
    pieces.flatMap((piece, index) => {
      const text = piece.replaceAll(" ", replacement);
      const adds = prepends === "always" || (prepends === "first" && first && index === 0);
      const marked = adds && !text.startsWith(replacement) ? replacement + text : text;
      return step.split ? cut(marked, mark, "MergedWithNext") : [marked];
    });
}

/** Tells whether a pre-tokenizer looks at where in the text a piece begins. */
export function looksAtStart(step: PreTokenizer): boolean {
  return step.type === "Sequence"
    ? step.pretokenizers.some(looksAtStart)
    : step.type === "Metaspace" && scheme(step) === "first";
}
