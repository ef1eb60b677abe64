import type { Tensor } from "@tensorflow/tfjs";
import { z } from "zod";
import { HeadscopeError, unknownName } from "../errors.ts";
import type { ModelConfig } from "../models/config.ts";
import { forward } from "../models/forward.ts";
import { activationWidth, blockHook, checkHookName, isPattern } from "../models/hook-points.ts";
import type { Model } from "../models/model.ts";
import type { Affine } from "../models/stage.ts";
import { tf } from "../runtime/tf.ts";
import type { ActivationCache } from "./activation-cache.ts";
import {
  checkKind,
  INTERVENTION_KINDS,
  type InterventionKind,
  type InterventionName,
  type KindInput,
} from "./intervention-kinds.ts";
import type { Reference, Target } from "./reference.ts";

/** Most numbers of one list, positions or tokens of one row, and most rows of tokens: more than fit a model's context. */
const MOST_VALUES = 2 ** 20;
const MOST_ROWS = 4_096;

/** Numbers in nested arrays, or one number. */
export type Values = number | readonly Values[];
const valuesSchema: z.ZodType<Values> = z.lazy(() =>
  z.union([z.number(), z.array(valuesSchema).min(1).max(MOST_VALUES)]),
);
const some = z.union([z.literal("all"), z.array(z.int().min(0)).min(1).max(MOST_VALUES)]);

/** An intervention as data: the same words in a script, a file, the CLI and the API. */
export const interventionSchema = z.strictObject({
  at: z.string().max(200).describe("hook name, such as blocks.5.attn.hook_z; or attn.hook_z with `layer`"),
  layer: z.int().min(0).optional().describe("layer, for a hook name without one"),
  heads: some.default("all").describe('heads (of k and v: KV heads), or "all"; streams have none'),
  positions: some.default("all").describe('positions (of patterns: queries), or "all"'),
  rows: some.default("all").describe('batch rows, or "all": one call can change something else in every row'),
  do: z.enum(Object.keys(INTERVENTION_KINDS) as [InterventionName, ...InterventionName[]]).describe("what is done"),
  with: z
    .union([
      valuesSchema,
      z.strictObject({
        tokens: z
          .array(z.array(z.int().min(0)).min(1).max(MOST_VALUES))
          .min(1)
          .max(MOST_ROWS),
      }),
      z.strictObject({
        cache: z.string().max(200),
        name: z.string().max(200).optional(),
        row: z.int().min(0).optional(),
      }),
    ])
    .optional()
    .describe(
      "numbers that broadcast to the activation, {tokens: reference rows}, or {cache, name, row} of a kept activation",
    ),
  byPosition: z.boolean().default(false).describe("mean: one for every position"),
  seed: z.int().min(0).default(0).describe("of resample's pairing"),
});

/** An intervention before its defaults are filled in. */
export type Intervention = z.input<typeof interventionSchema>;
type Parsed = z.output<typeof interventionSchema>;

/** What `with` may refer to by name. */
export interface Sources {
  /** Kept activations by the name that `with: {cache}` uses. */
  caches?: Readonly<Record<string, ActivationCache>>;
}

/** The run that interventions are compiled for. */
export interface CompileOptions extends Sources {
  /** Batch rows. */
  rows: number;
  /** Positions of the longest row. */
  positions: number;
  /** The run's own tokens: the default reference of mean and resample, the default of freeze-pattern. */
  tokens?: readonly (readonly number[])[];
}

/**
 * Checks interventions from a file or a request.
 * @throws HeadscopeError (usage) naming the entry and the field
 */
export function parseInterventions(value: unknown): Intervention[] {
  const result = z.array(interventionSchema).safeParse(Array.isArray(value) ? value : [value]);
  if (result.success) return result.data;
  const issue = result.error.issues[0]!;
  const [entry, ...field] = issue.path;
  const given = (Array.isArray(value) ? value : [value])[Number(entry)] as { do?: unknown } | undefined;
  if (field[0] === "do" && typeof given?.do === "string")
    throw unknownName("intervention", given.do, Object.keys(INTERVENTION_KINDS));
  throw new HeadscopeError(
    "usage",
    `intervention ${String(entry ?? 0)}${field.length ? `, ${field.join(".")}` : ""}: ${issue.message}`,
    {
      remedy: 'write it as {"at": "blocks.5.attn.hook_z", "heads": [1, 4], "do": "zero"}',
    },
  );
}

