import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError } from "../../common/errors.ts";
import { METRICS, type MetricName } from "../../common/metrics.ts";
import { ANYTHING, checkOptions, FUNCTION, oneOf, type Rules, whole, YES_OR_NO } from "../../common/options.ts";
import { ABLATED_PARTS, ABLATION_METHODS, type AblatedPart, type AblationMethod } from "../../common/words.ts";
import { replaceWhere } from "../../hooks/intervention-kinds.ts";
import { meanActivation } from "../../hooks/reference.ts";
import { forward } from "../../models/forward/forward.ts";
import { forwardInTurns } from "../../models/forward/turns.ts";
import type { Affine } from "../../models/forward/types.ts";
import type { Model } from "../../models/model.ts";
import { MASKED } from "../../models/transformer/attention.ts";
import { blockHook } from "../../models/transformer/hook-points.ts";
import { tf } from "../../runtime/tf.ts";
import { loopTurn, type Turn } from "../../runtime/turn.ts";
import { evenBatches } from "../batches.ts";
import { type InPlaceOfNumbers, intervalsOf, meanOf } from "../means.ts";
import { type Pair, pairDoubts, type TokenPair, tokenPairs } from "../pairs.ts";
import { checkLengths } from "../patching/patch.ts";
import { runSides, type Sides } from "../patching/sides.ts";

export interface AblateEachOptions {
  pairs: readonly Pair[];
  /** head, mlp, layer: one of them at all positions; source: the attention of the last position to one earlier token. */
  each: AblatedPart;
  /**
   * Default zero. mean: over all positions of the reference; resample: the corrupt prompt's, at the same positions. Attention is
   * always knocked out.
   */
  method?: AblationMethod | undefined;
  /** Rows that mean draws from. Default: all prompts of the pairs. */
  reference?: readonly (readonly number[])[] | undefined;
  /** source: layers in which a token is hidden together, centred on the table's; odd. Default 1. */
  window?: number | undefined;
  /** Default logit-diff, after the clean prompt. */
  metric?: MetricName | undefined;
  /** For texts: whether BOS comes first. Default: as the tokenizer does. */
  prependBos?: boolean;
  progress?: (done: number, total: number, label: string) => void;
  signal?: AbortSignal | undefined;
  /** Lets others in between layers and stretches of a long run. */
  turn?: Turn | undefined;
}

const OPTIONS: Rules<AblateEachOptions> = {
  pairs: ANYTHING,
  each: oneOf(ABLATED_PARTS),
  method: oneOf(ABLATION_METHODS),
  reference: { wants: "rows of token ids", fits: (rows) => Array.isArray(rows) && rows.length > 0 },
  window: { wants: "an odd whole number", fits: (n) => whole(1).fits(n) && (n as number) % 2 === 1 },
  metric: oneOf(METRICS),
  prependBos: YES_OR_NO,
  progress: FUNCTION,
  signal: ANYTHING,
  turn: FUNCTION,
};

/** Metrics of the clean prompt without one part at a time. */
export interface AblationTable {
  clean: number;
  /** [layers][heads], [layers][1] of MLPs and layers, [layers][positions] of source tokens. */
  ablated: number[][];
  /** At each place, the mean with one of its likes taken out instead: the other heads of the layer, else the other layers. */
  control: (number | null)[][];
}

/** Ablation of each part in turn: means over the pairs, and of more than one pair the 95 % intervals of these means. */
export interface AblatedEach extends AblationTable {
  interval?: InPlaceOfNumbers<AblationTable, [number, number]>;
  each: AblatedPart;
  method: AblationMethod | "knock-out";
  metric: MetricName;
  /** Doubts about the pairs; absent where all is well. */
  notes?: string[];
}

/**
 * Ablation of each head, MLP, layer or source token in turn, measured by the metric of pairs on their clean prompts; the ablations
 * of a layer are rows of a batch that starts from the residual before it.
 * @throws HeadscopeError for options that do not fit, pairs that `tokenPairs` refuses, MLPs that the model does not have, tables of
 * source tokens over pairs of different lengths, and logits that are no numbers
 * @see Geva et al. 2023, Dissecting Recall of Factual Associations (knocked-out attention, windows of layers)
 */
