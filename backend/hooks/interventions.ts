import type { Tensor } from "@tensorflow/tfjs";
import type { Values } from "../common/api/interventions.ts";
import { HeadscopeError, unknownName } from "../common/errors.ts";
import type { Head } from "../common/heads/head.ts";
import { ANYTHING, checkOptions, type Rules, whole } from "../common/options.ts";
import type { ModelConfig } from "../models/config.ts";
import { joinChanges } from "../models/forward/changes.ts";
import type { Affine } from "../models/forward/types.ts";
import type { Model } from "../models/model.ts";
import { activationWidth, blockHook, checkHookName, isPattern } from "../models/transformer/hook-points.ts";
import { tf } from "../runtime/tf.ts";
import type { ActivationCache } from "./activation-cache.ts";
import { checkKind, INTERVENTION_KINDS, type InterventionKind, type KindInput } from "./intervention-kinds.ts";
import { type Intervention, type ParsedIntervention, parseInterventions } from "./intervention-schema.ts";
import type { RunShape } from "./reference.ts";
import { ReferenceRuns } from "./reference-runs.ts";

/** The activations that `with` may refer to by name. */
export interface Sources {
  /** Kept activations by the name that `with: {cache}` uses. */
  caches?: Readonly<Record<string, ActivationCache>>;
}

/** The run that interventions are compiled for. */
export interface CompileOptions extends Sources {
  /** Batch rows. */
  rows: number;
  /** Positions of the sequence that may be named: of the longest row, in a generation with the tokens to come. */
  positions: number;
  /** The run's own tokens: the default reference of mean and resample, the default of freeze-pattern. */
  tokens?: readonly (readonly number[])[];
}

const COMPILE: Rules<CompileOptions> = {
  rows: whole(1),
  positions: whole(1),
  tokens: ANYTHING,
  caches: ANYTHING,
};

/** The run that interventions are compiled for, and all positions of its sequence. */
interface Run extends RunShape {
  /** Positions that may be named, as many as the run's or more. */
  sequence: number;
}

/**
 * Turns interventions into what the forward computes: t' = gain · t + bias at each hook point.
 * Several at one point are done one after the other, in the order of the list. Positions are those of the sequence, also over a
 * cache; what `with` has no position for is left as it is.
 * @returns by full hook name; the caller frees them with `disposeInterventions`
 * @throws HeadscopeError (usage) for an unknown hook, a head, position or row out of range, a `do` or `with` that does not fit
 */
export function compileInterventions(
  model: Model,
  interventions: readonly Intervention[],
  options: CompileOptions,
): Map<string, Affine> {
  const { config } = model;
  checkOptions("compileInterventions", options, COMPILE, ["rows", "positions"]);
  const lengths = options.tokens?.map((row) => row.length) ?? new Array<number>(options.rows).fill(options.positions);
  if (lengths.length !== options.rows)
    throw new HeadscopeError("usage", `interventions are for ${options.rows} rows and tokens for ${lengths.length}`, {
      remedy: "give the tokens of every row",
    });
  const positions = Math.max(...lengths);
  const target: Run = { rows: options.rows, positions, lengths, sequence: Math.max(positions, options.positions) };
  const list = (parseInterventions([...interventions]) as ParsedIntervention[]).map((intervention) => ({
    ...intervention,
    at: hookOf(config, intervention),
  }));
  const references = new ReferenceRuns(model, list, options.tokens);
  const compiled = new Map<string, Affine>();
  try {
    for (const intervention of list) {
      const next = keep(() => compileOne(config, intervention, target, { ...options, references }));
      const before = compiled.get(intervention.at);
      compiled.set(intervention.at, before ? combine(next, before, intervention.at) : next);
    }
    return compiled;
  } catch (error) {
    disposeInterventions(compiled);
    throw error;
  } finally {
    references.dispose();
  }
}

/** Heads whose output z is 0 at every position, as interventions. @returns one a layer */
export function zeroHeads(heads: readonly Head[]): Intervention[] {
  const byLayer = new Map<number, number[]>();
  for (const { layer, head } of heads) byLayer.set(layer, [...(byLayer.get(layer) ?? []), head]);
  return [...byLayer].map(([layer, list]) => ({ at: "attn.hook_z", layer, heads: list, do: "zero" }));
}

