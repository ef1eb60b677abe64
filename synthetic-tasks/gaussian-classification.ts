import { z } from "zod";
import { drawIndex } from "../backend/common/numerics/running-sums.ts";
import { Random } from "../backend/common/random.ts";
import { wrapped } from "../backend/common/text.ts";
import { type Batch, type Evaluation, rowOf } from "../backend/training/task.ts";
import { impossible, task } from "./base.ts";

/** At least as many classes are drawn anew for sequences that only the context can solve: a multiple of L, for equal shares of labels. */
const FRESH = 128;

const parameters = z.object({
  K: z.int().min(2).max(65536).default(512).describe("classes; a multiple of L, class k has label k mod L"),
  L: z.int().min(2).max(4096).default(32).describe("labels"),
  B: z.int().min(0).default(4).describe("burstiness: copies of each class in a context; divides N; 0 draws items independently"),
  N: z.int().min(1).max(512).default(8).describe("pairs of item and label before the query"),
  alpha: z.number().min(0).max(8).default(0).describe("class frequencies fall as rank^-alpha; 0 makes classes equally frequent"),
  epsilon: z.number().min(0).default(0.1).describe("spread of a class's items, in lengths of its mean"),
  D: z.int().min(1).max(4096).default(63).describe("numbers of an item or label"),
  N_max: z.int().min(1).max(512).default(32).describe("pairs that the one-hot positions have room for; their block has 2 N_max + 1 numbers"),
  p_B: z.number().min(0).max(1).default(1).describe("share of bursty sequences; the others draw items and query independently"),
  p_C: z.number().min(0).max(1).default(0).describe("share of training sequences with classes drawn anew, whose labels only the context tells"),
}); // biome-ignore format: a table
type Params = z.output<typeof parameters>;

/** Classes: means [classes, D], and the running sums of their frequencies [classes]. */
interface Classes {
  means: Float32Array;
  cumulative: Float64Array;
}

interface World {
  trained: Classes;
  /** Means of the labels [L, D]. */
  labels: Float32Array;
}

/** Rule by which a sequence is drawn. */
interface Sequence {
  /** Classes drawn anew instead of the trained ones. */
  fresh: boolean;
  bursty: boolean;
  /** Keeps the query's class out of the context. */
  absent?: boolean;
  /** Added to every label of the context, modulo L. */
  shift?: number;
  /** Added to the query's label to make the target. Default: as the context. */
  targetShift?: number;
}

/** n vectors of length about 1: independent normal numbers of variance 1 / D [n, D]. */
function means(random: Random, n: number, D: number): Float32Array {
  const values = new Float32Array(n * D);
  random.fillNormal(values);
  const scale = 1 / Math.sqrt(D);
  for (let i = 0; i < values.length; i++) values[i]! *= scale;
  return values;
}

/** Running sums of frequencies proportional to rank^-alpha, the last 1. */
function cumulative(n: number, alpha: number): Float64Array {
  const sums = new Float64Array(n);
  let sum = 0;
  for (let k = 0; k < n; k++) sums[k] = sum += (k + 1) ** -alpha;
  for (let k = 0; k < n; k++) sums[k]! /= sum;
  sums[n - 1] = 1;
  return sums;
}

function classesOf(random: Random, n: number, D: number, alpha: number): Classes {
  return { means: means(random, n, D), cumulative: cumulative(n, alpha) };
}

const freshClasses = ({ L, N, B }: Params): number => L * Math.ceil(Math.max(FRESH, N / Math.max(B, 1)) / L);

/** A class by its frequency. */
function draw(random: Random, { cumulative }: Classes): number {
  return drawIndex(cumulative, random);
}

/** A class by its frequency among those not yet taken. */
function drawOther(random: Random, classes: Classes, taken: ReadonlySet<number>): number {
  for (let tries = 0; tries < 64; tries++) {
    const k = draw(random, classes);
    if (!taken.has(k)) return k;
  }
  // Steep frequencies leave almost nothing to the others: the same draw from what is left, by a walk over it.
  const { cumulative } = classes;
  const share = (k: number): number => (taken.has(k) ? 0 : cumulative[k]! - (cumulative[k - 1] ?? 0));
  let rest = 0;
  for (let k = 0; k < cumulative.length; k++) rest += share(k);
  let u = random.uniform() * rest;
  let last = 0;
  for (let k = 0; k < cumulative.length && u >= 0; k++) {
    if (taken.has(k)) continue;
    last = k;
    u -= share(k);
  }
  return last;
}

