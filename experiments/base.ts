import { z } from "zod";
import type { Definition } from "../backend/common/definitions/definition.ts";
import type { Figure } from "../backend/common/figures/figure.ts";
import type { Claim } from "../backend/common/figures/report.ts";
import type { Preset } from "../backend/common/words.ts";
import type { Soup, SoupRequest } from "../backend/jobs/soup.ts";
import type { Model } from "../backend/models/model.ts";
import type { Curve } from "./curves.ts";

/** Schema of a list of seeds. */
export const seedList = z
  .array(z.int().min(0))
  .min(1)
  .refine((seeds) => new Set(seeds).size === seeds.length, "give each seed once");

/** A paper's claim, and the check that decides about it here: both are written before anything is run. */
export type ClaimStatement = Pick<Claim, "id" | "statement" | "source" | "check"> & {
  /** Parameter that lists the seeds which decide about it, default "seeds". */
  readonly seeds?: string;
  /** Parameter that says how much it rests on, default the experiment's `extent`. */
  readonly extent?: string;
};

/** The findings of a run of an experiment about one claim. */
export type ClaimResult = Pick<Claim, "id" | "measured" | "verdict" | "why">;

/** A training to be done: parameters of the task, the model and the training in one list, as `headscope train` takes them. */
export interface TrainingPlan {
  readonly task: string;
  readonly params: Readonly<Record<string, unknown>>;
  /** Probes to measure along the way. */
  readonly probes?: readonly string[];
  /** Word for the progress bar, such as "two layers"; one stage of the experiment has it. */
  readonly label: string;
}

/** A part of an experiment whose progress is told by its label. */
export interface ExperimentStage {
  readonly label: string;
  /** Amount of work: in optimiser steps of one layer and one seed, or another unit where all stages measure. */
  readonly work: number;
}

/** A finished run of one seed. */
export interface TrainedRun {
  readonly id: string;
  readonly seed: number;
  /** The task's parameters as they were used. */
  readonly taskParams: Readonly<Record<string, unknown>>;
  /** Measurements by metric name. */
  readonly curves: ReadonlyMap<string, Curve>;
  /** Steps at which it was saved, ascending. */
  readonly checkpoints: readonly number[];
}

/** Reference of a run's last checkpoint, as `loadModel` takes it. */
export function lastCheckpoint({ id, checkpoints }: TrainedRun): string {
  return `run:${id}@${checkpoints.at(-1)}`;
}

/** A measurement of a model as it is, such as a pretrained one; what it gives can be kept as JSON. */
export interface MeasurementPlan<V extends z.ZodType = z.ZodType> {
  /** Its name within the experiment, such as "disconnections". */
  readonly name: string;
  /** Stage of the experiment that it is a part of. */
  readonly label: string;
  /** Reference of the model, as `loadModel` takes it. */
  readonly model: string;
  /** All that decides about the values, beside model and name: parameters, seeds, and a revision that is raised where the code gives others. */
  readonly settings: Readonly<Record<string, unknown>>;
  /** Schema of the values. */
  readonly values: V;
  /** Measures. It leaves no tensor; throwing from it by the signal ends the experiment. */
  measure(model: Model, means: MeasurementMeans): Promise<z.output<V>>;
}

/** The means that a measurement runs with. */
export interface MeasurementMeans {
  /** Tells how far the measurement is. */
  progress(done: number, total: number): void;
  readonly signal: AbortSignal;
}

/** The means that an experiment runs with. */
export interface ExperimentContext {
  /** Refuses a plan that `train` would refuse, before anything is trained. @throws HeadscopeError `usage` naming the constraint */
  check(plan: TrainingPlan, seeds: readonly number[]): void;
  /** Trains a plan once for each seed, or finds the finished runs of an earlier call. @returns in the order of the seeds */
  train(plan: TrainingPlan, seeds: readonly number[]): Promise<TrainedRun[]>;
  /** Averages the weights that runs ended with, or finds the mean that an earlier call has made. */
  soup(runs: readonly TrainedRun[], request: Omit<SoupRequest, "members">): Promise<Soup>;
  /** Loads a run as it was saved at a step; the caller disposes it. */
  model(run: TrainedRun, step: number): Promise<Model>;
  /**
   * Measures plans of one stage one after the other, or finds what an earlier call has measured: each is kept as soon as it is there.
   * A model is loaded where something of it is missing, and freed behind the experiment.
   * @throws HeadscopeError `missing` for a model that is not there
   */
  measure<V extends z.ZodType>(plans: readonly MeasurementPlan<V>[]): Promise<z.output<V>[]>;
  /** Tells how far a stage is. @param label one of `stages` */
  progress(done: number, total: number, label: string): void;
  readonly signal: AbortSignal;
}

/** The findings of an experiment. */
export interface Finding {
  /** One for each of the definition's claims. */
  readonly claims: readonly ClaimResult[];
  /** The central one first: lists of experiments show it. */
  readonly figures: readonly Figure[];
  /** Sentences with the figures that matter; how many claims came out how is told before them. */
  readonly summary?: string;
}

/**
 * A scripted reproduction. `quick` is the schema's defaults, at most five minutes on two cores: it may shrink sizes and
 * steps, never a definition; `full` is the paper's setting or near it.
 */
export interface Experiment<S extends z.ZodObject = z.ZodObject> extends Definition<S> {
  /** Parameters that differ from the defaults. */
  readonly presets: Readonly<Record<Preset, Partial<z.input<S>>>>;
  readonly claims: readonly ClaimStatement[];
  /** Trials to choose the quick preset and the thresholds, and what was changed after looking at a verdict; reports say it. */
  readonly trials: string;
  /** Parameter that says how much it rests on, default "steps" of a training; of measurements such as "prompts". */
  readonly extent?: string;
  /** Its stages in order, so that its progress is that of the whole. */
  stages(params: z.output<S>): readonly ExperimentStage[];
  run(params: z.output<S>, context: ExperimentContext): Promise<Finding>;
}
