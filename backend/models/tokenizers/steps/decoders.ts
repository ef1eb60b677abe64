import { CHAR_BYTES, textOfBytes, utf8, wholeText } from "../text/bytes.ts";
import { expression, replaceAll } from "./cutting.ts";
import { scheme } from "./pre-tokenizers.ts";
import { type Decoder, notFollowed } from "./steps.ts";

/** A step of the decoder: tokens in order to their texts. */
export type Decode = (tokens: readonly string[]) => string[];

const PART = "decoder";

/**
 * Builds a decoder; a text is what its last step gives, joined.
 * @throws HeadscopeError "unsupported" for a pattern that cannot be followed
 */
export function decoder(step: Decoder): Decode {
  switch (step.type) {
    case "ByteLevel":
      return (tokens) => [textOfBytes(tokens.flatMap(bytesOf))];
    case "WordPiece":
      return wordPiece(step);
    case "Metaspace": {
      const keeps = scheme(step) === "never";
      return (tokens) =>
        tokens.map((token, index) => token.replaceAll(step.replacement, index === 0 && !keeps ? "" : " "));
    }
    case "BPEDecoder":
      return (tokens) =>
        tokens.map((token, index) => token.replaceAll(step.suffix, index === tokens.length - 1 ? "" : " "));
    case "Replace": {
      const pattern = expression(step.pattern, PART);
      return (tokens) => tokens.map((token) => replaceAll(token, pattern, step.content));
    }
    case "Strip":
      // Rust's tokenizers end in a panic where a token is shorter than what is taken from its end.
      if (step.stop > 1 || (step.start > 0 && step.stop > 0))
        throw notFollowed(PART, `Strip has start ${step.start} and stop ${step.stop}`);
      return (tokens) => tokens.map((token) => strip(token, step));
    case "Fuse":
      return (tokens) => [tokens.join("")];
    case "ByteFallback":
      return byteFallback;
    case "Sequence": {
      const steps = step.decoders.map(decoder);
      return (tokens) => steps.reduce<string[]>((before, next) => next(before), [...tokens]);
    }
  }
}

/** Bytes of a byte-level token; the text's own where a character of it is no byte's. */
function bytesOf(token: string): number[] {
  const bytes: number[] = [];
  for (const char of token) {
    const byte = CHAR_BYTES.get(char);
    if (byte === undefined) return [...utf8(token)];
    bytes.push(byte);
  }
  return bytes;
}

/** Spaces that English does without, in the order of Rust's tokenizers. */
const CLEANED = [
  [" .", "."],
  [" ?", "?"],
  [" !", "!"],
  [" ,", ","],
  [" ' ", "'"],
  [" n't", "n't"],
  [" 'm", "'m"],
  [" do not", " don't"],
  [" 's", "'s"],
  [" 've", "'ve"],
  [" 're", "'re"],
] as const;

function wordPiece({ prefix, cleanup }: Extract<Decoder, { type: "WordPiece" }>): Decode {
  const cleaned = (token: string) => CLEANED.reduce((text, [from, to]) => text.replaceAll(from, to), token);
  return (tokens) =>
    tokens.map((token, index) => {
      const joined = index === 0 ? token : token.startsWith(prefix) ? token.slice(prefix.length) : ` ${token}`;
      return cleanup ? cleaned(joined) : joined;
    });
}

function strip(token: string, { content, start, stop }: Extract<Decoder, { type: "Strip" }>): string {
  const chars = [...token];
  let [from, to] = [0, chars.length];
  while (from < Math.min(start, chars.length) && chars[from] === content) from++;
  while (chars.length - to < stop && to > from && chars[to - 1] === content) to--;
  return chars.slice(from, to).join("");
}

/** Tokens of single bytes put together; bytes that are no UTF-8 are a U+FFFD each. */
function byteFallback(tokens: readonly string[]): string[] {
  const result: string[] = [];
  let bytes: number[] = [];
  const flush = () => {
    if (bytes.length === 0) return;
    const text = wholeText(bytes);
    if (text === undefined) result.push(...bytes.map(() => "\ufffd"));
    else result.push(text);
    bytes = [];
  };
  for (const token of tokens) {
    const byte = /^<0x([0-9A-Fa-f]{2})>$/.exec(token)?.[1];
    if (byte !== undefined) bytes.push(Number.parseInt(byte, 16));
    else {
      flush();
      result.push(token);
    }
  }
  flush();
  return result;
}