export async function ablateEach(model: Model, options: AblateEachOptions): Promise<AblatedEach> {
  checkOptions("ablateEach", options, OPTIONS, ["pairs", "each"]);
  const { each, method = "zero", metric = "logit-diff", window = 1, progress, signal, turn } = options;
  checkFit(options);
  if (each === "mlp" && model.config.attn_only)
    throw new HeadscopeError("usage", "the model has no MLP", { remedy: "ablate heads or layers" });
  const pairs = tokenPairs(model, options.pairs, options);
  if (each === "source") checkLengths(pairs);
  const hooks = HOOKS[each].filter((hook) => !(hook === "hook_mlp_out" && model.config.attn_only));
  const rows = options.reference ?? pairs.flatMap(({ clean, corrupt }) => [clean, corrupt]);
  const means = method === "mean" && each !== "source" ? meansOf(model, rows, hooks) : undefined;
  const between = turn ?? loopTurn(signal);
  const { n_layers } = model.config;
  const tables: AblationTable[] = [];
  const differences: Sides["differences"][] = [];
  try {
    for (const pair of pairs) {
      const onLayer = async (done: number): Promise<void> => {
        progress?.(tables.length * n_layers + done, pairs.length * n_layers, "ablation, layers");
        await between();
      };
      const work = { each, hooks, method, metric, means, window, onLayer, signal, turn };
      const { table, sides } = await ablatePair(model, pair, work);
      tables.push({ ...table, control: each === "head" ? besideInRow(table.ablated) : besideInColumn(table.ablated) });
      differences.push(sides);
    }
  } finally {
    tf.dispose([...(means?.values() ?? [])]);
  }
  const notes = pairDoubts(differences);
  return {
    ...meanOf(tables),
    ...(tables.length > 1 ? { interval: intervalsOf(tables) } : {}),
    each,
    method: each === "source" ? "knock-out" : method,
    metric,
    ...(notes.length > 0 ? { notes } : {}),
  };
}

/** @throws HeadscopeError (usage) for options that say nothing of the parts */
function checkFit({ each, method, window, reference }: AblateEachOptions): void {
  const refused: readonly [unknown, string, string][] = [
    [each !== "source" && window !== undefined, "window", "a window is for source tokens"],
    [method !== "mean" && reference !== undefined, "reference", "reference rows are for method mean"],
    [each === "source" && (method ?? "zero") !== "zero", "method", "attention is knocked out, by no other method"],
  ];
  for (const [wrong, field, message] of refused)
    if (wrong) throw new HeadscopeError("usage", message, { remedy: `leave \`${field}\` out`, field });
}

/** Hook points of the parts. */
const HOOKS: Readonly<Record<AblatedPart, readonly string[]>> = {
  head: ["attn.hook_z"],
  mlp: ["hook_mlp_out"],
  layer: ["hook_attn_out", "hook_mlp_out"],
  source: [],
};

interface EachWork {
  readonly each: AblatedPart;
  readonly hooks: readonly string[];
  readonly method: AblationMethod;
  readonly metric: MetricName;
  /** Means of activations by hook name [1, 1, ...]. */
  readonly means: ReadonlyMap<string, Tensor> | undefined;
  readonly window: number;
  onLayer(done: number): Promise<void>;
  readonly signal: AbortSignal | undefined;
  readonly turn: Turn | undefined;
}

/** Means of what is taken out, over all positions of reference rows; the caller disposes them. */
function meansOf(
  model: Model,
  rows: readonly (readonly number[])[],
  hooks: readonly string[],
): ReadonlyMap<string, Tensor> {
  const names = model.weights.blocks.flatMap((_, layer) => hooks.map((hook) => blockHook(layer, hook)));
  const { activations, dispose } = forward(model, { tokens: rows, logitsAt: "none" }, { names });
  const lengths = rows.map((row) => row.length);
  const target = { rows: 1, positions: 1, lengths: [1] };
  const means = names.map((name): [string, Tensor] => [
    name,
    meanActivation({ activation: activations.get(name)!, lengths, own: false }, target, false),
  ]);
  dispose();
  return new Map(means);
}

