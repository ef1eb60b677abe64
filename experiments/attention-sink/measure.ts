import { Random } from "../../backend/common/random.ts";
import { forward } from "../../backend/models/forward/forward.ts";
import type { Model } from "../../backend/models/model.ts";
import type { PatternSum } from "../../backend/models/transformer/attention.ts";
import { tf } from "../../backend/runtime/tf.ts";
import { sequencesOf } from "../../backend/training/task.ts";
import { attentionSink } from "../../probes/patterns/attention-sink.ts";
import { tasks } from "../../synthetic-tasks/index.ts";
import type { ExperimentContext, ExperimentStage, TrainedRun } from "../base.ts";
import { type Curve, mean } from "../curves.ts";
import { ARM_TITLES, type Arm, placeOf, type SinkParams } from "./arms.ts";
import { CORPORA } from "./corpora.ts";

/** Stream of a seed that no batch of the training is drawn from. */
const STREAM = 0xe0000000;
/** Work of measuring at a checkpoint, in optimiser steps of one layer. */
const MEASURING = 4;

/** The curves by which a seed of a setting is judged. */
export interface SinkCurves {
  readonly loss: Curve;
  /** Share of the heads whose mean attention to the sink's place exceeds epsilon: the paper's metric. */
  readonly share: Curve;
  /** Mean attention to that place of the head that gives it most. */
  readonly strongest: Curve;
  /** The same of the first token at the end, where the place is another. */
  readonly first: number;
  /** Mean weight of the key beside the tokens' at the end, of the head that gives it most; 0 where there is none. */
  readonly beside: number;
}

/** The stage in which a setting's sinks are measured. */
export function sinkStage(arm: Arm, { seeds, points }: SinkParams): ExperimentStage {
  return { label: `sinks: ${ARM_TITLES[arm]}`, work: MEASURING * seeds.length * points };
}

/** Sinks of a setting's runs at each of their checkpoints, on new sequences of each run's own language. */
export async function sinkCurves(
  arm: Arm,
  runs: readonly TrainedRun[],
  params: SinkParams,
  context: ExperimentContext,
): Promise<SinkCurves[]> {
  const curves: SinkCurves[] = [];
  const { label } = sinkStage(arm, params);
  for (const [i, run] of runs.entries()) {
    context.progress(i, runs.length, label);
    curves.push(await curvesOf(arm, run, params, context));
  }
  return curves;
}

async function curvesOf(
  arm: Arm,
  run: TrainedRun,
  params: SinkParams,
  context: ExperimentContext,
): Promise<SinkCurves> {
  const tokens = freshRows(run, params);
  const loss = run.curves.get("fresh.loss")!;
  // A run that was stopped has one more, at the step where it stopped.
  const steps = run.checkpoints.filter((step) => loss.steps.includes(step));
  const place = placeOf(arm, params);
  const importances: number[][] = [];
  let [first, beside] = [0, 0];
  for (const step of steps) {
    context.signal.throwIfAborted();
    const model = await context.model(run, step);
    try {
      importances.push(await importance(model, tokens, place));
      if (step !== steps.at(-1)) continue;
      first = Math.max(...(await importance(model, tokens, 0)));
      beside = arm === "key-bias" ? 1 - Math.min(...totals(model, tokens)) : 0;
    } finally {
      model.dispose();
    }
  }
  const over = (heads: readonly number[]) => heads.filter((value) => value > params.epsilon).length / heads.length;
  return {
    loss,
    share: { steps, values: importances.map(over) },
    strongest: { steps, values: importances.map((heads) => Math.max(...heads)) },
    first,
    beside,
  };
}

/** New sequences of a run's language. */
function freshRows({ taskParams, seed }: TrainedRun, { corpus, evaluation_rows: rows }: SinkParams): number[][] {
  const task = tasks.get(CORPORA[corpus].task);
  const world = task.world(taskParams, seed);
  return sequencesOf(task.evaluations["fresh"]!.sample(world, taskParams, new Random(seed, STREAM), rows));
}

/** Mean attention of each head to a place [layers * heads], by the probe. */
async function importance(model: Model, tokens: number[][], k: number): Promise<number[]> {
  const params = attentionSink.parameters.parse({ k, tokens: tokens[0]!.length });
  const { metrics } = await attentionSink.run(model, params, { tokens });
  return metrics["importance"]!.values.flat();
}

/** Mean weight of all tokens together, of each head [layers * heads]. */
function totals(model: Model, tokens: number[][]): number[] {
  const length = tokens[0]!.length;
  const all: PatternSum = {
    kind: "sum",
    name: `all attention of ${length}`,
    weight: (query, key) => tf.div(tf.onesLike(tf.add(query, key)), length),
  };
  const result = forward(model, { tokens, logitsAt: "none" }, { reductions: [all] });
  try {
    const layers = result.reductions.get(all.name)!.map((t) => t.arraySync() as number[][]); // [layers][rows][heads]
    return layers.flatMap((rows) => rows[0]!.map((_, head) => mean(rows.map((row) => row[head]!))));
  } finally {
    result.dispose();
  }
}
