import type { Tensor } from "@tensorflow/tfjs";
import { softCap } from "../../../models/transformer/attention.ts";
import { tf } from "../../../runtime/tf.ts";
import type { PromptView } from "../kinds/blocks.ts";
import { products } from "../prompt/scores.ts";

/** Sizes of HyperAttention, and its random numbers. */
export interface HyperSizes {
  /** Keys of a block of the sorted order. */
  readonly block: number;
  /** Keys drawn from the earlier half. */
  readonly samples: number;
  /** Most tokens of a part that attends exactly. */
  readonly exact: number;
  /** Normals of the planes [planes, d_head]. */
  readonly planes: Tensor;
  /** Numbers in [0, 1). */
  uniform(): number;
}

/** Positions from `first` on, before `end`. */
interface Stretch {
  readonly first: number;
  readonly end: number;
}

/** The attention of some queries: their means of values, and the logarithm of their softmax's sum. */
interface Attended {
  /** [heads, queries, d_head] */
  readonly z: Tensor;
  /** [heads, queries, 1] */
  readonly total: Tensor;
}

/** The queries of a later half that read an earlier one. */
interface Join {
  readonly queries: Stretch;
  readonly keys: Stretch;
  /** By sorted place, which query of the stretch [heads][queries]. */
  readonly queryOrder: readonly Int32Array[];
  /** By sorted place, which key of the stretch [KV heads][keys]. */
  readonly keyOrder: readonly Int32Array[];
  /** Queries of a block. */
  readonly perBlock: number;
  /** Sorted places of the keys drawn. */
  readonly samples: readonly number[];
}

/** Score of a key that is not read. */
const UNREAD = -1e30;

/** Bucket of each vector: the place in the Gray code of the planes' sides that it lies on [heads][vectors]. @param x [heads, vectors, width] */
export function bucketsOf(x: Tensor, planes: Tensor): Int32Array[] {
  const [heads, count, width] = x.shape as [number, number, number];
  const bits = planes.shape[0]!;
  const sides = tf.matMul(tf.reshape(x, [heads * count, width]), planes, false, true).dataSync();
  return Array.from({ length: heads }, (_, head) =>
    Int32Array.from({ length: count }, (_, i) => {
      let bucket = 0;
      for (let bit = bits - 1; bit >= 0; bit--) {
        const side = sides[(head * count + i) * bits + bit]! > 0 ? 1 : 0;
        bucket = 2 * bucket + (side ^ (bucket & 1)); // a bit of the number is the sum of the code's bits from it on
      }
      return bucket;
    }),
  );
}

/**
 * HyperAttention of a prompt, all heads at once: halves of positions whose later one reads the earlier one by blocks of sorted order and
 * sampled keys, down to parts that attend exactly. Earlier halves are whole blocks; where a later half has another number of queries
 * than that of keys, each block has its even part of them. Made in a tidy of the caller's.
 */
export class HyperAttention {
  /** [heads, tokens, d_head] */
  readonly z: Tensor;
  readonly #view: PromptView;
  readonly #sizes: HyperSizes;
  readonly #queryBuckets: readonly Int32Array[];
  readonly #keyBuckets: readonly Int32Array[];
  readonly #joins: Join[] = [];
  readonly #exact: Stretch[] = [];

  constructor(view: PromptView, sizes: HyperSizes) {
    this.#view = view;
    this.#sizes = sizes;
    this.#queryBuckets = bucketsOf(view.queries, sizes.planes);
    this.#keyBuckets = bucketsOf(view.keys, sizes.planes);
    this.z = this.#causal({ first: 0, end: view.start + view.tokens })!.z;
  }

  /** Halves that were read, in the order in which their keys were drawn. */
  get joined(): [first: number, end: number][] {
    return this.#joins.map(({ keys }) => [keys.first, keys.end]);
  }

