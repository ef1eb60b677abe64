import { CHAR_BYTES, wholeText } from "./text/bytes.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** Stands in a decoded text for bytes that are no whole character. */
const BROKEN = "\ufffd";
/** Tokens that one run of characters may share; a character has four bytes at most. */
const LONGEST_GROUP = 16;

/** A tokenizer as far as labels need it. */
type Labelled = Pick<Tokenizer, "token" | "spelling">;

/**
 * Labels of the tokens of a text. A token that is a part of a character is labelled by the characters that it and its neighbours make
 * up and its place among them, "茶(1/3)"; one whose bytes make up none by its bytes, "<E8>".
 */
export function tokenLabels(tokenizer: Labelled, ids: readonly number[]): string[] {
  const parts = ids.map((id) => ({ text: tokenizer.token(id), bytes: partBytes(tokenizer, id) }));
  const labels: string[] = [];
  while (labels.length < parts.length) {
    const rest = parts.slice(labels.length, labels.length + LONGEST_GROUP);
    const { text, bytes } = rest[0]!;
    const group = bytes === undefined ? undefined : characters(rest.map((part) => part.bytes));
    if (group === undefined) labels.push(bytes === undefined ? text : hexLabel(bytes));
    else for (let i = 1; i <= group.tokens; i++) labels.push(`${group.text}(${i}/${group.tokens})`);
  }
  return labels;
}

/** Label of one token by itself: its text, with bytes that are no whole character as "<E8>". */
export function tokenLabel(tokenizer: Labelled, id: number): string {
  const bytes = partBytes(tokenizer, id);
  return bytes === undefined ? tokenizer.token(id) : hexLabel(bytes);
}

/** The bytes of a token that has parts of characters in it; undefined for one that reads as it is. */
function partBytes(tokenizer: Labelled, id: number): readonly number[] | undefined {
  if (!tokenizer.token(id).includes(BROKEN)) return undefined;
  const spelling = tokenizer.spelling(id);
  const bytes = spelling === undefined ? undefined : bytesOf(spelling);
  return bytes === undefined || wholeText(bytes) !== undefined ? undefined : bytes;
}

/** Bytes of a token as byte-level vocabularies spell them (GPT-2), or as vocabularies that fall back to bytes do: <0xE8>. */
function bytesOf(spelling: string): readonly number[] | undefined {
  const fallback = /^<0x([0-9A-Fa-f]{2})>$/.exec(spelling)?.[1];
  if (fallback !== undefined) return [Number.parseInt(fallback, 16)];
  const bytes = [...spelling].map((character) => CHAR_BYTES.get(character));
  return bytes.includes(undefined) ? undefined : (bytes as number[]);
}

/** The characters that the first few of some tokens make up together; undefined where they make up none. */
function characters(
  parts: readonly (readonly number[] | undefined)[],
): { readonly text: string; readonly tokens: number } | undefined {
  const bytes: number[] = [];
  for (const [i, part] of parts.entries()) {
    if (part === undefined) return undefined;
    bytes.push(...part);
    const text = wholeText(bytes);
    if (text !== undefined) return { text, tokens: i + 1 };
  }
  return undefined;
}

const hex = (byte: number): string => byte.toString(16).toUpperCase().padStart(2, "0");

/** Whole characters as they are, other bytes as "<E8>". */
function hexLabel(bytes: readonly number[]): string {
  let label = "";
  for (let first = 0; first < bytes.length; ) {
    const length = [1, 2, 3, 4].find((count) => {
      const some = bytes.slice(first, first + count);
      return some.length === count && wholeText(some) !== undefined;
    });
    const some = bytes.slice(first, first + (length ?? 1));
    label += length === undefined ? `<${hex(some[0]!)}>` : wholeText(some)!;
    first += some.length;
  }
  return label;
}
