import type { z } from "zod";
import type { Definition } from "../../backend/common/definitions/definition.ts";

/** The distribution of linear functions that prompts are drawn from: x ~ N(0, I), y = w · x + noise. */
export interface LinearSetting {
  /** Numbers of an x. */
  readonly dimension: number;
  /** Standard deviation of the noise of y. */
  readonly sigma: number;
  /** Standard deviation of each weight. */
  readonly tau: number;
}

/** A learner within one prompt: it takes pairs one after another, and predicts in between. */
export interface OnlineLearner {
  /** Predicts y from the pairs so far. @param x [d] */
  predict(x: ArrayLike<number>): number;
  /** Takes a pair into account. @param x [d] */
  observe(x: ArrayLike<number>, y: number): void;
  /** The w of its predictions w · x [d], where it predicts by one. */
  readonly weights?: Float64Array;
}

/** An algorithm that learns a linear function from pairs: what a model's predictions in context are held against. */
export interface Learner<S extends z.ZodObject = z.ZodObject> extends Definition<S> {
  /** Gives the learner before the first pair. @param setting which its step sizes or its prior may follow */
  start(setting: LinearSetting, params: z.output<S>): OnlineLearner;
}

/** A learner as it is written: its parameters' types are inferred. */
export function learner<S extends z.ZodObject>(definition: Learner<S>): Learner<S> {
  return definition;
}