  /** Pairs of a query and a key that were taken, of those of causal attention: mean over the heads. */
  get share(): number {
    const { start, tokens } = this.#view;
    const causal = ({ first, end }: Stretch): number => (end * (end + 1) - first * (first + 1)) / 2;
    const own = this.#exact.map((part) => {
      const first = Math.max(part.first, start);
      return causal({ first: first - part.first, end: part.end - part.first });
    });
    const far = this.#joins.map((join) => {
      let pairs = 0;
      for (let i = 0; i < lengthOf(join.queries); i++) pairs += this.#sizes.block + this.#others(join, i).length;
      return pairs;
    });
    return [...own, ...far].reduce((sum, pairs) => sum + pairs, 0) / causal({ first: start, end: start + tokens });
  }

  /** Numbers that it adds to the scores of full attention, -1e30 where nothing is read [heads, tokens, start + tokens]. */
  bias(): Tensor {
    const { config, start, tokens } = this.#view;
    const { n_heads: heads, n_key_value_heads: kvHeads } = config;
    const end = start + tokens;
    const bias = new Float32Array(heads * tokens * end).fill(UNREAD);
    const row = (head: number, query: number): number => (head * tokens + query - start) * end;
    for (let head = 0; head < heads; head++) {
      for (const part of this.#exact)
        for (let query = Math.max(part.first, start); query < part.end; query++)
          bias.fill(0, row(head, query) + part.first, row(head, query) + query + 1);
      for (const join of this.#joins) {
        const keys = join.keyOrder[Math.floor((head * kvHeads) / heads)]!;
        join.queryOrder[head]!.forEach((query, i) => {
          const from = row(head, join.queries.first + query) + join.keys.first;
          const others = this.#others(join, i);
          const { block } = this.#sizes;
          const first = Math.floor(i / join.perBlock) * block;
          for (const key of keys.subarray(first, first + block)) bias[from + key] = 0;
          for (const place of new Set(others)) {
            const times = others.filter((other) => other === place).length;
            bias[from + keys[place]!] = Math.log((times * lengthOf(join.keys)) / join.samples.length);
          }
        });
      }
    }
    return tf.tensor3d(bias, [heads, tokens, end]);
  }

  /** Sampled places outside of the block that the query at a sorted place reads. */
  #others({ samples, perBlock }: Join, place: number): number[] {
    return samples.filter((sample) => Math.floor(sample / this.#sizes.block) !== Math.floor(place / perBlock));
  }

  /** Causal attention of the queries at some positions to the keys there; undefined without queries. */
  #causal(part: Stretch): Attended | undefined {
    const { first, end } = part;
    if (end <= this.#view.start) return undefined;
    const { block, exact } = this.#sizes;
    const half = Math.floor((end - first) / block / 2) * block;
    if (end - first <= exact || half === 0) return this.#exactly(part);
    const [earlier, later] = [
      { first, end: first + half },
      { first: first + half, end },
    ];
    const far = this.#scheme({ first: Math.max(later.first, this.#view.start), end }, earlier);
    const before = this.#causal(earlier);
    const near = this.#causal(later)!;
    const share = tf.sigmoid(tf.sub(near.total, far.total));
    const joined = {
      z: tf.add(tf.mul(share, near.z), tf.mul(tf.sub(1, share), far.z)),
      total: tf.add(near.total, tf.softplus(tf.sub(far.total, near.total))),
    };
    return before
      ? { z: tf.concat([before.z, joined.z], 1), total: tf.concat([before.total, joined.total], 1) }
      : joined;
  }

  #exactly(part: Stretch): Attended {
    this.#exact.push(part);
    const own = { first: Math.max(part.first, this.#view.start), end: part.end };
    const [query, key] = [tf.range(own.first, own.end), tf.range(part.first, part.end)];
    const seen = tf.lessEqual(tf.expandDims(key, 0), tf.expandDims(query, 1));
    const scores = this.#scores(products(this.#queries(own), this.#keys(part)));
    const masked = tf.add(scores, tf.mul(tf.sub(1, tf.cast(seen, "float32")), UNREAD));
    return weighted([{ scores: masked, sum: (weights) => this.#sums(weights, rowsOf(this.#view.values, part)) }]);
  }

  /** Attention of some queries to the keys before them, by blocks and samples. */
  #scheme(queries: Stretch, keys: Stretch): Attended {
    const { block, samples: count, uniform } = this.#sizes;
    const samples = Array.from({ length: count }, () => Math.floor(uniform() * lengthOf(keys)));
    const [blocks, n] = [lengthOf(keys) / block, lengthOf(queries)];
    const perBlock = Math.ceil(n / blocks);
    const join: Join = {
      ...{ queries, keys, perBlock, samples },
      queryOrder: sorted(this.#queryBuckets, { first: queries.first - this.#view.start, end: queries.end - this.#view.start }), // biome-ignore format: one line
      keyOrder: sorted(this.#keyBuckets, keys),
    };
    this.#joins.push(join);
    const { n_heads: heads, n_key_value_heads: kvHeads, d_head: width } = this.#view.config;
    const group = heads / kvHeads;
    const padded = blocks * perBlock;
    const own = tf.pad(taken(this.#queries(queries), join.queryOrder), [[0, 0], [0, padded - n], [0, 0]]); // biome-ignore format: one line
    const [ownKeys, ownValues] = [this.#keys(keys), rowsOf(this.#view.values, keys)].map((x) => taken(x, join.keyOrder)) as [Tensor, Tensor]; // biome-ignore format: one line
    // Of the blocks: [KV heads, blocks, group * queries of a block, width].
    const byBlock = (x: Tensor, last: number): Tensor =>
      tf.reshape(tf.transpose(tf.reshape(x, [kvHeads, group, blocks, perBlock, last]), [0, 2, 1, 3, 4]), [kvHeads, blocks, group * perBlock, last]); // biome-ignore format: one line
    const byHead = (x: Tensor, last: number): Tensor =>
      tf.reshape(tf.transpose(tf.reshape(x, [kvHeads, blocks, group, perBlock, last]), [0, 2, 1, 3, 4]), [heads, padded, last]); // biome-ignore format: one line
    const inBlocks = (x: Tensor): Tensor => tf.reshape(x, [kvHeads, blocks, block, width]);
    const near = this.#scores(byHead(tf.matMul(byBlock(own, width), inBlocks(ownKeys), false, true), block));
    const [drawnKeys, drawnValues] = [ownKeys, ownValues].map((x) => tf.gather(x, samples, 1)) as [Tensor, Tensor];
    const outside = tf.tensor2d(Array.from({ length: padded }, (_, i) => samples.map((sample) => (Math.floor(sample / block) === Math.floor(i / perBlock) ? UNREAD : Math.log(lengthOf(keys) / count))))); // biome-ignore format: one line
    const far = tf.add(this.#scores(products(own, drawnKeys)), outside);
    const { z, total } = weighted([
      { scores: near, sum: (weights) => byHead(tf.matMul(byBlock(weights, block), inBlocks(ownValues)), width) },
      { scores: far, sum: (weights) => this.#sums(weights, drawnValues) },
    ]);
    const back = join.queryOrder.map(inverse);
    return { z: taken(z, back), total: taken(total, back) };
  }

  #queries({ first, end }: Stretch): Tensor {
    const { start } = this.#view;
    return rowsOf(this.#view.queries, { first: first - start, end: end - start });
  }

  #keys(part: Stretch): Tensor {
    return rowsOf(this.#view.keys, part);
  }

  #scores(products: Tensor): Tensor {
    const { attn_scale, attn_scores_soft_cap } = this.#view.config;
    return softCap(tf.mul(products, attn_scale), attn_scores_soft_cap);
  }

  /** Sums of values by weights. @param weights [heads, queries, keys] @param values [KV heads, keys, width] */
  #sums(weights: Tensor, values: Tensor): Tensor {
    const [heads, count, keys] = weights.shape as [number, number, number];
    const kvHeads = values.shape[0]!;
    const grouped = tf.reshape(weights, [kvHeads, (heads / kvHeads) * count, keys]);
    return tf.reshape(tf.matMul(grouped, values), [heads, count, values.shape[2]!]);
  }
}

/** One softmax over several sets of keys. */
function weighted(sets: readonly { scores: Tensor; sum(weights: Tensor): Tensor }[]): Attended {
  const most = sets.map(({ scores }) => tf.max(scores, 2, true)).reduce((a, b) => tf.maximum(a, b));
  const weights = sets.map(({ scores }) => tf.exp(tf.sub(scores, most)));
  const total = tf.addN(weights.map((each) => tf.sum(each, 2, true)));
  const sums = tf.addN(sets.map(({ sum }, i) => sum(weights[i]!)));
  return { z: tf.div(sums, total), total: tf.add(tf.log(total), most) };
}

function lengthOf({ first, end }: Stretch): number {
  return end - first;
}

/** Rows of each head [heads, rows, width]. */
function rowsOf(x: Tensor, { first, end }: Stretch): Tensor {
  return tf.slice(x, [0, first, 0], [x.shape[0]!, end - first, x.shape[2]!]);
}

/** Rows in an order by head. @param x [heads, rows, width] */
function taken(x: Tensor, order: readonly Int32Array[]): Tensor {
  const indices = tf.stack(order.map((row) => tf.tensor1d(row, "int32")));
  return tf.gather(x, indices, 1, 1);
}

/** Places of a stretch sorted by bucket, stably, by head. */
function sorted(buckets: readonly Int32Array[], { first, end }: Stretch): Int32Array[] {
  return buckets.map((row) => {
    const own = row.subarray(first, end);
    return Int32Array.from({ length: own.length }, (_, i) => i).sort((a, b) => own[a]! - own[b]! || a - b);
  });
}

function inverse(order: Int32Array): Int32Array {
  const places = new Int32Array(order.length);
  order.forEach((from, place) => {
    places[from] = place;
  });
  return places;
}