/** Classes of the N items and, last, of the query. */
function drawClasses(random: Random, classes: Classes, { N, B }: Params, { bursty, absent }: Sequence): number[] {
  if (!bursty) {
    const query = draw(random, classes);
    const taken = new Set(absent ? [query] : []);
    return [...Array.from({ length: N }, () => drawOther(random, classes, taken)), query];
  }
  const copies = Math.max(B, 1); // B = 0 where the query must be in the context: each class once
  const different = new Set<number>();
  while (different.size < N / copies) different.add(drawOther(random, classes, different));
  const copied = [...different].flatMap((k) => Array<number>(copies).fill(k));
  const items = random.permutation(N).map((i) => copied[i]!);
  return [...items, items[random.integer(0, N)]!];
}

/** Numbers of `Batch.layout` a row: classes of items and query (fresh ones from K on, which is a multiple of L), label shift. */
const layoutWidth = (N: number): number => N + 2;

/** Sequences [rows, 2 N + 1, 2 N_max + 1 + D]: item, label, item, label, …, query; targets are labels of the queries. */
function batch(
  world: World,
  params: Params,
  random: Random,
  { rows, kind }: { rows: number; kind: (random: Random) => Sequence },
): Batch {
  const { K, L, N, D, N_max } = params;
  const width = 2 * N_max + 1 + D;
  const size = (2 * N + 1) * width;
  const inputs = new Float32Array(rows * size);
  const noise = new Float32Array(rows * (N + 1) * D);
  random.fillNormal(noise);
  const classes = new Int32Array(rows);
  const layout = new Int32Array(rows * layoutWidth(N));
  let fresh: Classes | undefined;
  for (let r = 0; r < rows; r++) {
    const sequence = kind(random);
    const { shift = 0, targetShift = shift } = sequence;
    if (sequence.fresh) fresh ??= classesOf(random, freshClasses(params), D, 0);
    const from = sequence.fresh ? fresh! : world.trained;
    const drawn = drawClasses(random, from, params, sequence);
    const items = noise.subarray(r * (N + 1) * D, (r + 1) * (N + 1) * D);
    const labels = drawn.map((k) => (k + shift) % L);
    const first = random.integer(0, 2 * (N_max - N) + 1);
    write(inputs.subarray(r * size, (r + 1) * size), params, { from, drawn, noise: items, world, labels, first });
    classes[r] = (drawn[N]! + targetShift) % L;
    layout.set([...drawn.map((k) => (sequence.fresh ? K + k : k)), shift], r * layoutWidth(N));
  }
  return { rows, inputs, classes, weights: new Float32Array(rows).fill(1), layout };
}

/** Parts that a sequence is written of. */
interface Parts {
  from: Classes;
  /** Classes of items and query. */
  drawn: readonly number[];
  /** Standard normal numbers for items and query [N + 1, D]. */
  noise: Float32Array;
  world: World;
  /** Labels of the items. */
  labels: readonly number[];
  /** Beginning of the one-hot positions. */
  first: number;
}

/** Writes one sequence [2 N + 1, 2 N_max + 1 + D]. */
function write(out: Float32Array, params: Params, { from, drawn, noise, world, labels, first }: Parts): void {
  const { N, N_max, D, epsilon } = params;
  const block = 2 * N_max + 1;
  const scale = 1 / Math.sqrt(1 + epsilon ** 2);
  const noiseScale = (scale * epsilon) / Math.sqrt(D);
  for (let t = 0; t < 2 * N + 1; t++) {
    const at = t * (block + D);
    const i = t >> 1;
    out[at + first + t] = 1;
    if (t % 2 === 1) out.set(world.labels.subarray(labels[i]! * D, (labels[i]! + 1) * D), at + block);
    else
      for (let j = 0; j < D; j++)
        out[at + block + j] = scale * from.means[drawn[i]! * D + j]! + noiseScale * noise[i * D + j]!;
  }
}

function evaluation(title: string, sequence: Sequence): Evaluation<Params, World> {
  return {
    title,
    chance: ({ L }) => ({ accuracy: 1 / L, loss: Math.log(L) }),
    sample: (world, params, random, rows) => batch(world, params, random, { rows, kind: () => sequence }),
  };
}

