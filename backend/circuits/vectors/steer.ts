import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError } from "../../common/errors.ts";
import { ANYTHING, checkOptions, FUNCTION, type Rules, real, whole, YES_OR_NO } from "../../common/options.ts";
import { allFinite, notFinite } from "../../hooks/finite.ts";
import type { Intervention } from "../../hooks/intervention-schema.ts";
import { compileInterventions, disposeInterventions } from "../../hooks/interventions.ts";
import { forwardInTurns } from "../../models/forward/turns.ts";
import type { Affine } from "../../models/forward/types.ts";
import type { Model } from "../../models/model.ts";
import { checkRows } from "../../models/tokens.ts";
import { blockHook, checkLayer } from "../../models/transformer/hook-points.ts";
import { tf } from "../../runtime/tf.ts";
import { topIndices } from "../../runtime/top.ts";
import type { Turn } from "../../runtime/turn.ts";

/** Positions that are steered: all, each row's last, or those listed. */
export type SteeredPositions = "all" | "last" | readonly number[];

/** A direction to add to the stream, and where. */
export interface SteerOptions {
  /** Rows of token ids [rows][positions]. */
  tokens: readonly (readonly number[])[];
  /** Direction [d_model]. */
  vector: readonly number[];
  /** Layer behind which it is added, at hook_resid_post. */
  layer: number;
  /** Default all. */
  positions?: SteeredPositions;
  /** Factor on the vector, default 1. */
  scale?: number;
  /** Likeliest tokens to give, default 5. */
  top?: number;
  /** True hands out the steered run's logits. Default false. */
  logits?: boolean;
  signal?: AbortSignal;
  /** Lets others in between stretches of a long run. */
  turn?: Turn;
}

const OPTIONS: Rules<SteerOptions> = {
  tokens: { wants: "rows of token ids", fits: Array.isArray },
  vector: {
    wants: "a list of numbers",
    fits: (vector) => Array.isArray(vector) && vector.length > 0 && allFinite(vector),
  },
  layer: whole(0),
  positions: {
    wants: '"all", "last" or a list of positions',
    fits: (value) => value === "all" || value === "last" || (Array.isArray(value) && value.length > 0),
  },
  scale: real(Number.NEGATIVE_INFINITY),
  top: whole(0),
  logits: YES_OR_NO,
  signal: ANYTHING,
  turn: FUNCTION,
};

/** The likeliest tokens after a prompt, largest logit first. */
export interface TopTokens {
  readonly top: { id: number; logit: number }[];
}

/** A run with a direction added, beside the run without. */
export interface Steered {
  layer: number;
  positions: SteeredPositions;
  scale: number;
  /** Length of the vector, before `scale`. */
  norm: number;
  /** Mean length of the streams that it is added to. */
  residNorm: number;
  /** After the last position of row 0. */
  base: TopTokens;
  steered: TopTokens;
  /** Logits of the steered run [rows, positions, d_vocab], where asked for; the caller disposes them. */
  logits?: Tensor;
}

/**
 * Steers a run: adds a direction to the stream behind a layer.
 * @throws HeadscopeError for options that do not exist or do not fit, a layer or position that there is not, a vector of another width,
 * and logits that are no numbers
 * @see Turner et al. 2023, Activation Addition
 */
export async function steer(model: Model, options: SteerOptions): Promise<Steered> {
  checkOptions("steer", options, OPTIONS, ["tokens", "vector", "layer"]);
  const { tokens, vector, layer, positions = "all", scale = 1, top = 5, logits: keep = false, signal, turn } = options;
  checkRows(tokens, "", { config: model.config });
  checkLayer(model.config, layer);
  checkWidth(model, vector);
  const compiled = compileInterventions(model, additions(options), {
    rows: tokens.length,
    positions: Math.max(...tokens.map((row) => row.length)),
    tokens,
  });
  const onLayer = (): void => signal?.throwIfAborted();
  const end = tokens[0]!.length - 1;
  try {
    const at = blockHook(layer, "hook_resid_post");
    const base = await forwardInTurns(model, { tokens, logitsAt: "last" }, { names: [at], onLayer }, turn);
    const residNorm = meanNorm(base.activations.get(at)!, tokens, positions);
    const before = topOf(model, base.logits!, { position: 0, top, tokens });
    base.dispose();
    const logitsAt = keep ? "all" : "last";
    const changed = await forwardInTurns(model, { tokens, logitsAt }, { interventions: compiled, onLayer }, turn);
    const after = topOf(model, changed.logits!, { position: keep ? end : 0, top, tokens, interventions: compiled });
    tf.dispose(keep ? [changed.resid] : [changed.resid, changed.logits!]);
    return {
      layer,
      positions,
      scale,
      norm: Math.hypot(...vector),
      residNorm,
      base: before,
      steered: after,
      ...(keep ? { logits: changed.logits! } : {}),
    };
  } finally {
    disposeInterventions(compiled);
  }
}

/** @throws HeadscopeError (input) for a vector of another width than the stream's */
export function checkWidth({ ref, config }: Model, vector: readonly number[]): void {
  if (vector.length === config.d_model) return;
  throw new HeadscopeError("input", `the vector has ${vector.length} numbers, and the stream of ${ref} ${config.d_model}`, {
    remedy: "give a vector made with this model",
  }); // biome-ignore format: one line
}

/** The steering as interventions, for whoever runs or generates with them. */
export function additions({ tokens, vector, layer, positions = "all", scale = 1 }: SteerOptions): Intervention[] {
  const addition = { at: "hook_resid_post", layer, do: "add" as const, with: vector.map((x) => scale * x) };
  if (positions === "all") return [addition];
  if (positions !== "last") return [{ ...addition, positions: [...positions] }];
  // Rows of one length share an end.
  const ends = new Map<number, number[]>();
  tokens.forEach((row, r) => {
    ends.set(row.length - 1, [...(ends.get(row.length - 1) ?? []), r]);
  });
  return [...ends].map(([end, rows]) => ({ ...addition, positions: [end], rows }));
}

/** Mean length of the streams at the steered positions. @param resid [rows, positions, d_model] */
function meanNorm(resid: Tensor, tokens: SteerOptions["tokens"], positions: SteeredPositions): number {
  const norms = tf.tidy(() => tf.norm(resid, "euclidean", 2)); // [rows, positions]
  const [width] = norms.shape.slice(1) as [number];
  const values = norms.dataSync();
  norms.dispose();
  const chosen = tokens.flatMap((row, r) => {
    const own = positions === "all" ? row.map((_, p) => p) : positions === "last" ? [row.length - 1] : positions;
    return own.filter((p) => p < row.length).map((p) => values[r * width + p]!);
  });
  return chosen.reduce((sum, norm) => sum + norm, 0) / chosen.length;
}

/** The likeliest tokens at a position of row 0. @param logits [rows, positions, d_vocab] */
function topOf(
  model: Model,
  logits: Tensor,
  run: { position: number; top: number; tokens: SteerOptions["tokens"]; interventions?: ReadonlyMap<string, Affine> },
): TopTokens {
  const { position, top, tokens, interventions } = run;
  const row = tf.tidy(() => tf.slice(logits, [0, position, 0], [1, 1, -1]));
  const values = row.dataSync();
  row.dispose();
  if (!allFinite(values)) throw notFinite(model, "the logits", tokens, interventions ? { interventions } : {});
  return { top: topIndices(values, Math.min(top, values.length)).map((id) => ({ id, logit: values[id]! })) };
}
