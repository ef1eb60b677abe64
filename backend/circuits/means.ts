import { meanInterval } from "../common/intervals.ts";

/** A document with something else in the place of every number. */
export type InPlaceOfNumbers<T, U> = T extends number
  ? U
  : T extends readonly (infer E)[]
    ? InPlaceOfNumbers<E, U>[]
    : T extends object
      ? { [K in keyof T]: InPlaceOfNumbers<T[K], U> }
      : T;

/**
 * The mean of documents of one shape: every number is the mean of those at its place, everything else is the first's.
 * @param documents at least one
 */
export function meanOf<T>(documents: readonly T[]): T {
  return combine(documents, (values) => values.reduce((sum, x) => sum + x, 0) / values.length) as T;
}

/** The 95 % interval of every number's mean over documents of one shape, in its place. @param documents at least two */
export function intervalsOf<T>(documents: readonly T[]): InPlaceOfNumbers<T, [number, number]> {
  return combine(documents, meanInterval) as InPlaceOfNumbers<T, [number, number]>;
}

function combine(documents: readonly unknown[], join: (values: readonly number[]) => unknown): unknown {
  const [first] = documents;
  if (typeof first === "number") return join(documents as readonly number[]);
  if (first === null || typeof first !== "object") return first;
  const entry = (key: string | number): unknown =>
    combine(
      documents.map((document) => (document as Record<string | number, unknown>)[key]),
      join,
    );
  if (Array.isArray(first)) return first.map((_, i) => entry(i));
  return Object.fromEntries(Object.keys(first).map((key) => [key, entry(key)]));
}
