/**
 * The mean of documents of one shape: every number is the mean of those at its place, everything else is the first's.
 * @param documents at least one
 */
export function meanOf<T>(documents: readonly T[]): T {
  const [first] = documents;
  if (typeof first === "number")
    return ((documents as readonly number[]).reduce((sum, x) => sum + x, 0) / documents.length) as T;
  if (Array.isArray(first))
    return first.map((_, i) => meanOf((documents as readonly unknown[][]).map((d) => d[i]))) as T;
  if (first === null || typeof first !== "object") return first as T;
  const at = (key: string): unknown[] => documents.map((document) => (document as Record<string, unknown>)[key]);
  return Object.fromEntries(Object.keys(first).map((key) => [key, meanOf(at(key))])) as T;
}