/**
 * Turns interventions into what the forward computes: t' = gain · t + bias at each hook point.
 * Several at one point are done one after the other, in the order of the list.
 * @returns by full hook name; the caller frees them with `disposeInterventions`
 * @throws HeadscopeError (usage) for an unknown hook, a head, position or row out of range, a `do` or `with` that does not fit
 */
export function compileInterventions(
  model: Model,
  interventions: readonly Intervention[],
  options: CompileOptions,
): Map<string, Affine> {
  const { config } = model;
  const target: Target = {
    rows: options.rows,
    positions: options.positions,
    lengths: options.tokens?.map((row) => row.length) ?? new Array(options.rows).fill(options.positions),
  };
  const list = (parseInterventions([...interventions]) as Parsed[]).map((one) => ({ ...one, at: hookOf(config, one) }));
  const references = new References(model, list, options.tokens);
  const compiled = new Map<string, Affine>();
  try {
    for (const one of list) {
      const before = compiled.get(one.at);
      const made = tf.tidy(() => {
        const next = compileOne(config, one, target, options, references);
        return before
          ? [tf.mul(next.gain, before.gain), tf.add(tf.mul(next.gain, before.bias), next.bias)]
          : [next.gain, next.bias];
      });
      if (before) tf.dispose([before.gain, before.bias]);
      const [gain, bias] = made.map((t) => tf.keep(t)) as [Tensor, Tensor];
      compiled.set(one.at, { gain, bias });
    }
    return compiled;
  } catch (error) {
    disposeInterventions(compiled);
    throw error;
  } finally {
    references.dispose();
  }
}

/** Frees what `compileInterventions` made. */
export function disposeInterventions(compiled: ReadonlyMap<string, Affine>): void {
  for (const { gain, bias } of compiled.values()) tf.dispose([gain, bias]);
}

function compileOne(
  config: ModelConfig,
  one: Parsed,
  target: Target,
  { caches = {} }: Sources,
  references: References,
): Affine {
  checkKind(one.do, one.at);
  const shape = activationShape(config, one.at, target);
  const mask = maskOf(one, shape, target);
  const resolve = (): Tensor | undefined => {
    const { with: given } = one;
    if (given === undefined) return undefined;
    if (typeof given === "number" || Array.isArray(given)) return literal(given as Values, shape, one);
    if ("tokens" in given) return fitted(references.of(one).activation, shape, one);
    const { cache: name, name: hook = one.at, row } = given as { cache: string; name?: string; row?: number };
    const cache = caches[name];
    if (!cache) throw unknownName("activation cache", name, Object.keys(caches));
    const whole = cache.get(hook);
    return fitted(row === undefined ? whole : tf.expandDims(cache.slice(hook, { row }), 0), shape, one);
  };
  const input: KindInput = {
    hook: one.at,
    target,
    values: () => {
      const found = resolve();
      if (found) return found;
      throw new HeadscopeError("usage", `"${one.do}" at ${one.at} needs \`with\``, {
        remedy: "give numbers, {tokens: rows}, or {cache: name}",
      });
    },
    valuesOrOwn: () => resolve() ?? fitted(references.of(one).activation, shape, one),
    reference: () => references.of(one),
    byPosition: one.byPosition,
    seed: one.seed,
  };
  const { gain = 1, bias = 0 } = (INTERVENTION_KINDS[one.do] as InterventionKind).make(input);
  const lifted = (t: number | Tensor): Tensor => lift(typeof t === "number" ? tf.scalar(t) : t, shape.length);
  return { gain: tf.add(tf.mul(mask, tf.sub(lifted(gain), 1)), 1), bias: tf.mul(mask, lifted(bias)) };
}

/** The full hook name. */
function hookOf(config: ModelConfig, { at, layer }: Parsed): string {
  const name = layer === undefined ? at : blockHook(layer, at);
  checkHookName(config, name);
  return name;
}

/** Shape of an activation of a run: [rows, positions, ...] or [rows, heads, query, key]. */
function activationShape(config: ModelConfig, hook: string, { rows, positions }: Target): number[] {
  const width = activationWidth(config, hook);
  return isPattern(hook) ? [rows, width[0]!, positions, positions] : [rows, positions, ...width];
}