/** Frees what `compileInterventions` made. */
export function disposeInterventions(compiled: ReadonlyMap<string, Affine>): void {
  for (const last of compiled.values())
    for (let intervention: Affine | undefined = last; intervention; intervention = intervention.before)
      tf.dispose([intervention.gain, intervention.bias]);
}

/**
 * Interventions of two origins as one: at a point that both change, the first come first. Both keep their tensors.
 * @throws HeadscopeError (usage) for interventions as data, which are still to be compiled
 */
export function mergeInterventions(
  first: ReadonlyMap<string, Affine>,
  second: ReadonlyMap<string, Affine>,
): ReadonlyMap<string, Affine> {
  if (!(second instanceof Map))
    throw new HeadscopeError("usage", "compiled interventions are no map", {
      remedy: "give what compileInterventions makes; a list of interventions goes into `interventions` of the function",
    });
  return joinChanges(first, second);
}

/** An intervention whose tensors outlive their making. */
function keep(make: () => Affine): Affine {
  let affine: Affine | undefined;
  tf.tidy(() => {
    affine = make();
    for (const tensor of [affine.gain, affine.bias]) tf.keep(tensor);
  });
  return affine!;
}

/** Two interventions at one point as one, or the earlier kept beside where they stand for different positions. */
function combine(next: Affine, before: Affine, hook: string): Affine {
  const extent = ({ gain, bias }: Affine): string =>
    (isPattern(hook) ? [2, 3] : [1]).map((axis) => Math.max(gain.shape[axis] ?? 1, bias.shape[axis] ?? 1)).join();
  if (extent(next) !== extent(before)) return { ...next, before };
  const [gain, bias] = tf.tidy(() => [
    tf.keep(tf.mul(next.gain, before.gain)),
    tf.keep(tf.add(tf.mul(next.gain, before.bias), next.bias)),
  ]) as [Tensor, Tensor];
  tf.dispose([next.gain, next.bias, before.gain, before.bias]);
  const queries = Math.min(next.queries ?? Number.POSITIVE_INFINITY, before.queries ?? Number.POSITIVE_INFINITY);
  return {
    gain,
    bias,
    ...(Number.isFinite(queries) ? { queries } : {}),
    ...(before.before ? { before: before.before } : {}),
  };
}

function compileOne(
  config: ModelConfig,
  intervention: ParsedIntervention,
  target: Run,
  { caches = {}, references }: Sources & { references: ReferenceRuns },
): Affine {
  checkKind(intervention.do, intervention.at);
  const shape = activationShape(config, intervention.at, target);
  // A table over the positions of a run, however few they are, is no number for all positions.
  let ofRun = false;
  const fromRun = (source: Tensor, lengths: readonly number[]): Tensor => {
    ofRun = true;
    checkLengths(intervention, lengths, target);
    return fitted(source, shape, intervention, target.sequence);
  };
  const ofReference = (): Tensor => {
    const { activation, lengths } = references.of(intervention);
    return fromRun(activation, lengths);
  };
  const resolve = (): Tensor | undefined => {
    const { with: source } = intervention;
    if (source === undefined) return undefined;
    if (typeof source === "number" || Array.isArray(source))
      return literal(source as Values, shape, intervention, target.sequence);
    if ("tokens" in source) return ofReference();
    const { cache: name, name: hook = intervention.at, row } = source as { cache: string; name?: string; row?: number };
    const cache = caches[name];
    if (!cache) throw unknownName("activation cache", name, Object.keys(caches));
    if (row === undefined) return fromRun(cache.get(hook), cache.lengths ?? []);
    return fromRun(tf.expandDims(cache.slice(hook, { row }), 0), []);
  };
  const input: KindInput = {
    hook: intervention.at,
    target,
    values: () => {
      const values = resolve();
      if (values) return values;
      throw new HeadscopeError("usage", `"${intervention.do}" at ${intervention.at} needs \`with\``, {
        remedy: "give numbers, {tokens: rows}, or {cache: name}",
      });
    },
    valuesOrOwn: () => resolve() ?? ofReference(),
    reference: () => {
      ofRun = intervention.do !== "mean" || intervention.byPosition;
      return references.of(intervention);
    },
    byPosition: intervention.byPosition,
    seed: intervention.seed,
  };
  const { gain = 1, bias = 0 } = (INTERVENTION_KINDS[intervention.do] as InterventionKind).make(input);
  const lifted = (t: number | Tensor): Tensor => lift(typeof t === "number" ? tf.scalar(t) : t, shape.length);
  return placed(intervention, lifted(gain), lifted(bias), { shape, target, ofRun });
}

