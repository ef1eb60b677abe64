/** Quantiles 0.975 of Student's t with 1, 2, ... 30 degrees of freedom. */
const STUDENT = [
  12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.16, 2.145, 2.131, 2.12, 2.11, 2.101,
  2.093, 2.086, 2.08, 2.074, 2.069, 2.064, 2.06, 2.056, 2.052, 2.048, 2.045, 2.042,
] as const; // biome-ignore format: a table

/** Quantile 0.975 of Student's t: beyond 30 degrees of freedom to a thousandth. */
function student(freedom: number): number {
  return STUDENT[freedom - 1] ?? 1.96 + 2.4 / freedom;
}

/**
 * The 95 % interval of a mean: mean ± t · s / √n, of values that were drawn independently.
 * @param values at least two
 */
function meanInterval(values: readonly number[]): [number, number] {
  const n = values.length;
  const mean = values.reduce((sum, x) => sum + x, 0) / n;
  const variance = values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / (n - 1);
  const half = student(n - 1) * Math.sqrt(variance / n);
  return [mean - half, mean + half];
}

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
