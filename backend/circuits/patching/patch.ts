import { HeadscopeError } from "../../common/errors.ts";
import { METRICS, type MetricName } from "../../common/metrics.ts";
import {
  ANYTHING,
  checkOptions,
  FUNCTION,
  listOf,
  oneOf,
  type Rule,
  type Rules,
  whole,
  YES_OR_NO,
} from "../../common/options.ts";
import {
  groupSize,
  PATCH_DIRECTIONS,
  PATCH_GRIDS,
  PATCH_GROUPS,
  PATCH_METHODS,
  PATCH_NODES,
  PATCH_PLACES,
  type PatchDirection,
  type PatchGrid,
  type PatchGroups,
  type PatchMethod,
  type PatchNode,
  type PatchPlace,
} from "../../common/patching.ts";
import type { Intervention } from "../../hooks/intervention-schema.ts";
import type { Model } from "../../models/model.ts";
import { checkLayer } from "../../models/transformer/hook-points.ts";
import { loopTurn, type Turn } from "../../runtime/turn.ts";
import type { Interrupts } from "../batches.ts";
import { type Pair, type TokenPair, tokenPairs } from "../pairs.ts";
import { checkNode, placeAxes } from "./nodes.ts";
import { overPairs, type PairMeans, type PairMeasures, type Sides } from "./sides.ts";
import { checkTable, estimateTable, patchTable } from "./tables.ts";

/** The way in which pairs are patched, whatever is patched. */
export interface PatchingOptions {
  pairs: readonly Pair[];
  /** Default logit-diff: logit(answer) - logit(wrong) at the last position. */
  metric?: MetricName;
  /** Default denoise: clean activations in the corrupt run; noise: corrupt ones in the clean run. */
  direction?: PatchDirection;
  /** For texts: whether BOS comes first. Default: as the tokenizer does. */
  prependBos?: boolean;
  progress?: (done: number, total: number, label: string) => void;
  signal?: AbortSignal;
  /** Lets others in between stretches of the work. */
  turn?: Turn;
}

/** Rule of a list of interventions. */
export const INTERVENTIONS: Rule = { wants: "a list of interventions", fits: Array.isArray };

/** Rules of `PatchingOptions`. */
export const PATCHING: Rules<PatchingOptions> = {
  pairs: ANYTHING,
  metric: oneOf(METRICS),
  direction: oneOf(PATCH_DIRECTIONS),
  prependBos: YES_OR_NO,
  progress: FUNCTION,
  signal: ANYTHING,
  turn: FUNCTION,
};

export interface PatchOptions extends PatchingOptions {
  node: PatchNode;
  /**
   * head: one head at all positions; position: all heads (or the stream) at one position, of patterns one query; layer: the whole
   * node; head-position: one head at one position; neurons: some of an MLP's neurons, of mlp_post.
   */
  by: PatchPlace | PatchGrid | PatchGroups;
  /** By neurons: how many together, in their order; the last group of a layer has what is left. Default a 32nd of the MLP. */
  group?: number | undefined;
  /** Default exact: a run for every place. attribution: base metric + gradient · difference, all places from one gradient. */
  method?: PatchMethod;
  /** Changes of every run, as data: what is measured is the changed model. Default none. */
  interventions?: readonly Intervention[] | undefined;
  /** Layers to patch, in the order of the table's rows; default all. */
  layers?: readonly number[];
}

const OPTIONS: Rules<PatchOptions> = {
  ...PATCHING,
  node: oneOf(PATCH_NODES),
  by: oneOf([...PATCH_PLACES, ...PATCH_GRIDS, ...PATCH_GROUPS]),
  group: whole(1),
  method: oneOf(PATCH_METHODS),
  interventions: INTERVENTIONS,
  layers: listOf(whole(0)),
};

/**
 * A patching table, means over the pairs.
 * @template T of `patched`: [layers][heads, positions, groups of neurons, or 1], of k and v the KV heads; by head-position
 * [layers][heads][positions]
 */
