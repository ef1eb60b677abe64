import type { MetricName } from "../../common/metrics.ts";
import type { PatchDirection, PatchNode } from "../../common/patching.ts";
import { replaceWhere } from "../../hooks/intervention-kinds.ts";
import type { Intervention } from "../../hooks/intervention-schema.ts";
import { mergeInterventions } from "../../hooks/interventions.ts";
import { forwardInTurns } from "../../models/forward/turns.ts";
import type { Model } from "../../models/model.ts";
import { blockHook } from "../../models/transformer/hook-points.ts";
import { tf } from "../../runtime/tf.ts";
import { evenBatches, type Interrupts } from "../batches.ts";
import { gradientInTurns } from "../gradients/gradient.ts";
import { pairMetric } from "../metrics/measure.ts";
import type { TokenPair } from "../pairs.ts";
import { countPlaces, NODES, placeMasks } from "./nodes.ts";
import { type PairMeasures, runSides, type Sides } from "./sides.ts";

/** Work on one pair. */
export interface TableWork {
  readonly node: PatchNode;
  /** As `placeAxes` gives them. */
  readonly axes: readonly number[];
  readonly layers: readonly number[];
  readonly metric: MetricName;
  readonly direction: PatchDirection;
  readonly interventions: readonly Intervention[] | undefined;
  /** Called with the number of layers done. */
  onLayer(done: number): Promise<void>;
  readonly interrupts: Interrupts;
}

/** One pair's table [layers][places], and the logit differences of its sides. */
export interface PatchTable {
  measured: PairMeasures<number[][]>;
  sides: Sides["differences"];
}

/** The table of one pair by a run for every place. */
export async function patchTable(model: Model, pair: TokenPair, work: TableWork): Promise<PatchTable> {
  const { node, layers, metric, direction, interventions, onLayer, interrupts } = work;
  const own = new Set(layers);
  const names = (hook: string): string[] => [...own].map((layer) => blockHook(layer, hook));
  const options = {
    metric,
    direction,
    interventions,
    base: names("hook_resid_pre"),
    source: names(NODES[node].hook),
  };
  const sides = await runSides(model, pair, options, interrupts);
  try {
    const patched: number[][] = [];
    for (const layer of layers) {
      patched.push(await patchLayer(model, sides, layer, work));
      await onLayer(patched.length);
    }
    return { measured: { clean: sides.clean, corrupt: sides.corrupt, patched }, sides: sides.differences };
  } finally {
    sides.dispose();
  }
}

/** Metric of every place of a layer, as rows that start from the base run's residual. */
async function patchLayer(
  model: Model,
  { base, source, changes, measure }: Sides,
  layer: number,
  { node, axes, interrupts: { onLayer, turn } }: TableWork,
): Promise<number[]> {
  const hook = blockHook(layer, NODES[node].hook);
  const activation = source.activations.get(hook)!;
  const places = countPlaces(activation.shape, axes);
  const values: number[] = [];
  for (const { first, count, size } of evenBatches(places, base.tokens.length)) {
    if (first > 0) await turn?.();
    const rows = Array.from({ length: size }, (_, i) => Math.min(first + i, places - 1));
    const tensors = tf.tidy(() => ({
      change: replaceWhere(placeMasks(activation.shape, axes, rows), activation),
      resid: tf.tile(base.activations.get(blockHook(layer, "hook_resid_pre"))!, [size, 1, 1]),
    }));
    try {
      const input = { resid: tensors.resid, startLayer: layer, logitsAt: "last" } as const;
      const interventions = mergeInterventions(changes, new Map([[hook, tensors.change]]));
      const result = await forwardInTurns(model, input, { interventions, onLayer }, turn);
      values.push(...measure(result.logits!).slice(0, count));
      result.dispose();
    } finally {
      tf.dispose([tensors.resid, tensors.change.gain, tensors.change.bias]);
    }
  }
  return values;
}

/**
 * The table of one pair by attribution patching: at every place the base metric + the sum of (source's activation - base's) ·
 * the metric's gradient in the base run.
 */
export async function estimateTable(model: Model, pair: TokenPair, work: TableWork): Promise<PatchTable> {
  const { node, axes, layers, metric, direction, interventions, onLayer, interrupts } = work;
  const names = [...new Set(layers)].map((layer) => blockHook(layer, NODES[node].hook));
  const sides = await runSides(
    model,
    pair,
    { metric, direction, interventions, base: names, source: names },
    interrupts,
  );
  try {
    const { base, source, clean, corrupt, differences } = sides;
    const { gradients } = await gradientInTurns(model, {
      input: { tokens: [base.tokens], interventions: interventions ?? [], onLayer: interrupts.onLayer },
      metric: pairMetric(metric, [pair], sides.cleanLogits),
      names,
      turn: interrupts.turn,
    });
    const start = direction === "noise" ? clean : corrupt;
    const patched: number[][] = [];
    try {
      for (const layer of layers) {
        const name = blockHook(layer, NODES[node].hook);
        const [from, to, slope] = [base.activations.get(name)!, source.activations.get(name)!, gradients.get(name)];
        const sums = tf.tidy(() => {
          const effects = tf.mul(tf.sub(to, from), slope);
          const others = effects.shape.map((_, axis) => axis).filter((axis) => !axes.includes(axis));
          const table = tf.sum(effects, others); // the axes of places, in the activation's order
          return axes.length === 2 && axes[0]! > axes[1]! ? tf.transpose(table) : table;
        });
        patched.push([...sums.dataSync()].map((effect) => start + effect));
        sums.dispose();
        await onLayer(patched.length);
      }
    } finally {
      gradients.dispose();
    }
    return { measured: { clean, corrupt, patched }, sides: differences };
  } finally {
    sides.dispose();
  }
}
