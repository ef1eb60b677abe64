import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError } from "../../common/errors.ts";
import { formatHead, type Head, parseHead } from "../../common/heads/head.ts";
import { median } from "../../common/numerics/averages.ts";
import { ANYTHING, checkOptions, FUNCTION, type Rules, whole } from "../../common/options.ts";
import { allFinite, notFinite } from "../../hooks/finite.ts";
import { forward } from "../../models/forward/forward.ts";
import type { Model } from "../../models/model.ts";
import { checkRows } from "../../models/tokens.ts";
import type { PatternMap, PatternSum } from "../../models/transformer/attention.ts";
import { tf } from "../../runtime/tf.ts";
import { topIndices } from "../../runtime/top.ts";
import { loopTurn, type Turn } from "../../runtime/turn.ts";
import { evenBatches } from "../batches.ts";

/** A question about where heads look in a corpus. */
export interface ContextOptions {
  heads: readonly Head[];
  /** Rows of the corpus, all of one length [rows][positions]. */
  tokens: readonly (readonly number[])[];
  /** Contexts of each head, at most one a row. Default 10. */
  top?: number;
  progress?: (done: number, total: number, label: string) => void;
  signal?: AbortSignal;
  /** Lets others in between batches of rows. */
  turn?: Turn;
}

const OPTIONS: Rules<ContextOptions> = {
  heads: { wants: "a list of heads {layer, head}", fits: Array.isArray },
  tokens: { wants: "rows of token ids", fits: Array.isArray },
  top: whole(0),
  progress: FUNCTION,
  signal: ANYTHING,
  turn: FUNCTION,
};

/** A place of the corpus at which a head attends strongly to one key. */
export interface HeadContext {
  readonly row: number;
  readonly query: number;
  readonly key: number;
  /** Attention from the query to the key. */
  readonly weight: number;
}

/** A share of something that lies between two bounds, the upper one included. */
export interface Share {
  readonly from: number;
  readonly to: number;
  readonly share: number;
}

/** A head in a corpus: its strongest places, how far it looks and how widely. */
export interface HeadContexts {
  /** LAYER.HEAD */
  readonly head: string;
  /** Strongest attention to a key that is not the first token, largest first; at most one a row. */
  readonly contexts: readonly HeadContext[];
  /** Share of attention that goes to the first token. */
  readonly first: number;
  /** Distances of the other keys, weighted by attention: their mean, and shares of attention by ranges, in tokens. */
  readonly distance: { readonly mean: number; readonly shares: readonly Share[] };
  /** Entropy of the pattern of each query, in nats. */
  readonly entropy: {
    readonly mean: number;
    readonly median: number;
    /** A head that attends evenly has this mean. */
    readonly even: number;
    readonly shares: readonly Share[];
  };
}

const TINY = 1e-30;

/** Attention to the strongest key beside the first token, by query. */
const strongest: PatternMap = {
  kind: "map",
  name: "strongest beside the first",
  map: (pattern, key) => tf.max(beside(pattern, key), -1),
};
/** That key. */
const strongestKey: PatternMap = {
  kind: "map",
  name: "strongest key beside the first",
  map: (pattern, key) => tf.cast(tf.argMax(beside(pattern, key), -1), "float32"),
};
const entropy: PatternMap = {
  kind: "map",
  name: "entropy",
  map: (pattern) => tf.neg(tf.sum(tf.mul(pattern, tf.log(tf.maximum(pattern, TINY))), -1)),
};

/** A pattern without its first key. @param key positions [1, key] */
function beside(pattern: Tensor, key: Tensor): Tensor {
  return tf.mul(pattern, tf.clipByValue(key, 0, 1));
}

/** Ranges of distances: 0, 1, 2, 3 to 4, 5 to 8 and so on by powers of two. */
function ranges(length: number): { from: number; to: number }[] {
  const found = [{ from: 0, to: 0 }];
  for (let to = 1; found.at(-1)!.to < length - 1; to *= 2) found.push({ from: found.at(-1)!.to + 1, to });
  return found;
}

/** Sum of attention over distances from … to, to other keys than the first. */
function within({ from, to }: { from: number; to: number }): PatternSum {
  return {
    kind: "sum",
    name: `distance ${from} to ${to}`,
    weight: (query, key) => {
      const distance = tf.sub(query, key);
      const inside = [tf.sub(distance, from - 1), tf.sub(to + 1, distance), key].map((x) => tf.clipByValue(x, 0, 1));
      return tf.mul(tf.mul(inside[0]!, inside[1]!), inside[2]!);
    },
  };
}

const meanDistance: PatternSum = {
  kind: "sum",
  name: "distance",
  weight: (query, key) => tf.mul(tf.relu(tf.sub(query, key)), tf.clipByValue(key, 0, 1)),
};
const toFirst: PatternSum = {
  kind: "sum",
  name: "to the first",
  weight: (query, key) => tf.mul(tf.sub(1, tf.clipByValue(key, 0, 1)), tf.onesLike(query)),
};

/**
 * Looks at heads in a corpus: the places of their strongest attention, how far they look and how widely they spread.
 * Patterns are reduced inside their blocks and never kept.
 * @returns in the order of the heads
 * @throws HeadscopeError for options that do not exist or do not fit, heads that the model lacks, rows that do not fit or differ in
 * length, and patterns that are no numbers
 */