/** 1 where an intervention holds, 0 elsewhere, with 1 in the place of axes that it takes whole. */
function maskOf(one: Parsed, shape: number[], target: Target): Tensor {
  const pattern = isPattern(one.at);
  if (one.heads !== "all" && shape.length < 4) {
    throw new HeadscopeError("usage", `${one.at} has no heads to choose`, {
      remedy: "leave `heads` out, or choose a hook point with heads, such as attn.hook_z",
    });
  }
  if (one.positions !== "all" && one.at.startsWith("ln_final.")) {
    throw new HeadscopeError(
      "usage",
      `positions can't be chosen at ${one.at}: it sees only those whose logits are wanted`,
      { remedy: "change the last block's hook_resid_post there" },
    );
  }
  const axes: [number, "all" | number[], number, string][] = [
    [0, one.rows, target.rows, "row"],
    [pattern ? 1 : 2, one.heads, shape[pattern ? 1 : 2]!, "head"],
    [pattern ? 2 : 1, one.positions, target.positions, "position"],
  ];
  let mask: Tensor = tf.ones(shape.map(() => 1));
  for (const [axis, chosen, count, what] of axes) {
    if (chosen === "all") continue;
    const beyond = chosen.find((i) => i >= count);
    if (beyond !== undefined) {
      throw new HeadscopeError("usage", `there is no ${what} ${beyond} at ${one.at}`, {
        remedy: `choose from 0 to ${count - 1}`,
      });
    }
    const ones = new Float32Array(count);
    for (const i of chosen) ones[i] = 1;
    mask = tf.mul(
      mask,
      tf.tensor(
        ones,
        shape.map((_, a) => (a === axis ? count : 1)),
      ),
    );
  }
  return mask;
}

function literal(values: Values, shape: number[], one: Parsed): Tensor {
  let made: Tensor;
  try {
    made = tf.tensor(values as number[]);
  } catch {
    throw new HeadscopeError("usage", `the numbers of \`with\` at ${one.at} are ragged`, {
      remedy: "give nested arrays of equal lengths",
    });
  }
  return fitted(made, shape, one);
}

/** A source in the activation's rank; refused unless it broadcasts. */
function fitted(source: Tensor, shape: number[], one: Parsed): Tensor {
  const padded = source.rank > shape.length ? undefined : lift(source, shape.length);
  if (!padded?.shape.every((n, axis) => n === 1 || n === shape[axis])) {
    throw new HeadscopeError("usage", `\`with\` of "${one.do}" is [${source.shape}] and ${one.at} is [${shape}]`, {
      remedy: "give as many rows (or one) and as many positions as the run has",
    });
  }
  return padded;
}

function lift(t: Tensor, rank: number): Tensor {
  return t.rank === rank ? t : tf.reshape(t, [...new Array(rank - t.rank).fill(1), ...t.shape]);
}

/** Clean activations that interventions refer to by tokens: one run for each set of rows, made when first needed. */
class References {
  readonly #model: Model;
  readonly #list: readonly Parsed[];
  readonly #own: readonly (readonly number[])[] | undefined;
  readonly #runs = new Map<string, { activations: Map<string, Tensor>; dispose(): void }>();

  constructor(model: Model, list: readonly Parsed[], own: readonly (readonly number[])[] | undefined) {
    this.#model = model;
    this.#list = list;
    this.#own = own;
  }

  of(one: Parsed): Reference {
    const given = givenTokens(one);
    const tokens = given ?? this.#own;
    if (!tokens) {
      throw new HeadscopeError("usage", `"${one.do}" at ${one.at} has no rows to draw from`, {
        remedy: "give them as `with: {tokens: rows}`",
      });
    }
    const key = JSON.stringify(tokens);
    let run = this.#runs.get(key);
    if (!run) {
      const names = [
        ...new Set(
          this.#list
            .filter((other) => JSON.stringify(givenTokens(other) ?? this.#own) === key)
            .map((other) => other.at),
        ),
      ];
      // Kept beyond the tidy in which an intervention is compiled.
      const { activations, resid } = forward(this.#model, { tokens, logitsAt: "none" }, { names });
      for (const t of activations.values()) tf.keep(t);
      resid.dispose();
      run = { activations, dispose: () => tf.dispose([...activations.values()]) };
      this.#runs.set(key, run);
    }
    return {
      activation: run.activations.get(one.at)!,
      lengths: tokens.map((row) => row.length),
      own: given === undefined,
    };
  }

  dispose(): void {
    for (const run of this.#runs.values()) run.dispose();
  }
}

function givenTokens({ with: given }: Parsed): number[][] | undefined {
  return given !== undefined && typeof given === "object" && "tokens" in given
    ? (given as { tokens: number[][] }).tokens
    : undefined;
}