/** Reddy's classification of Gaussian items: in context or in weights. */
export const gaussianClassification = task({
  name: "gaussian-classification",
  title: "Classification of Gaussian items",
  description:
    "Pairs of an item and its label, then an item whose label is to be told. Items lie around the mean of their class. A " +
    "model can learn which label each class has (in weights), or find the query's class in the context and copy the label " +
    "beside it (in context). Many classes K and bursty contexts B favour the context; the in-context accuracy rises abruptly. " +
    "Each row begins at a random one of the one-hot positions, so that absolute position tells nothing.",
  source:
    "Reddy 2024, The mechanistic basis of data dependence and abrupt learning in an in-context classification task",
  parameters,
  shape: ({ N, L, D, N_max }) => ({
    input: { kind: "vectors", width: 2 * N_max + 1 + D },
    output: { kind: "classes", count: L },
    positions: 2 * N + 1,
    scored: "last",
  }),
  check({ K, L, B, N, N_max }) {
    const refuse = (field: readonly string[], constraint: string, remedy: string) =>
      impossible("gaussian-classification", field, constraint, remedy);
    if (K % L !== 0)
      throw refuse(
        ["K", "L"],
        `K ${K} is not a multiple of L ${L}: every label has equally many classes`,
        `give K ${Math.max(L, K - (K % L))} or ${K - (K % L) + L}`,
      );
    if (B > 0 && N % B !== 0)
      throw refuse(
        ["N", "B"],
        `N ${N} is not divisible by B ${B}: a context has N / B classes`,
        "give a B that divides N, or 0",
      );
    const different = N / Math.max(B, 1);
    if (different > K)
      throw refuse(
        ["K", "N", "B"],
        `a context of ${different} different classes needs as many: K is ${K}`,
        `give K ${different} or more, or a larger B`,
      );
    if (N > N_max)
      throw refuse(
        ["N", "N_max"],
        `N ${N} pairs do not fit the positions of N_max ${N_max}`,
        `give N_max ${N} or more, or a smaller N`,
      );
  },
  world({ K, L, D, alpha }, seed): World {
    const random = new Random(seed, 0xffffffff);
    const labels = means(random, L, D);
    return { labels, trained: classesOf(random, K, D, alpha) };
  },
  sample: (world, params, random, rows) =>
    batch(world, params, random, {
      rows,
      kind: () => ({
        fresh: random.uniform() < params.p_C,
        bursty: params.B > 0 && random.uniform() < params.p_B,
      }),
    }),
  evaluations: {
    "in-context": evaluation("classes never seen in training: the context alone tells the label", {
      fresh: true,
      bursty: true,
    }),
    "in-weights": evaluation("classes seen in training, absent from the context: only weights tell the label", {
      fresh: false,
      bursty: false,
      absent: true,
    }),
    swapped: evaluation("labels of the context shifted by one; right is the label that the context gives", {
      fresh: false,
      bursty: true,
      shift: 1,
    }),
    "swapped-weights": evaluation("labels of the context shifted by one; right is the label learned in training", {
      fresh: false,
      bursty: true,
      shift: 1,
      targetShift: 0,
    }),
  },
  describe(_, params, drawn, row) {
    const { N, K, L } = params;
    const { classes, layout: labels } = rowOf(drawn, row);
    const shift = labels![N + 1]!;
    const name = (k: number): string => (k < K ? `class ${k}` : `new class ${k - K}`);
    const pairs = Array.from({ length: N }, (_, i) => `${name(labels![i]!)}: ${((labels![i]! % L) + shift) % L}`);
    const query = labels![N]!;
    const copies = labels!.subarray(0, N).filter((k) => k === query).length;
    return (
      `${wrapped([...pairs.map((pair) => `${pair},`), `${name(query)}: ?`, `-> label ${classes![0]}`])}\n` +
      `${copies === 0 ? "the query's class is not in the context" : `${copies} of ${N} pairs are of the query's class`}` +
      (shift === 0 ? "" : `; the context's labels are shifted by ${shift}`)
    );
  },
  defaults: {
    model: {
      n_layers: 2,
      n_heads: 1,
      d_model: 128,
      normalization_type: "none",
      positional_embedding_type: "none",
      attn_only: true,
      readout_hidden: [128, 128],
    },
    training: { optimiser: "sgd", learning_rate: 0.01, batch: 128, weight_decay: 1e-6, extra_checkpoints: 12 },
  },
});
