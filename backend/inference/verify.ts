import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError } from "../common/errors.ts";
import { forward } from "../models/forward/forward.ts";
import type { Model } from "../models/model.ts";
import type { Oracle } from "../models/oracle.ts";
import { generate } from "./generate.ts";

/** Distance of one kind of a model's results from the oracle's. */
export interface Deviation {
  readonly what: "logits" | "attention of layer 1" | "hidden state after layer 0";
  /** Numbers compared. */
  readonly compared: number;
  /** Largest absolute difference. */
  readonly error: number;
  /** Index of that number in the oracle's array. */
  readonly at: readonly number[];
  /** Largest absolute number of the oracle's, to read the error against. */
  readonly largest: number;
}

/** A greedy continuation against the oracle's. */
export interface GreedyComparison {
  readonly cached: boolean;
  readonly tokens: number;
  /** Tokens that agree before the first that does not; `tokens` where all do. */
  readonly agree: number;
}

/** Result of `verifyModel`. */
export interface Verification {
  readonly deviations: readonly Deviation[];
  readonly greedy: readonly GreedyComparison[];
  /** Largest error of all deviations. */
  readonly error: number;
  readonly tolerance: number;
  /** True when every error is within the tolerance and every continuation the oracle's. */
  readonly passed: boolean;
}

type Nested = number | readonly Nested[];

/**
 * Compares a model with what another implementation computed of the same checkpoint: logits, attention of layer 1, the
 * hidden state after layer 0, and a greedy continuation with and without the cache.
 * @param tolerance largest absolute error that passes
 * @throws HeadscopeError "mismatch" where the oracle's shapes are not the model's
 */
export async function verifyModel(
  model: Model,
  oracle: Oracle,
  { tolerance, signal }: { tolerance: number; signal?: AbortSignal },
): Promise<Verification> {
  const deviations = compareForward(model, oracle);
  signal?.throwIfAborted();
  const greedy = oracle.greedy ? await compareGreedy(model, oracle.greedy, signal) : [];
  const error = Math.max(0, ...deviations.map((d) => d.error));
  const passed = error <= tolerance && greedy.every(({ tokens, agree }) => tokens === agree);
  return { deviations, greedy, error, tolerance, passed };
}

function compareForward(model: Model, oracle: Oracle): Deviation[] {
  const pattern = "blocks.1.attn.hook_pattern";
  const hidden = "blocks.0.hook_resid_post";
  const names = [...(oracle.attention ? [pattern] : []), ...(oracle.hidden ? [hidden] : [])];
  if (oracle.attention && model.config.n_layers < 2)
    throw mismatch(oracle, "attention of layer 1", "2 layers or more", `${model.config.n_layers}`);
  const logitsAt = oracle.logits ? oracle.logitPositions : "none";
  const result = forward(model, { tokens: oracle.ids, logitsAt }, { names });
  try {
    const length = oracle.ids[0]!.length;
    const deviations: Deviation[] = [];
    const compare = (what: Deviation["what"], expected: Nested, actual: Tensor): void => {
      deviations.push(deviation(oracle, what, expected, actual));
    };
    if (oracle.logits) compare("logits", oracle.logits, result.logits!);
    if (oracle.attention) {
      const first = result.activations.get(pattern)!.slice([0], [1]);
      compare("attention of layer 1", oracle.attention, first);
      first.dispose();
    }
    if (oracle.hidden) {
      const last = result.activations.get(hidden)!.slice([0, length - 1], [1, 1]);
      const vector = last.flatten();
      compare("hidden state after layer 0", oracle.hidden, vector);
      last.dispose();
      vector.dispose();
    }
    return deviations;
  } finally {
    result.dispose();
  }
}

function deviation(oracle: Oracle, what: Deviation["what"], expected: Nested, actual: Tensor): Deviation {
  const shape = shapeOf(expected);
  const target = flat(expected);
  if (shape.join() !== actual.shape.join() || target.length !== actual.size)
    throw mismatch(oracle, what, `[${actual.shape.join(", ")}]`, `[${shape.join(", ")}]`);
  const values = actual.dataSync();
  let [error, worst, largest] = [0, 0, 0];
  target.forEach((value, i) => {
    largest = Math.max(largest, Math.abs(value));
    const difference = Math.abs(value - values[i]!);
    if (difference <= error) return;
    error = difference;
    worst = i;
  });
  return { what, compared: target.length, error, at: unravel(worst, shape), largest };
}

async function compareGreedy(
  model: Model,
  { prompt, continuation }: NonNullable<Oracle["greedy"]>,
  signal?: AbortSignal,
): Promise<GreedyComparison[]> {
  const tokens = continuation.length;
  const agreeing = (ids: readonly number[]): number => {
    const differs = continuation.findIndex((id, i) => id !== ids[i]);
    return differs < 0 ? tokens : differs;
  };
  const options = { tokens: prompt, maxTokens: tokens, stop: [], signal };
  const cached = await generate(model, options);
  const uncached: number[] = [];
  while (uncached.length < tokens) {
    signal?.throwIfAborted();
    const result = forward(model, { tokens: [[...prompt, ...uncached]], logitsAt: "last" });
    const logits = result.logits!.dataSync() as Float32Array;
    result.dispose();
    uncached.push(logits.reduce((best, value, i) => (value > logits[best]! ? i : best), 0));
  }
  return [
    { cached: true, tokens, agree: agreeing(cached.ids) },
    { cached: false, tokens, agree: agreeing(uncached) },
  ];
}

function flat(nested: Nested): number[] {
  return typeof nested === "number" ? [nested] : nested.flatMap(flat);
}

function shapeOf(nested: Nested): number[] {
  return typeof nested === "number" ? [] : [nested.length, ...shapeOf(nested[0] ?? 0)];
}

/** The index by axis of a place in row order. */
function unravel(place: number, shape: readonly number[]): number[] {
  const index: number[] = [];
  let rest = place;
  for (const length of shape.toReversed()) {
    index.unshift(rest % length);
    rest = Math.floor(rest / length);
  }
  return index;
}

function mismatch(oracle: Oracle, what: string, expected: string, actual: string): HeadscopeError {
  return new HeadscopeError("mismatch", `${oracle.path}: ${what} is for ${actual}, and the model gives ${expected}`, {
    remedy: "verify the checkpoint that the oracle was computed of",
  });
}
