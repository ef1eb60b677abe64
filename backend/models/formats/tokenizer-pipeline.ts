import { HeadscopeError } from "../../errors.ts";

/** One step of tokenizer.json's pipeline, of any kind. */
export interface Step {
  readonly type?: string;
  readonly [setting: string]: unknown;
}

/** GPT-2's cut of a text, in the terms of the original's regular expressions. */
export const GPT2_CUT = String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`;

/** A pre-tokenizer that makes every match of an expression a piece, and what lies between two of them. */
export function cutBy(regex: string): Step {
  return { type: "Split", pattern: { Regex: regex }, behavior: "Isolated", invert: false };
}

/** Bytes as the printable characters that byte-level vocabularies are written in. */
export const BYTE_LEVEL: Step = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false };

/** Several pre-tokenizers, one after the other. */
export function sequence(...pretokenizers: readonly Step[]): Step {
  return { type: "Sequence", pretokenizers };
}

/**
 * Every numeric character by itself or in runs, ½ and Ⅷ too: what the original means by Digits. The package's own stops at
 * decimal digits, and gives other ids there.
 */
export function cutDigits(individual: boolean): Step {
  return cutBy(individual ? "\\p{N}" : "\\p{N}+");
}

/**
 * A tokenizer.json in the terms that the package takes as the original means them: numeric characters in Digits, white space
 * in ByteLevel's own expression (U+0085 is some, U+FEFF is none), the words of Metaspace, and the pieces of Split.
 * @throws HeadscopeError (unsupported) for a step that would be done in another way without a word
 */
export function asWritten(tokenizerJson: object): object {
  const { pre_tokenizer: pre, decoder, model } = tokenizerJson as Record<string, Step | null | undefined>;
  if (model?.type === "Unigram" && model["byte_fallback"] === true)
    throw new HeadscopeError("unsupported", "tokenizer.json is a Unigram model that falls back to bytes", {
      remedy: "give token ids instead of text",
    });
  return { ...tokenizerJson, pre_tokenizer: preTokenizer(pre), decoder: decoderAsWritten(decoder) };
}

function preTokenizer(step: Step | null | undefined): unknown {
  switch (step?.type) {
    case "Digits":
      return cutDigits(step["individual_digits"] === true);
    case "ByteLevel":
      return step["use_regex"] === false || step["add_prefix_space"] === true
        ? step
        : sequence(cutBy(GPT2_CUT), { ...step, use_regex: false });
    case "Metaspace":
      return step["split"] === false ? step : sequence(step, cutBy(wordsFrom(String(step["replacement"] ?? "▁"))));
    case "Split":
      return splitAsWritten(step);
    case "Sequence":
      return { ...step, pretokenizers: (step["pretokenizers"] as Step[]).map(preTokenizer) };
    default:
      return step ?? null;
  }
}

/** Pieces that each begin with a mark, where there is one. */
function wordsFrom(mark: string): string {
  return `${mark}[^${mark}]*|[^${mark}]+`;
}

/** The package knows pieces that are matches, and pieces between matches. */
function splitAsWritten(step: Step): Step {
  const behavior = String(step["behavior"]);
  if (behavior === "Removed") return step;
  // Inverted or not, the pieces are the matches and what lies between them.
  if (behavior === "Isolated") return { ...step, invert: false };
  const mark = (step["pattern"] as { String?: string } | undefined)?.String;
  if (mark?.length === 1 && step["invert"] !== true) {
    const [one, other] = mark === "^" || mark === "\\" || mark === "]" ? [`\\${mark}`, `\\${mark}`] : [mark, mark];
    if (behavior === "MergedWithPrevious") return cutBy(`[^${other}]*[${one}]|[^${other}]+`);
    if (behavior === "MergedWithNext") return cutBy(`[${one}][^${other}]*|[^${other}]+`);
  }
  throw new HeadscopeError("unsupported", `tokenizer.json cuts texts by Split with the behavior ${behavior}`, {
    remedy: "give token ids instead of text",
  });
}

/** Metaspace takes a space from the first token, except where it never puts one. */
function decoderAsWritten(decoder: Step | null | undefined): unknown {
  if (decoder?.type !== "Metaspace" || decoder["prepend_scheme"] !== "never") return decoder ?? null;
  return { type: "Replace", pattern: { String: String(decoder["replacement"] ?? "▁") }, content: " " };
}

/** Whether a decoder takes the space from before the first token of a text. */
export function stripsFirst(decoder: unknown): boolean {
  const { type, decoders, start, prepend_scheme: scheme } = (decoder ?? {}) as Step & { decoders?: unknown[] };
  if (type === "Sequence") return decoders?.some(stripsFirst) === true;
  return (type === "Strip" && Number(start) > 0) || (type === "Metaspace" && scheme !== "never");
}
