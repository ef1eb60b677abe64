import type { Tensor } from "@tensorflow/tfjs";
import type { z } from "zod";
import type { Definition } from "../../common/definitions/definition.ts";
import type { Random } from "../../common/random.ts";
import type { ModelConfig } from "../../models/config.ts";
import type { Model } from "../../models/model.ts";
import type { Turn } from "../../runtime/turn.ts";
import type { TrainingParams } from "../parameters.ts";

/** Numbers of a layer that are trained together. */
export interface TrainedPart {
  /** Inside its layer. */
  readonly name: string;
  readonly shape: readonly number[];
  /** Draws one of its numbers, before training. */
  initial(random: Random): number;
}

/** A step of a training: the model, which is frozen, and what is trained. */
export interface GateStep<P> {
  readonly model: Model;
  readonly params: P;
  /** By layer, its parts. */
  readonly gates: readonly (readonly Tensor[])[];
  /** From 0. */
  readonly step: number;
  readonly seed: number;
  /** Lets others in between two layers. */
  readonly turn: Turn;
}

/** The losses of a step by name, and by layer the gradients of its parts; whoever asked for them disposes these. */
export interface GateGradients {
  readonly losses: Readonly<Record<string, number>>;
  readonly gradients: readonly (readonly Tensor[])[];
}

/** Adam's constants of a method. */
export type AdamParams = Pick<TrainingParams, "beta1" | "beta2" | "adam_epsilon" | "weight_decay">;

/** A policy's numbers that are trained while the model stays as it is. */
export interface GateMethod<S extends z.ZodObject = z.ZodObject> extends Definition<S> {
  /** Runs of the whole model in a step, one back counted as one. */
  readonly runs: number;
  /** Optimiser steps. */
  steps(params: z.output<S>): number;
  /** The parameters as a model's context allows them. @throws HeadscopeError (usage) where they do not fit */
  adapt(config: ModelConfig, params: z.output<S>): z.output<S>;
  /** The parts of each layer. */
  parts(config: ModelConfig, params: z.output<S>): readonly TrainedPart[];
  /** @param step from 0 */
  learningRate(params: z.output<S>, step: number): number;
  readonly adam?: Partial<AdamParams>;
  /** Least and greatest value of every number; default none. */
  readonly range?: readonly [number, number];
  gradients(step: GateStep<z.output<S>>): Promise<GateGradients>;
}
