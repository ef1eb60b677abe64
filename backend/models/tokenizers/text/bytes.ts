/** Bytes as the printable characters that byte-level vocabularies are written in (GPT-2). */
const BYTE_CHARS: readonly string[] = byteChars();

/** The byte that each of these characters stands for. */
export const CHAR_BYTES: ReadonlyMap<string, number> = new Map(BYTE_CHARS.map((char, byte) => [char, byte]));

function byteChars(): string[] {
  let next = 0x100;
  const shows = (byte: number) => (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(shows(byte) ? byte : next++));
}

const encoder = new TextEncoder();

/** UTF-8 bytes of a text. */
export const utf8 = (text: string): Uint8Array => encoder.encode(text);

/** A text's bytes, each as its character. */
export function byteLevel(text: string): string {
  if (/^[!-~ ]*$/.test(text)) return text.replaceAll(" ", BYTE_CHARS[0x20]!);
  let result = "";
  for (const byte of utf8(text)) result += BYTE_CHARS[byte];
  return result;
}

/** The token of one byte in vocabularies that fall back to bytes, such as <0x0A>. */
export const byteToken = (byte: number): string => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`;

const lossy = new TextDecoder("utf-8", { ignoreBOM: true });
const strict = new TextDecoder("utf-8", { ignoreBOM: true, fatal: true });

/** Text of bytes; what is no UTF-8 becomes U+FFFD. */
export const textOfBytes = (bytes: readonly number[]): string => lossy.decode(Uint8Array.from(bytes));

/** Text of bytes that are UTF-8 as a whole, otherwise undefined. */
export function wholeText(bytes: readonly number[]): string | undefined {
  try {
    return strict.decode(Uint8Array.from(bytes));
  } catch {
    return undefined;
  }
}
