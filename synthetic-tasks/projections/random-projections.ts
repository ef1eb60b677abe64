import { z } from "zod";
import type { Random } from "../../backend/common/random.ts";
import { type Batch, type Evaluation, rowOf } from "../../backend/training/task.ts";
import { fixed, impossible, task } from "../base.ts";
import { type BaseSet, baseSet, projectionTask } from "./base-set.ts";
import { classifyInContext } from "./context-classifier.ts";

/** Numbers of tasks from here on are of no training; below are as many as a training can have. */
const UNSEEN = 2 ** 30;
/** Numbers of an item that `describe` shows. */
const SHOWN = 4;

const parameters = z.object({
  tasks: z.int().min(1).max(UNSEEN).default(65536).describe("tasks of training, a random matrix and a permutation of labels each"),
  classes: z.int().min(2).max(256).default(4).describe("classes of the base set, which are as many labels"),
  items: z.int().min(1).max(4096).default(64).describe("items of a class in training; as many are held out"),
  dimension: z.int().min(1).max(256).default(8).describe("numbers of an item"),
  epsilon: z.number().positive().default(0.3).describe("spread of a class's items, in lengths of its prototype"),
  examples: z.int().min(2).max(1024).default(16).describe("items of a sequence, each to be labelled from those before it"),
  repeated: z.number().min(0).max(1).default(0).describe("bias: share of the training sequences that are of the first task"),
  unpermuted: z.number().min(0).max(1).default(0).describe("bias: share of the training sequences whose labels are the classes, in no task's order"),
}); // biome-ignore format: a table
type Params = z.output<typeof parameters>;

/** Sequences that are drawn. */
interface Split {
  readonly unseenTasks?: boolean;
  readonly heldOutItems?: boolean;
  /** The only place that counts, default all. */
  readonly place?: "first" | "last";
  /** Shares of biased sequences, default none. */
  readonly bias?: Pick<Params, "repeated" | "unpermuted">;
}

/** Numbers of `Batch.layout` a row: the task (-1 - number where labels are the classes), then the items. */
const layoutWidth = ({ examples }: Params): number => examples + 1;

/** Sequences [rows, examples, dimension + classes]: an item, and the label of the item before it; the target is the item's own label. */
function batch(base: BaseSet, params: Params, random: Random, { rows, split }: { rows: number; split: Split }): Batch {
  const { classes, items, dimension: d, examples } = params;
  const width = d + classes;
  const inputs = new Float32Array(rows * examples * width);
  const targets = new Int32Array(rows * examples);
  const weights = new Float32Array(rows * examples);
  const layout = new Int32Array(rows * layoutWidth(params));
  const count = classes * items;
  const pool = Array.from({ length: count }, (_, i) => (split.heldOutItems ? count + i : i));
  for (let r = 0; r < rows; r++) {
    const { number, permuted } = drawTask(params, random, split);
    const { matrix, labels } = projectionTask(base, params, number);
    layout[r * layoutWidth(params)] = permuted ? number : -1 - number;
    for (let t = 0; t < examples; t++) {
      const other = random.integer(t, count); // different items: the first places of a random order
      [pool[t], pool[other]] = [pool[other]!, pool[t]!];
      const item = pool[t]!;
      const place = r * examples + t;
      project(matrix, base.items.subarray(item * d, (item + 1) * d), inputs.subarray(place * width, place * width + d));
      if (t > 0) inputs[place * width + d + targets[place - 1]!] = 1;
      targets[place] = permuted ? labels[item % classes]! : item % classes;
      weights[place] = split.place === undefined || t === (split.place === "first" ? 0 : examples - 1) ? 1 : 0;
      layout[r * layoutWidth(params) + 1 + t] = item;
    }
  }
  return { rows, inputs, classes: targets, weights, layout };
}

function drawTask({ tasks }: Params, random: Random, { unseenTasks, bias }: Split) {
  const number = unseenTasks ? random.integer(UNSEEN, 2 * UNSEEN) : random.integer(0, tasks);
  const u = random.uniform();
  const { repeated, unpermuted } = bias ?? { repeated: 0, unpermuted: 0 };
  return { number: u < repeated ? 0 : number, permuted: u < repeated || u >= repeated + unpermuted };
}

/** out = matrix · item */
function project(matrix: Float32Array, item: Float32Array, out: Float32Array): void {
  const d = item.length;
  for (let i = 0; i < d; i++) {
    let sum = 0;
    for (let j = 0; j < d; j++) sum += matrix[i * d + j]! * item[j]!;
    out[i] = sum;
  }
}

