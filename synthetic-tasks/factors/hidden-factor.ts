import { z } from "zod";
import { Random } from "../../backend/common/random.ts";
import { type Batch, type Evaluation, type ProbeTarget, rowOf } from "../../backend/training/task.ts";
import { impossible, task } from "../base.ts";

/** Stream of a seed from which the items' factors are drawn. */
const WORLD = 0xffffffff;
/** Most items that a task may have. */
const MOST = 4096;

const parameters = z.object({
  factors: z.int().min(2).max(12).default(3).describe("factors of an item; a sequence's labels are the values of one of them"),
  values: z.int().min(2).max(64).default(4).describe("values of a factor, which are the labels too"),
  examples: z.int().min(1).max(256).default(8).describe("items of a sequence with their labels, before the one that is to be labelled"),
  told: z.number().min(0).max(1).default(0).describe("share of the training sequences in which the deciding factor is told"),
}); // biome-ignore format: a table
type Params = z.output<typeof parameters>;

/** Factors of a run's items: of item i the value of factor f is digit f of code i. */
export interface FactorWorld {
  /** By item, a permutation of 0 to values^factors - 1. */
  readonly codes: readonly number[];
}

const itemsOf = ({ factors, values }: Pick<Params, "factors" | "values">): number => values ** factors;

/** The value of a factor of an item. */
export function factorValue({ codes }: FactorWorld, { values }: Pick<Params, "values">, item: number, factor: number) {
  return Math.floor(codes[item]! / values ** factor) % values;
}

/** Shows of a sequence beside its items: the labels of its examples alone, the deciding factor too, or neither. */
const [LABELS, TOLD, BARE] = [0, 1, 2];

/** Sequences that are drawn. */
interface Split {
  readonly rows: number;
  /** Share in which the deciding factor is told. */
  readonly told: number;
  /** Tells if labels are withheld. */
  readonly bare?: boolean;
  /** The last item of each row, default at random. */
  readonly last?: readonly number[];
}

/** Numbers of `Batch.layout` a row: the deciding factor, what is shown, then the items. */
const layoutWidth = ({ examples }: Params): number => examples + 3;

/**
 * Sequences [rows, examples + 1, items + values + factors]: one-hot the item, its label but for the last one, and the deciding factor where
 * it is told; the target is the last item's value of that factor.
 */
function batch(world: FactorWorld, params: Params, random: Random, split: Split): Batch {
  const { rows } = split;
  const { factors, values, examples } = params;
  const count = itemsOf(params);
  const width = count + values + factors;
  const inputs = new Float32Array(rows * (examples + 1) * width);
  const classes = new Int32Array(rows);
  const layout = new Int32Array(rows * layoutWidth(params));
  for (let r = 0; r < rows; r++) {
    const rule = random.integer(0, factors);
    const told = random.uniform() < split.told;
    const items = Array.from({ length: examples + 1 }, () => random.integer(0, count));
    items[examples] = split.last?.[r] ?? items[examples]!;
    layout.set([rule, split.bare ? BARE : told ? TOLD : LABELS, ...items], r * layoutWidth(params));
    items.forEach((item, t) => {
      const start = (r * (examples + 1) + t) * width;
      const label = factorValue(world, params, item, rule);
      inputs[start + item] = 1;
      if (t === examples) classes[r] = label;
      else if (!split.bare) inputs[start + count + label] = 1;
      if (told) inputs[start + count + values + rule] = 1;
    });
  }
  return { rows, inputs, classes, weights: new Float32Array(rows).fill(1), layout };
}

/** Sequences with the deciding factor hidden, in which each item is the last of one row, in a random order. */
export function eachItemLast(world: FactorWorld, params: Params, random: Random): { batch: Batch; items: number[] } {
  const items = random.permutation(itemsOf(params));
  return { batch: batch(world, params, random, { rows: items.length, told: 0, last: items }), items };
}

function evaluation(title: string, split: Omit<Split, "rows">): Evaluation<Params, FactorWorld> {
  return {
    title,
    chance: ({ values }) => ({ accuracy: 1 / values, loss: Math.log(values) }),
    sample: (world, params, random, rows) => batch(world, params, random, { rows, ...split }),
  };
}

/**
 * Log-probabilities of the last item's label [rows, 1, values]: all factors that agree with every label shown are equally likely to decide; where
 * the one that does is told, it alone.
 */