export async function headContexts(model: Model, options: ContextOptions): Promise<HeadContexts[]> {
  checkOptions("headContexts", options, OPTIONS, ["heads", "tokens"]);
  const { heads, tokens: rows, top = 10, progress, signal } = options;
  const { n_layers, n_heads } = model.config;
  if (heads.length === 0)
    throw new HeadscopeError("usage", "no heads are named", { remedy: "name at least one, such as 18.6" });
  for (const head of heads) parseHead(formatHead(head), { layers: n_layers, heads: n_heads });
  checkRows(rows, "", { config: model.config, least: 2, equalRows: "a look at contexts" });
  const turn = options.turn ?? loopTurn(signal);
  const T = rows[0]!.length;
  const looks = heads.map((head): Looks => ({ head, contexts: [], entropies: [], totals: new Map() }));
  const reductions = [strongest, strongestKey, entropy, ...sumsOf(T)];
  for (const { first, count } of evenBatches(rows.length, T)) {
    const tokens = rows.slice(first, first + count);
    const onLayer = (layer: number): void => {
      signal?.throwIfAborted();
      progress?.(first * n_layers + layer * count, rows.length * n_layers, "contexts, rows x layers");
    };
    const run = forward(model, { tokens, logitsAt: "none" }, { reductions, onLayer });
    try {
      for (const look of looks) collect(look, run.reductions, { model, tokens, first });
    } finally {
      run.dispose();
    }
    await turn();
  }
  progress?.(rows.length * n_layers, rows.length * n_layers, "contexts, rows x layers");
  return looks.map((look) => summaryOf(look, { queries: rows.length * T, length: T, top }));
}

/** The findings of a head so far. */
interface Looks {
  readonly head: Head;
  /** The strongest place of each row. */
  readonly contexts: HeadContext[];
  /** Of all queries. */
  readonly entropies: number[];
  /** Sums over all queries, by name. */
  readonly totals: Map<string, number>;
}

/** The sums over a pattern of so many tokens. */
function sumsOf(length: number): PatternSum[] {
  return [meanDistance, toFirst, ...ranges(length).map(within)];
}

/** Adds what a batch of rows gave. @param batch.first number of its first row */
function collect(
  { head: { layer, head }, contexts, entropies, totals }: Looks,
  reductions: ReadonlyMap<string, Tensor[]>,
  { model, tokens, first }: { model: Model; tokens: ContextOptions["tokens"]; first: number },
): void {
  const { n_heads } = model.config;
  const T = tokens[0]!.length;
  const read = (name: string): { values: Float32Array; queries: number } => {
    const reduced = reductions.get(name)![layer]!;
    const values = reduced.dataSync() as Float32Array;
    if (!allFinite(values)) throw notFinite(model, "attention patterns", tokens);
    return { values, queries: reduced.shape[2] ?? 1 };
  };
  // Of each row and head the row's own queries, without padding.
  const rowOf = ({ values, queries }: ReturnType<typeof read>, r: number): Float32Array =>
    values.subarray((r * n_heads + head) * queries, (r * n_heads + head) * queries + T);
  const [weights, keys, spread] = [strongest, strongestKey, entropy].map(({ name }) => read(name));
  tokens.forEach((_, r) => {
    const weight = rowOf(weights!, r);
    const best = topIndices(weight, 1)[0]!;
    contexts.push({ row: first + r, query: best, key: rowOf(keys!, r)[best]!, weight: weight[best]! });
    entropies.push(...rowOf(spread!, r));
  });
  for (const { name } of sumsOf(T)) {
    const { values } = read(name); // [rows, heads]
    const sum = tokens.reduce((total, _, r) => total + values[r * n_heads + head]!, 0);
    totals.set(name, (totals.get(name) ?? 0) + sum);
  }
}

function summaryOf(
  { head, contexts, entropies, totals }: Looks,
  { queries, length, top }: { queries: number; length: number; top: number },
): HeadContexts {
  const total = ({ name }: PatternSum): number => totals.get(name)!;
  const first = total(toFirst) / queries;
  // Of a head that looks at nothing else there are no distances.
  const share = (sum: PatternSum): number => (total(sum) === 0 ? 0 : total(sum) / (queries - total(toFirst)));
  const strongestFirst = contexts.filter(({ weight }) => weight > 0).sort((a, b) => b.weight - a.weight);
  return {
    head: formatHead(head),
    contexts: strongestFirst.slice(0, top),
    first,
    distance: {
      mean: share(meanDistance),
      shares: ranges(length).map((range) => ({ ...range, share: share(within(range)) })),
    },
    entropy: spreadOf(entropies, length),
  };
}

const BINS = 10;

/** The distribution of entropies. @param length tokens of a row, whose logarithm no entropy exceeds */
function spreadOf(entropies: readonly number[], length: number): HeadContexts["entropy"] {
  const sorted = Float64Array.from(entropies).sort();
  const most = Math.log(length);
  const bin = (entropy: number): number => Math.min(BINS - 1, Math.max(0, Math.ceil((entropy / most) * BINS) - 1));
  const counts = new Array<number>(BINS).fill(0);
  for (const entropy of sorted) counts[bin(entropy)]!++;
  return {
    mean: sorted.reduce((sum, x) => sum + x, 0) / sorted.length,
    median: median(sorted),
    even: Array.from({ length }, (_, i) => Math.log(i + 1)).reduce((a, b) => a + b, 0) / length,
    shares: counts.map((count, i) => ({
      from: (i * most) / BINS,
      to: ((i + 1) * most) / BINS,
      share: count / sorted.length,
    })),
  };
}
