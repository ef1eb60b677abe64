import type { Tensor } from "@tensorflow/tfjs";
import { type MetricOptions, metricValues } from "../../../backend/circuits/metrics/measure.ts";
import { Random } from "../../../backend/common/random.ts";
import type { Intervention } from "../../../backend/hooks/intervention-schema.ts";
import { compileInterventions, disposeInterventions } from "../../../backend/hooks/interventions.ts";
import { forward } from "../../../backend/models/forward/forward.ts";
import type { ForwardInput } from "../../../backend/models/forward/types.ts";
import type { Model } from "../../../backend/models/model.ts";
import { tf } from "../../../backend/runtime/tf.ts";

/** A run, and the metric of its first row. */
export interface Measured {
  model: Model;
  input: ForwardInput;
  metric: MetricOptions;
  interventions?: readonly Intervention[];
  /** By which the activation is moved, default 0.003 (of scores 0.01): smaller ones drown in rounding. */
  step?: number;
}

/** Numbers drawn from a normal distribution. */
export function normals(shape: number[], seed = 5): Tensor {
  const random = new Random(seed);
  const size = shape.reduce((a, b) => a * b, 1);
  return tf.tensor(
    Float32Array.from({ length: size }, () => random.normal()),
    shape,
  );
}

/**
 * Derivative of a metric, summed over rows, along a direction at a hook point, by differences of fourth order of runs whose
 * activation is moved by a hook; the engine's gradients have no part in it.
 * @param direction in the shape of the activation
 */
export function derivativeAlong(measured: Measured, name: string, direction: Tensor): number {
  const { model, input, metric, interventions = [], step = name.endsWith("scores") ? 1e-2 : 3e-3 } = measured;
  const tokens = input.tokens ?? [];
  const compiled =
    interventions.length === 0
      ? undefined
      : compileInterventions(model, interventions, {
          rows: tokens.length,
          positions: Math.max(...tokens.map(({ length }) => length)),
          tokens,
        });
  const at = (steps: number): number => {
    const moved = (activation: Tensor): Tensor => tf.add(activation, tf.mul(direction, steps * step));
    const run = forward(
      model,
      { ...input, logitsAt: "last" },
      { hooks: [[name, moved]], ...(compiled ? { interventions: compiled } : {}) },
    );
    const value = metricValues(run.logits!, metric).reduce((sum, each) => sum + each, 0);
    run.dispose();
    return value;
  };
  try {
    return (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * step);
  } finally {
    if (compiled) disposeInterventions(compiled);
  }
}

/** Sum of the products of two tensors' numbers. */
export function innerProduct(a: Tensor, b: Tensor): number {
  return tf.tidy(() => tf.sum(tf.mul(a, b)).dataSync()[0]!);
}

/** Distance of two numbers by the larger of 1 and the first. */
export function relativeError(expected: number, found: number): number {
  return Math.abs(expected - found) / Math.max(1, Math.abs(expected));
}

/** Largest difference between the numbers of two documents, at every place that the second one has; other values must be equal. */
export function farthest(ours: unknown, theirs: unknown): number {
  if (typeof theirs === "number") return Math.abs((ours as number) - theirs);
  if (theirs === null || typeof theirs !== "object") return ours === theirs ? 0 : Number.POSITIVE_INFINITY;
  if (Array.isArray(theirs) && (ours as unknown[]).length !== theirs.length) return Number.POSITIVE_INFINITY;
  const place = (key: string): unknown => (ours as Record<string, unknown>)[key];
  const all = Object.entries(theirs).map(([key, value]) => farthest(place(key), value));
  return all.reduce((most, each) => (Number.isNaN(each) ? each : Math.max(most, each)), 0);
}