/** An intervention where it holds: gain 1 and bias 0 elsewhere, and at positions that its tables do not have. */
function placed(
  intervention: ParsedIntervention,
  gain: Tensor,
  bias: Tensor,
  { shape, target, ofRun }: { shape: number[]; target: Run; ofRun: boolean },
): Affine {
  const pattern = isPattern(intervention.at);
  const axis = pattern ? 2 : 1;
  const length = Math.max(gain.shape[axis]!, bias.shape[axis]!);
  const held = length > 1 || ofRun ? length : undefined;
  const all = intervention.positions === "all";
  const beyond = all || held === undefined ? undefined : (intervention.positions as number[]).find((p) => p >= held);
  if (beyond !== undefined)
    throw new HeadscopeError(
      "usage",
      `\`with\` of "${intervention.do}" at ${intervention.at} has ${held} positions, none at ${beyond}`,
      {
        remedy: `choose positions from 0 to ${held! - 1}, or give values for more`,
      },
    );
  let mask = maskOf(intervention, shape, target);
  if (all && held !== undefined)
    mask = tf.mul(
      mask,
      onesAt(axis, Math.max(held, 2), shape.length, (p) => p < held),
    );
  const spread = (t: Tensor): Tensor => {
    const wide = filledTo(t, axis, mask.shape[axis]!, ofRun);
    return pattern ? filledTo(wide, 3, Math.max(mask.shape[3]!, ofRun ? 2 : 1), ofRun) : wide;
  };
  return {
    gain: tf.add(tf.mul(mask, tf.sub(spread(gain), 1)), 1),
    bias: tf.mul(mask, spread(bias)),
    ...(pattern && all && held !== undefined ? { queries: held } : {}),
  };
}

/** An axis filled up with zeros; one entry for all positions stays one. @param table whether a single entry is that of position 0 */
function filledTo(t: Tensor, axis: number, length: number, table: boolean): Tensor {
  const held = t.shape[axis]!;
  if (held >= length || (held === 1 && !table) || t.size === 1) return t;
  return tf.pad(
    t,
    t.shape.map((_, a) => [0, a === axis ? length - held : 0] as [number, number]),
  );
}

/** 1 at some places of one axis, 0 at the others, of length 1 along the other axes. */
function onesAt(axis: number, length: number, rank: number, holds: (place: number) => boolean): Tensor {
  const ones = Float32Array.from({ length }, (_, place) => (holds(place) ? 1 : 0));
  return tf.tensor(
    ones,
    Array.from({ length: rank }, (_, a) => (a === axis ? length : 1)),
  );
}

/** @throws HeadscopeError (usage) where a row would be given the padding of a shorter one */
function checkLengths(intervention: ParsedIntervention, lengths: readonly number[], target: RunShape): void {
  if (lengths.length < 2) return;
  const rows = intervention.rows === "all" ? target.lengths.map((_, r) => r) : intervention.rows;
  const short = rows.find((r) => (lengths[r] ?? 0) < (target.lengths[r] ?? 0) && intervention.positions === "all");
  if (short !== undefined)
    throw new HeadscopeError(
      "usage",
      `\`with\` of "${intervention.do}" at ${intervention.at} has ${lengths[short] ?? 0} positions in row ${short}, the run ${target.lengths[short]}`,
      { remedy: "give rows at least as long as the run's" },
    );
}

