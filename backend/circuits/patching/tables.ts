import type { MetricName } from "../../common/metrics.ts";
import type { PatchDirection, PatchMethod, PatchNode } from "../../common/patching.ts";
import { replaceWhere } from "../../hooks/intervention-kinds.ts";
import type { Intervention } from "../../hooks/intervention-schema.ts";
import { mergeInterventions } from "../../hooks/interventions.ts";
import { forwardInTurns } from "../../models/forward/turns.ts";
import type { Model } from "../../models/model.ts";
import { activationWidth, blockHook, isPattern } from "../../models/transformer/hook-points.ts";
import { tf } from "../../runtime/tf.ts";
import { evenBatches, type Interrupts } from "../batches.ts";
import { gradientInTurns } from "../gradients/gradient.ts";
import { pairMetric } from "../metrics/measure.ts";
import type { TokenPair } from "../pairs.ts";
import { activationBytes, NUMBER_BYTES } from "../room.ts";
import { countPlaces, NODES, type PlaceLayout, placeMasks } from "./nodes.ts";
import { checkSides, type PairMeasures, runSides, type SideOptions, type Sides } from "./sides.ts";

/** Work on one pair. */
export interface TableWork {
  readonly node: PatchNode;
  readonly layout: PlaceLayout;
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

/** Part of the work on a pair that decides what it holds. */
type TableShape = Pick<TableWork, "node" | "layout" | "layers">;

/** Hook names whose activations are held of either side, for a run at every place. */
function placeNames({ node, layers }: TableShape): Pick<SideOptions, "base" | "source"> {
  const names = (hook: string): string[] => [...new Set(layers)].map((layer) => blockHook(layer, hook));
  return { base: names("hook_resid_pre"), source: names(NODES[node].hook) };
}

/**
 * Refuses a table whose stored runs, or a batch of patched ones, do not fit into memory.
 * @param pairs the longest decides: one is held at a time
 * @throws HeadscopeError (unsupported) with what they take and what is free
 */
export function checkTable(
  model: Model,
  pairs: readonly TokenPair[],
  shape: TableShape & { method: PatchMethod },
): void {
  const { node, layout, method } = shape;
  const { config } = model;
  const longest = pairs.reduce((most, pair) => (pair.clean.length > most.clean.length ? pair : most));
  const tokens = longest.clean.length;
  const { base, source } = placeNames(shape);
  const hook = blockHook(0, NODES[node].hook);
  if (method === "attribution") {
    // Both sides and the gradients at the node, and the streams that the gradients go back through.
    const gradients = activationBytes(config, [...source, ...base], tokens);
    checkSides(model, longest, { base: source, source }, gradients);
    return;
  }
  const width = activationWidth(config, hook);
  const places = countPlaces([1, ...(isPattern(hook) ? [...width, tokens, tokens] : [tokens, ...width])], layout);
  const rows = evenBatches(places, tokens)[0]!.size;
  const logits = NUMBER_BYTES * config.d_vocab;
  const row = activationBytes(config, [hook, blockHook(0, "hook_resid_pre"), blockHook(0, "hook_resid_post")], tokens);
  checkSides(model, longest, { base, source }, rows * (row + logits));
}

/** The table of one pair by a run for every place. */
export async function patchTable(model: Model, pair: TokenPair, work: TableWork): Promise<PatchTable> {
  const { layers, metric, direction, interventions, onLayer, interrupts } = work;
  const options = { metric, direction, interventions, ...placeNames(work) };
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
  { node, layout, interrupts: { onLayer, turn } }: TableWork,
): Promise<number[]> {
  const hook = blockHook(layer, NODES[node].hook);
  const activation = source.activations.get(hook)!;
  const places = countPlaces(activation.shape, layout);
  const values: number[] = [];
  for (const { first, count, size } of evenBatches(places, base.tokens.length)) {
    if (first > 0) await turn?.();
    const rows = Array.from({ length: size }, (_, i) => Math.min(first + i, places - 1));
    const tensors = tf.tidy(() => ({
      change: replaceWhere(placeMasks(activation.shape, layout, rows), activation),
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
  const { node, layout, layers, metric, direction, interventions, onLayer, interrupts } = work;
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
          const { axes } = layout;
          const others = effects.shape.map((_, axis) => axis).filter((axis) => !axes.includes(axis));
          const table = tf.sum(effects, others); // the axes of places, in the activation's order
          return axes.length === 2 && axes[0]! > axes[1]! ? tf.transpose(table) : table;
        });
        patched.push(inGroups(sums.dataSync(), layout.group).map((effect) => start + effect));
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

/** Sums of as many entries at a time; of the last what is left. */
function inGroups(values: ArrayLike<number>, group: number): number[] {
  const sums = new Array<number>(Math.ceil(values.length / group)).fill(0);
  for (let i = 0; i < values.length; i++) sums[Math.floor(i / group)]! += values[i]!;
  return sums;
}