function bayes(world: FactorWorld, params: Params, drawn: Batch): Float64Array {
  const { factors, values, examples } = params;
  const predictions = new Float64Array(drawn.rows * values);
  const all = Array.from({ length: factors }, (_, factor) => factor);
  for (let r = 0; r < drawn.rows; r++) {
    const [rule, shown, ...items] = rowOf(drawn, r).layout!;
    const value = (factor: number, t: number) => factorValue(world, params, items[t]!, factor);
    const agrees = (factor: number) =>
      shown === BARE || items.every((_, t) => t === examples || value(factor, t) === value(rule!, t));
    const possible = shown === TOLD ? [rule!] : all.filter(agrees);
    for (const factor of possible) predictions[r * values + value(factor, examples)]! += 1 / possible.length;
  }
  return predictions.map(Math.log);
}

/** A class of every position of a batch. @param of from the deciding factor and the item */
function probeTarget(
  title: string,
  of: (world: FactorWorld, params: Params, rule: number, item: number) => number,
): ProbeTarget<Params, FactorWorld> {
  return {
    title,
    at(world, params, { rows, layout }) {
      const positions = params.examples + 1;
      const classes = Int32Array.from({ length: rows * positions }, (_, at) => {
        const row = Math.floor(at / positions) * layoutWidth(params);
        return of(world, params, layout![row]!, layout![row + 2 + (at % positions)]!);
      });
      return { kind: "classes", classes };
    },
  };
}

/** Items of several factors, of which a hidden one gives the labels of a sequence. */
export const hiddenFactor = task({
  name: "hidden-factor",
  title: "Labels by a hidden factor of items",
  description:
    "Every combination of the values of a few factors is an item, whose number says nothing about them: which item has which values is drawn once a run and " +
    "is for the weights to learn. The labels of a sequence are its items' values of one factor, which nothing tells but the pairs of the sequence; the last item's " +
    "label is asked for. Where the deciding factor is told, the weights are all it takes.",
  source:
    "Fu et al. 2023, How does representation impact in-context learning: An exploration on a synthetic task (with numbered items in the place of images)",
  parameters,
  shape: ({ factors, values, examples }) => ({
    input: { kind: "vectors", width: values ** factors + values + factors },
    output: { kind: "classes", count: values },
    positions: examples + 1,
    scored: "last",
  }),
  check(params) {
    const count = itemsOf(params);
    if (count > MOST)
      throw impossible(
        "hidden-factor",
        ["factors", "values"],
        `${params.factors} factors of ${params.values} values make ${count.toLocaleString("en")} items, more than ${MOST.toLocaleString("en")}`,
        "give fewer of either",
      );
  },
  world: (params, seed): FactorWorld => ({ codes: new Random(seed, WORLD).permutation(itemsOf(params)) }),
  sample: (world, params, random, rows) => batch(world, params, random, { rows, told: params.told }),
  evaluations: {
    hidden: evaluation("nothing but the examples tells the deciding factor", { told: 0 }),
    bare: evaluation("the labels of the examples withheld: nothing tells it", { told: 0, bare: true }),
    told: evaluation("the deciding factor told", { told: 1 }),
  },
  reference: {
    title: "Bayes over the factors that may decide, every item's factors known",
    predict: bayes,
  },
  probeTargets: {
    rule: probeTarget("the factor that decides", (_, __, rule) => rule),
    "first-factor": probeTarget("the item's value of the first factor", (world, params, _, item) =>
      factorValue(world, params, item, 0),
    ),
  },
  describe(world, params, drawn, row) {
    const [rule, shown, ...items] = rowOf(drawn, row).layout!;
    const lines = items.map((item, t) => {
      const own = Array.from({ length: params.factors }, (_, factor) => factorValue(world, params, item, factor));
      const label = shown === BARE && t < params.examples ? "withheld" : own[rule!];
      return `item ${item} (${own.join(" ")}) -> ${label}`;
    });
    return [`factor ${rule! + 1} of ${params.factors} decides, ${shown === TOLD ? "told" : "hidden"}`, ...lines].join(
      "\n",
    );
  },
  defaults: {
    model: { n_layers: 2, n_heads: 2, d_model: 32, attn_only: false, act_fn: "gelu" },
    training: { steps: 2000, learning_rate: 6e-3, batch: 64, clip: 1 },
  },
});
