/** A weight with the token that it goes to or comes from. */
export interface Weight {
  readonly token: number;
  readonly weight: number;
}

/** The strongest of a few weights, strongest first; zeros are left out. */
export function strongestWeights(weights: Float32Array, count: number): Weight[] {
  return Array.from(weights, (weight, token) => ({ token, weight }))
    .filter(({ weight }) => weight > 0)
    .sort((a, b) => b.weight - a.weight)
    .slice(0, count);
}

/** The weight of a token on every key. @param pattern [tokens, tokens] @returns [tokens], a view */
export function outgoing(pattern: Float32Array, tokens: number, query: number): Float32Array {
  return pattern.subarray(query * tokens, (query + 1) * tokens);
}

/** Who looks at a token: every query's weight on it. @param pattern [tokens, tokens] @returns [tokens], a view's copy */
export function incoming(pattern: Float32Array, tokens: number, key: number): Float32Array {
  return Float32Array.from({ length: tokens }, (_, query) => pattern[query * tokens + key]!);
}

/** The largest of some weights; 0 where there are none. */
export function largest(weights: Float32Array): number {
  let most = 0;
  for (const weight of weights) if (weight > most) most = weight;
  return most;
}

/** For each token, the mean weight that it gets from itself and the tokens after it. @param pattern [tokens, tokens] */
export function meanIncoming(pattern: Float32Array, tokens: number): Float32Array {
  const sums = new Float64Array(tokens);
  for (let query = 0; query < tokens; query++)
    for (let key = 0; key <= query; key++) sums[key]! += pattern[query * tokens + key]!;
  return Float32Array.from(sums, (sum, key) => sum / (tokens - key));
}

/** The share of a head's attention that goes to a kind of key, on average over the queries that have such a key. */
export interface Average {
  readonly name: string;
  readonly definition: string;
  /** Undefined where no query has such a key. */
  readonly value: number | undefined;
  /** Number of queries it is the mean over. */
  readonly queries: number;
}

/** For a query, the keys of one kind. */
type Keys = (query: number) => readonly number[];

/**
 * The averages that readers of patterns use, over all queries but the first, which can only look at itself. Each is a share
 * of the query's total, so that value-weighted patterns can be read in the same way.
 * @param pattern [tokens, tokens] @param ids of the tokens @param bos whether the first token is BOS
 */
export function averages(pattern: Float32Array, ids: readonly number[], bos: boolean): Average[] {
  const earlier = earlierSame(ids);
  const kinds: [name: string, definition: string, keys: Keys][] = [
    [
      bos ? "BOS" : "First token",
      bos ? "weight on BOS" : "weight on the first token, which is not BOS here",
      () => [0],
    ],
    ["Previous token", "weight on the token just before", (query) => [query - 1]],
    ["Itself", "weight on the query's own position", (query) => [query]],
    ["Same token before", "weight on earlier occurrences of the query's token", (query) => earlier[query]!],
    [
      "After same token",
      "weight on the tokens that followed earlier occurrences of the query's token: induction",
      (query) => earlier[query]!.map((key) => key + 1).filter((key) => key < query),
    ],
  ];
  const totals = rowTotals(pattern, ids.length);
  return kinds.map(([name, definition, keys]) => ({ name, definition, ...mean(pattern, totals, keys) }));
}

/** For each position, the earlier ones of the same token. */
function earlierSame(ids: readonly number[]): number[][] {
  const seen = new Map<number, number[]>();
  return ids.map((id, at) => {
    const before = seen.get(id) ?? [];
    seen.set(id, [...before, at]);
    return before;
  });
}

function rowTotals(pattern: Float32Array, tokens: number): Float64Array {
  return Float64Array.from({ length: tokens }, (_, query) => {
    let total = 0;
    for (let key = 0; key <= query; key++) total += pattern[query * tokens + key]!;
    return total;
  });
}

function mean(pattern: Float32Array, totals: Float64Array, keys: Keys): Pick<Average, "value" | "queries"> {
  const tokens = totals.length;
  let [sum, queries] = [0, 0];
  for (let query = 1; query < tokens; query++) {
    const wanted = keys(query);
    if (wanted.length === 0 || !(totals[query]! > 0)) continue;
    for (const key of wanted) sum += pattern[query * tokens + key]! / totals[query]!;
    queries++;
  }
  return { value: queries > 0 ? sum / queries : undefined, queries };
}