function evaluation(title: string, split: Split): Evaluation<Params, BaseSet> {
  return {
    title,
    chance: ({ classes }) => ({ accuracy: 1 / classes, loss: Math.log(classes) }),
    sample: (base, params, random, rows) => batch(base, params, random, { rows, split }),
  };
}

/** Log-probabilities of labels from the pairs before an item alone [rows, examples, classes]. */
function fromContext(params: Params, drawn: Batch): Float64Array {
  const { classes, dimension: d, examples, epsilon } = params;
  const width = d + classes;
  const between = 1 / (1 + epsilon ** 2);
  const predictions = new Float64Array(drawn.rows * examples * classes);
  for (let r = 0; r < drawn.rows; r++) {
    const { inputs, classes: labels } = rowOf(drawn, r);
    const x = new Float32Array(examples * d);
    for (let t = 0; t < examples; t++) x.set(inputs!.subarray(t * width, t * width + d), t * d);
    const own = classifyInContext({ x, labels: labels!, dimension: d }, classes, { between, within: 1 - between });
    predictions.set(own, r * examples * classes);
  }
  return predictions;
}

/** Kirsch et al.'s tasks of one base set: random projections of its items and permutations of its labels. */
export const randomProjections = task({
  name: "random-projections",
  title: "Random projections of one base set",
  description:
    "A base set of items about class prototypes is drawn once a run. A task is a random matrix, by which all items are multiplied, and " +
    "a permutation of the labels. A sequence has items of one task, each with the label of the item before it; the label of every item is to be told. " +
    "With few tasks a model can remember them, with more it can find out which task it is in; with very many only learning from the sequence " +
    "is left, which works on tasks that were never seen.",
  source:
    "Kirsch et al. 2022, General-Purpose In-Context Learning by Meta-Learning Transformers (with Gaussian items in the place of images)",
  parameters,
  shape: ({ classes, dimension, examples }) => ({
    input: { kind: "vectors", width: dimension + classes },
    output: { kind: "classes", count: classes },
    positions: examples,
    scored: "all",
  }),
  check({ classes, items, examples, repeated, unpermuted }) {
    const refuse = (field: readonly string[], constraint: string, remedy: string) =>
      impossible("random-projections", field, constraint, remedy);
    if (examples > classes * items)
      throw refuse(
        ["examples", "classes", "items"],
        `a sequence of ${examples} different items needs as many: ${classes} classes of ${items} have ${classes * items}`,
        `give items ${Math.ceil(examples / classes)} or more, or fewer examples`,
      );
    if (repeated + unpermuted > 1)
      throw refuse(
        ["repeated", "unpermuted"],
        `the shares repeated ${repeated} and unpermuted ${unpermuted} are more than the whole`,
        "give shares whose sum is at most 1",
      );
  },
  world: baseSet,
  sample: (base, params, random, rows) => batch(base, params, random, { rows, split: { bias: params } }),
  evaluations: {
    unseen: evaluation("tasks that training never showed, after all other items of the sequence", {
      unseenTasks: true,
      place: "last",
    }),
    seen: evaluation("tasks of training, after all other items of the sequence", { place: "last" }),
    "seen-first": evaluation("tasks of training, the first item: nothing tells the task but the item itself", {
      place: "first",
    }),
    "new-items": evaluation("tasks of training with held-out items, after all others of the sequence", {
      heldOutItems: true,
      place: "last",
    }),
    "all-new": evaluation("unseen tasks with held-out items, after all others of the sequence", {
      unseenTasks: true,
      heldOutItems: true,
      place: "last",
    }),
  },
  reference: {
    title: "classes as normal laws whose centres the sequence tells",
    predict: (_, params, drawn) => fromContext(params, drawn),
  },
  describe(_, params, drawn, row) {
    const { examples, classes, dimension: d, tasks } = params;
    const { inputs, classes: labels, layout } = rowOf(drawn, row);
    const [projection, ...items] = layout as unknown as [number, ...number[]];
    const number = projection < 0 ? -1 - projection : projection;
    const name = number < tasks ? `task ${number} of ${tasks}` : "an unseen task";
    const lines = Array.from({ length: examples }, (_, t) => {
      const at = t * (d + classes);
      const text = fixed(inputs!.subarray(at, at + Math.min(d, SHOWN)));
      return `item ${text}${d > SHOWN ? " …" : ""}   class ${items[t]! % classes} -> label ${labels![t]}`;
    });
    return [`${name}${projection < 0 ? ", labels not permuted" : ""}`, ...lines].join("\n");
  },
  defaults: {
    model: { n_layers: 2, n_heads: 4, d_model: 64, attn_only: false, act_fn: "gelu" },
    training: { steps: 4000, learning_rate: 1e-3, batch: 64, clip: 1 },
  },
});