/** The full hook name. */
function hookOf(config: ModelConfig, { at, layer }: ParsedIntervention): string {
  const name = layer === undefined ? at : blockHook(layer, at);
  checkHookName(config, name);
  return name;
}

/** Shape of an activation of a run: [rows, positions, ...] or [rows, heads, query, key]. */
function activationShape(config: ModelConfig, hook: string, { rows, positions }: RunShape): number[] {
  const width = activationWidth(config, hook);
  return isPattern(hook) ? [rows, width[0]!, positions, positions] : [rows, positions, ...width];
}

/** 1 where an intervention holds, 0 elsewhere, with 1 in the place of axes that it takes whole. */
function maskOf(intervention: ParsedIntervention, shape: number[], target: Run): Tensor {
  const pattern = isPattern(intervention.at);
  if (intervention.heads !== "all" && shape.length < 4) {
    throw new HeadscopeError("usage", `${intervention.at} has no heads to choose`, {
      remedy: "leave `heads` out, or choose a hook point with heads, such as attn.hook_z",
    });
  }
  if (intervention.positions !== "all" && intervention.at.startsWith("ln_final.")) {
    throw new HeadscopeError(
      "usage",
      `positions can't be chosen at ${intervention.at}: it sees only those whose logits are wanted`,
      { remedy: "change the last block's hook_resid_post there" },
    );
  }
  if (intervention.keys !== "all" && !pattern) {
    throw new HeadscopeError("usage", `${intervention.at} has no keys to choose`, {
      remedy: "leave `keys` out, or choose attn.hook_attn_scores or attn.hook_pattern",
    });
  }
  const axes: [number, "all" | number[], number, string][] = [
    [0, intervention.rows, target.rows, "row"],
    [pattern ? 1 : 2, intervention.heads, shape[pattern ? 1 : 2]!, "head"],
    [pattern ? 2 : 1, intervention.positions, target.sequence, "position"],
    [3, intervention.keys, target.sequence, "key"],
  ];
  let mask: Tensor = tf.ones(shape.map(() => 1));
  for (const [axis, choice, count, what] of axes) {
    if (choice === "all") continue;
    const beyond = choice.find((i) => i >= count);
    if (beyond !== undefined) {
      throw new HeadscopeError("usage", `there is no ${what} ${beyond} at ${intervention.at}`, {
        remedy: `choose from 0 to ${count - 1}`,
      });
    }
    // Two positions at least, since one alone stands for all of them.
    const length = what === "position" || what === "key" ? Math.max(count, 2) : count;
    mask = tf.mul(
      mask,
      onesAt(axis, length, shape.length, (place) => choice.includes(place)),
    );
  }
  return mask;
}

function literal(values: Values, shape: number[], intervention: ParsedIntervention, sequence: number): Tensor {
  let tensor: Tensor;
  try {
    tensor = tf.tensor(values as number[]);
  } catch {
    throw new HeadscopeError("usage", `the numbers of \`with\` at ${intervention.at} are ragged`, {
      remedy: "give nested arrays of equal lengths",
    });
  }
  return fitted(tensor, shape, intervention, sequence);
}

/** A source in the activation's rank; refused unless it broadcasts. @param sequence positions that it may have instead of the run's */
function fitted(source: Tensor, shape: number[], intervention: ParsedIntervention, sequence: number): Tensor {
  const padded = source.rank > shape.length ? undefined : lift(source, shape.length);
  const places = isPattern(intervention.at) ? [2, 3] : [1];
  const fits = (n: number, axis: number) => n === 1 || n === shape[axis] || (places.includes(axis) && n === sequence);
  if (!padded?.shape.every(fits)) {
    throw new HeadscopeError(
      "usage",
      `\`with\` of "${intervention.do}" is [${source.shape}] and ${intervention.at} is [${shape}]`,
      {
        remedy: "give as many rows (or one) and as many positions as the run has",
      },
    );
  }
  return padded;
}

function lift(t: Tensor, rank: number): Tensor {
  return t.rank === rank ? t : tf.reshape(t, [...new Array(rank - t.rank).fill(1), ...t.shape]);
}