export interface PatchResult<T = number[][]> extends PairMeans<T> {
  metric: MetricName;
  method: PatchMethod;
  direction: PatchDirection;
  /** By neurons: how many are patched together. */
  group?: number;
}

/**
 * Activation patching: runs one prompt of a pair with the other's activation at one place at a time.
 * All places of a layer are rows of a batch that starts from the residual before that layer.
 * @throws HeadscopeError for options that do not exist or do not fit, pairs that `tokenPairs` refuses, heads asked of a stream,
 * tables of neurons beyond what can be run, runs that do not fit into memory, and metrics that are no numbers
 * @see Meng et al. 2022 (denoising); Nanda 2023 and Syed et al. 2023 (attribution patching)
 */
export async function patch(
  model: Model,
  options: PatchOptions & { by: PatchPlace | PatchGroups },
): Promise<PatchResult>;
export async function patch(
  model: Model,
  options: PatchOptions & { by: PatchGrid },
): Promise<PatchResult<number[][][]>>;
export async function patch(model: Model, options: PatchOptions): Promise<PatchResult<number[][] | number[][][]>>;
export async function patch(model: Model, options: PatchOptions): Promise<PatchResult<number[][] | number[][][]>> {
  checkOptions("patch", options, OPTIONS, ["pairs", "node", "by"]);
  const {
    node,
    by,
    metric = "logit-diff",
    direction = "denoise",
    method = "exact",
    interventions,
    progress,
    signal,
    turn,
  } = options;
  const between = turn ?? loopTurn(signal);
  const interrupts: Interrupts = { onLayer: () => signal?.throwIfAborted(), turn };
  const byNeurons = by === "neurons";
  checkNode(model, node, by === "head" || by === "head-position", byNeurons);
  if (options.group !== undefined && !byNeurons)
    throw new HeadscopeError("usage", `a group of neurons is asked for, and the table is by ${by}`, {
      remedy: "patch mlp_post by neurons, or leave the group out",
      field: "group",
    });
  const pairs = tokenPairs(model, options.pairs, options);
  if (by === "position" || by === "head-position") checkLengths(pairs);
  const layers = options.layers ?? model.weights.blocks.map((_, layer) => layer);
  for (const layer of layers) checkLayer(model.config, layer);
  const sizes = { group: options.group, layers: layers.length, runEach: method === "exact" };
  const group = byNeurons ? groupSize(model.config, sizes) : 1;
  const layout = { axes: placeAxes(node, by), group };
  checkTable(model, pairs, { node, layout, layers, method });
  const results: PairMeasures<number[][] | number[][][]>[] = [];
  const differences: Sides["differences"][] = [];
  for (const pair of pairs) {
    const onLayer = async (done: number): Promise<void> => {
      progress?.(results.length * layers.length + done, pairs.length * layers.length, "patching, layers");
      await between();
    };
    const work = { node, layout, layers, metric, direction, interventions, onLayer, interrupts };
    const { measured, sides } = await (method === "exact" ? patchTable : estimateTable)(model, pair, work);
    const { patched } = measured;
    const positions = pair.clean.length;
    results.push({
      ...measured,
      patched: by === "head-position" ? patched.map((row) => folded(row, positions)) : patched,
    });
    differences.push(sides);
  }
  return { ...overPairs(results, differences), metric, method, direction, ...(byNeurons ? { group } : {}) };
}

/** @throws HeadscopeError (input) for pairs of different lengths */
export function checkLengths(pairs: readonly TokenPair[]): void {
  const odd = pairs.findIndex(({ clean }) => clean.length !== pairs[0]!.clean.length);
  if (odd > 0)
    throw new HeadscopeError(
      "input",
      `pair ${odd} has ${pairs[odd]!.clean.length} tokens and pair 0 has ${pairs[0]!.clean.length}`,
      { remedy: "a table by position needs pairs of one length: run each length by itself" },
    );
}

/** A list cut into rows of one length. */
function folded(values: readonly number[], length: number): number[][] {
  return Array.from({ length: values.length / length }, (_, r) => values.slice(r * length, (r + 1) * length));
}