async function ablatePair(
  model: Model,
  pair: TokenPair,
  work: EachWork,
): Promise<{ table: Pick<AblationTable, "clean" | "ablated">; sides: Sides["differences"] }> {
  const { hooks, method, metric, onLayer, signal, turn } = work;
  const layers = model.weights.blocks.map((_, layer) => layer);
  const names = (hook: string): string[] => layers.map((layer) => blockHook(layer, hook));
  const source = method === "resample" ? hooks.flatMap(names) : [];
  // The clean prompt is changed, as where corrupt activations are put into it.
  const options = { metric, direction: "noise", base: names("hook_resid_pre"), source } as const;
  const sides = await runSides(model, pair, options, { onLayer: () => signal?.throwIfAborted(), turn });
  try {
    const ablated: number[][] = [];
    for (const layer of layers) {
      ablated.push(await ablateLayer(model, sides, layer, work));
      await onLayer(ablated.length);
    }
    return { table: { clean: sides.clean, ablated }, sides: sides.differences };
  } finally {
    sides.dispose();
  }
}

/** The metric without each part of a layer. */
async function ablateLayer(model: Model, sides: Sides, layer: number, work: EachWork): Promise<number[]> {
  const { each, window, signal, turn } = work;
  const { base } = sides;
  const positions = base.tokens.length;
  const places = each === "head" ? model.config.n_heads : each === "source" ? positions : 1;
  const half = each === "source" ? (window - 1) / 2 : 0;
  const [first, last] = [Math.max(0, layer - half), Math.min(model.config.n_layers - 1, layer + half)];
  const values: number[] = [];
  for (const { first: begin, count, size } of evenBatches(places, positions)) {
    if (begin > 0) await turn?.();
    const rows = Array.from({ length: size }, (_, i) => Math.min(begin + i, places - 1));
    const changes = new Map<string, Affine>();
    for (let l = first; l <= last; l++)
      for (const [name, change] of changesOf(model, sides, { layer: l, rows }, work)) changes.set(name, change);
    const resid = tf.tidy(() => tf.tile(base.activations.get(blockHook(first, "hook_resid_pre"))!, [size, 1, 1]));
    try {
      const input = { resid, startLayer: first, logitsAt: "last" } as const;
      const onLayer = (): void => signal?.throwIfAborted();
      const result = await forwardInTurns(model, input, { interventions: changes, onLayer }, turn);
      values.push(...sides.measure(result.logits!).slice(0, count));
      result.dispose();
    } finally {
      tf.dispose([resid, ...[...changes.values()].flatMap(({ gain, bias }) => [gain, bias])]);
    }
  }
  return values;
}

/** The changes of a layer, of which each row has its own part. @param rows the parts' numbers in the layer */
function changesOf(
  { config }: Model,
  { base, source }: Sides,
  { layer, rows }: { layer: number; rows: readonly number[] },
  { each, hooks, method, means }: EachWork,
): [string, Affine][] {
  if (each === "source")
    return [[blockHook(layer, "attn.hook_attn_scores"), tf.tidy(() => hidden(rows, base.tokens.length))]];
  return hooks.map((hook) => {
    const name = blockHook(layer, hook);
    const instead = { zero: undefined, mean: means?.get(name), resample: source.activations.get(name) }[method];
    const change = tf.tidy(() => {
      const heads = rows.flatMap((row) => Array.from({ length: config.n_heads }, (_, h) => Number(h === row)));
      const mask = each === "head" ? tf.tensor(heads, [rows.length, 1, config.n_heads, 1]) : tf.ones([1, 1, 1]);
      return replaceWhere(mask, instead);
    });
    return [name, change];
  });
}

/** Takes one key from the last query of each row. @param keys one a row */
function hidden(keys: readonly number[], positions: number): { gain: Tensor; bias: Tensor } {
  const mask = new Float32Array(keys.length * positions * positions);
  for (const [row, key] of keys.entries()) mask[(row * positions + positions - 1) * positions + key] = 1;
  const where = tf.tensor(mask, [keys.length, 1, positions, positions]);
  return { gain: tf.sub(1, where), bias: tf.mul(where, MASKED) };
}

/** At each place the mean of the others of its row; null where there are none. */
function besideInRow(table: readonly (readonly number[])[]): (number | null)[][] {
  return table.map((row) => {
    const sum = row.reduce((a, b) => a + b, 0);
    return row.map((value) => (row.length > 1 ? (sum - value) / (row.length - 1) : null));
  });
}

/** At each place the mean of the others of its column; null where there are none. */
function besideInColumn(table: readonly (readonly number[])[]): (number | null)[][] {
  const sums = table[0]!.map((_, column) => table.reduce((sum, row) => sum + row[column]!, 0));
  return table.map((row) =>
    row.map((value, column) => (table.length > 1 ? (sums[column]! - value) / (table.length - 1) : null)),
  );
}
