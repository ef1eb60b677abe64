/** How a choice is written in the URL. */
export interface Codec<T> {
  readonly default: T;
  encode(value: T): string;
  /** @returns undefined for text that says nothing */
  decode(text: string): T | undefined;
}

export function text(byDefault = ""): Codec<string> {
  return { default: byDefault, encode: (value) => value, decode: (value) => value };
}

export function number(byDefault: number, { least = -Infinity, most = Infinity, whole = false } = {}): Codec<number> {
  return {
    default: byDefault,
    encode: String,
    decode(given) {
      const value = given.trim() === "" ? Number.NaN : Number(given);
      if (!Number.isFinite(value) || value < least || value > most || (whole && !Number.isInteger(value)))
        return undefined;
      return value;
    },
  };
}

export function flag(byDefault = false): Codec<boolean> {
  return { default: byDefault, encode: (value) => (value ? "1" : "0"), decode: (given) => given === "1" };
}

export function choice<const T extends string>(choices: readonly T[], byDefault: NoInfer<T>): Codec<T> {
  return { default: byDefault, encode: (value) => value, decode: (given) => choices.find((each) => each === given) };
}

/** Words with commas between them. */
export function list(byDefault: readonly string[] = []): Codec<readonly string[]> {
  return {
    default: byDefault,
    encode: (values) => values.join(","),
    decode: (given) => given.split(",").filter((part) => part !== ""),
  };
}

/** Heads as LAYER.HEAD, 0-based, in order of layer and head, each once. */
export function heads(): Codec<readonly string[]> {
  const words = list();
  return {
    ...words,
    encode: (values) => words.encode(sortHeads(values)),
    decode: (given) => sortHeads(words.decode(given)!.filter((each) => /^\d+\.\d+$/.test(each))),
  };
}

/** Heads in order of layer and head, each once. */
export function sortHeads(values: readonly string[]): string[] {
  const place = (head: string): number => Number(head.split(".")[0]) * 1e4 + Number(head.split(".")[1]);
  return [...new Set(values)].sort((a, b) => place(a) - place(b));
}

/** Any JSON value. */
export function json<T>(byDefault: T): Codec<T> {
  return {
    default: byDefault,
    encode: (value) => JSON.stringify(value),
    decode(given) {
      try {
        return JSON.parse(given) as T;
      } catch {
        return undefined;
      }
    },
  };
}
