import type { Codec } from "./codecs.ts";

/** A place that is held in a text. */
export interface Held {
  readonly position: number;
  /** Fingerprint of the text that it was held in: in another text nothing is held. */
  readonly text: string;
}

/** A short name of a text, or of anything else that decides what stands at a position. */
function fingerprint(text: unknown): string {
  // FNV-1a over UTF-16 units, twice with other beginnings.
  const data = JSON.stringify(text);
  const hash = (start: number): number => {
    let value = start;
    for (let i = 0; i < data.length; i++) value = Math.imul(value ^ data.charCodeAt(i), 0x01000193);
    return value >>> 0;
  };
  return hash(0x811c9dc5).toString(36) + hash(0x9747b28c).toString(36);
}

/** POSITION.FINGERPRINT; a position alone names no text, and holds nothing. */
export const holdCodec: Codec<Held | undefined> = {
  default: undefined,
  encode: (held) => (held === undefined ? "" : `${held.position}.${held.text}`),
  decode(given) {
    const [, position, text] = /^(\d{1,7})\.([0-9a-z]+)$/.exec(given) ?? [];
    return position === undefined ? undefined : { position: Number(position), text: text! };
  },
};

/** The position that is held in a text; undefined where it was held in another one, or none is. */
export function positionIn(held: Held | undefined, text: unknown): number | undefined {
  return held !== undefined && held.text === fingerprint(text) ? held.position : undefined;
}

/** A position held in a text. */
export function hold(position: number | undefined, text: unknown): Held | undefined {
  return position === undefined ? undefined : { position, text: fingerprint(text) };
}
