import { Random } from "../../backend/common/random.ts";
import { forward } from "../../backend/models/forward/forward.ts";
import type { Model } from "../../backend/models/model.ts";
import { tf } from "../../backend/runtime/tf.ts";
import { rowOf } from "../../backend/training/task.ts";
import { type Batch, tasks } from "../../synthetic-tasks/index.ts";
import type { ExperimentContext, ExperimentStage, TrainedRun } from "../base.ts";
import { type Curve, finalValue, mean } from "../curves.ts";

/** Sequences on which attention is measured. */
const ROWS = 256;
/** Stream of a seed that no batch of the training is drawn from. */
const STREAM = 0xe0000000;

/** The attention that the in-context circuit of Reddy's task is made of, by checkpoint. */
export interface ProgressMeasures {
  /** Of labels to the items before them, the head of the first layer that ends highest. */
  readonly itemLabel: Curve;
  /** Of the query to the labels of its class, all copies together, the head of the last layer that ends highest. */
  readonly queryLabel: Curve;
  /** Of the query to the items of its class, all copies together, that same head. */
  readonly queryItem: Curve;
  /** The values of even attention over the tokens so far. */
  readonly chance: { readonly itemLabel: number; readonly queryLabel: number };
}

/** Attention of one layer's heads at a checkpoint [heads]. */
export interface LabelAttention {
  readonly itemLabel: readonly number[];
  readonly queryLabel: readonly number[];
  readonly queryItem: readonly number[];
}

/** Work of measuring at a checkpoint, in optimiser steps of one layer. */
const MEASURING = 4;

/** The stage in which a seed's attention is measured. @param checkpoints how many at most */
export function measuringStage(seed: number, checkpoints: number): ExperimentStage {
  return { label: `attention of seed ${seed}`, work: MEASURING * checkpoints };
}

/**
 * Progress measures of a run of gaussian-classification, on sequences of new classes, at each checkpoint whose accuracy was measured.
 * @see Reddy 2024: item-label association in layer 1, target-label association in layer 2
 */
export async function progressMeasures(run: TrainedRun, context: ExperimentContext): Promise<ProgressMeasures> {
  const task = tasks.get("gaussian-classification");
  const world = task.world(run.taskParams, run.seed);
  const sampled = task.evaluations["in-context"]!.sample(world, run.taskParams, new Random(run.seed, STREAM), ROWS);
  const pairs = run.taskParams["N"] as number;
  const { label } = measuringStage(run.seed, run.checkpoints.length);
  const attentions: { step: number; first: LabelAttention; last: LabelAttention }[] = [];
  // A run that was stopped has one more, at the step where it stopped.
  const measured = new Set(run.curves.get("in-context.accuracy")!.steps);
  const checkpoints = run.checkpoints.filter((step) => measured.has(step));
  for (const [n, step] of checkpoints.entries()) {
    context.signal.throwIfAborted();
    context.progress(n, checkpoints.length, label);
    const model = await context.model(run, step);
    try {
      attentions.push({ step, ...(await patternsOf(model, sampled, pairs)) });
    } finally {
      model.dispose();
    }
  }
  const curves = (layer: "first" | "last", what: keyof LabelAttention): Curve[] =>
    attentions[0]![layer][what].map((_, head) => ({
      steps: attentions.map(({ step }) => step),
      values: attentions.map((each) => each[layer][what][head]!),
    }));
  const best = (all: readonly Curve[]) => all.reduce((a, c, i) => (finalValue(c) > finalValue(all[a]!) ? i : a), 0);
  const [itemLabel, queryLabel] = [curves("first", "itemLabel"), curves("last", "queryLabel")];
  const copies = mean(rowsOf(sampled, pairs).map(({ same }) => same.length));
  return {
    itemLabel: itemLabel[best(itemLabel)]!,
    queryLabel: queryLabel[best(queryLabel)]!,
    queryItem: curves("last", "queryItem")[best(queryLabel)]!,
    chance: {
      itemLabel: mean(Array.from({ length: pairs }, (_, i) => 1 / (2 * i + 2))),
      queryLabel: copies / (2 * pairs + 1),
    },
  };
}

/** Rows of a batch with the pairs, from 0 on, whose item is of the query's class. */
function rowsOf(batch: Batch, pairs: number): { row: number; same: number[] }[] {
  return Array.from({ length: batch.rows }, (_, row) => {
    const classes = rowOf(batch, row).layout!; // of items, then of the query
    const all = Array.from({ length: pairs }, (_, i) => i);
    return { row, same: all.filter((i) => classes[i] === classes[pairs]) };
  });
}

async function patternsOf(
  model: Model,
  batch: Batch,
  pairs: number,
): Promise<{ first: LabelAttention; last: LabelAttention }> {
  const positions = 2 * pairs + 1;
  const inputs = tf.tensor3d(batch.inputs!, [batch.rows, positions, batch.inputs!.length / (batch.rows * positions)]);
  const names = [0, model.config.n_layers - 1].map((layer) => `blocks.${layer}.attn.hook_pattern`);
  const result = forward(model, { inputs, logitsAt: "none" }, { names });
  try {
    const tables = await Promise.all(
      names.map(async (name) => {
        const pattern = result.activations.get(name)!; // [rows, heads, query, key]
        return labelAttention((await pattern.data()) as Float32Array, pattern.shape[1]!, batch, pairs);
      }),
    );
    return { first: tables[0]!, last: tables[1]! };
  } finally {
    result.dispose();
    inputs.dispose();
  }
}

/**
 * Means over a batch of one layer's attention, by head.
 * @param pattern [rows, heads, query, key] of sequences item, label, item, label, …, query
 */
export function labelAttention(pattern: Float32Array, heads: number, batch: Batch, pairs: number): LabelAttention {
  const positions = 2 * pairs + 1;
  const at = (row: number, head: number, query: number, key: number) =>
    pattern[((row * heads + head) * positions + query) * positions + key]!;
  const rows = rowsOf(batch, pairs);
  const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);
  const byHead = (of: (row: number, head: number, same: number[]) => number) =>
    Array.from({ length: heads }, (_, head) => mean(rows.map(({ row, same }) => of(row, head, same))));
  return {
    itemLabel: byHead((row, head) => mean(Array.from({ length: pairs }, (_, i) => at(row, head, 2 * i + 1, 2 * i)))),
    queryLabel: byHead((row, head, same) => sum(same.map((i) => at(row, head, 2 * pairs, 2 * i + 1)))),
    queryItem: byHead((row, head, same) => sum(same.map((i) => at(row, head, 2 * pairs, 2 * i)))),
  };
}
