import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError } from "../../common/errors.ts";
import { ANYTHING, checkOptions, FUNCTION, type Rules, whole } from "../../common/options.ts";
import { ActivationCache } from "../../hooks/activation-cache.ts";
import { allFinite, notFinite } from "../../hooks/finite.ts";
import type { Intervention } from "../../hooks/intervention-schema.ts";
import { compileInterventions, disposeInterventions, type Sources } from "../../hooks/interventions.ts";
import { backward, lowestLayer } from "../../models/backward/backward.ts";
import { disposeGradient, type LogitGradient } from "../../models/backward/logit-gradient.ts";
import type { BackwardStep } from "../../models/backward/step.ts";
import { type BackwardInput, type StoredRun, storeRun } from "../../models/backward/stored-run.ts";
import type { Affine } from "../../models/forward/types.ts";
import type { Model } from "../../models/model.ts";
import { checkHookName, hookNames } from "../../models/transformer/hook-points.ts";
import { tf } from "../../runtime/tf.ts";
import type { Turn } from "../../runtime/turn.ts";
import { logitGradient, type MetricOptions } from "../metrics/measure.ts";

/** The run that gradients are of: rows of tokens, vectors or streams, and how it is changed. */
export interface GradientInput extends BackwardInput {
  /** Interventions as data: the gradient is that of the changed run, at each point behind its changes. */
  interventions?: readonly Intervention[];
  /** The activations that `with` of the interventions refers to. */
  sources?: Sources;
  /** Called before every layer, forward; throwing from it ends the work. */
  onLayer?: (layer: number) => void;
}

const INPUT: Rules<GradientInput> = {
  tokens: ANYTHING,
  inputs: ANYTHING,
  resid: ANYTHING,
  positions: ANYTHING,
  softPrompt: ANYTHING,
  keyMask: ANYTHING,
  windows: ANYTHING,
  startLayer: whole(0),
  logitsAt: ANYTHING,
  interventions: { wants: "a list of interventions", fits: Array.isArray },
  sources: ANYTHING,
  onLayer: FUNCTION,
};

/** A metric by its name, or a function from logits [rows, wanted positions, outputs] to a number, made of tf's operations. */
export type MetricSource = MetricOptions | ((logits: Tensor) => Tensor);

/** Gradients of a metric. */
export interface Gradients {
  /** The metric of every row; of a function its one value. */
  values: number[];
  /** By hook name, shaped as activations are; the caller disposes it. */
  gradients: ActivationCache;
}

/**
 * Gradients of a metric with respect to activations, exact up to rounding: the run keeps the stream before every layer, and the
 * blocks are computed again one by one from the last to the first.
 * Rows do not mix: row r holds the gradient of its own value. At patterns and scores it is 0 where a query may not look.
 * @param input rows of tokens (or vectors, or streams), of any lengths @param metric reads the last position of each row
 * @param names hook names, or a predicate on them; layers below the lowest are not gone through
 * @throws HeadscopeError for what the run or the metric refuses, hook points before the layer at which the run starts, and values
 * that are no numbers
 */
export function gradient(
  model: Model,
  input: GradientInput,
  metric: MetricSource,
  names: readonly string[] | ((name: string) => boolean),
): Gradients {
  const work = new GradientWork(model, input, metric, names);
  try {
    for (const step of work.steps()) work.collect(step);
    return work.result();
  } catch (error) {
    work.giveUp();
    throw error;
  } finally {
    work.dispose();
  }
}

/** A gradient to make, and who waits meanwhile. */
export interface GradientRequest {
  input: GradientInput;
  metric: MetricSource;
  names: readonly string[] | ((name: string) => boolean);
  /** Awaited between the layers of the way back. */
  turn?: Turn | undefined;
}

/** As `gradient`, with a turn for others between layers. @throws what `turn` throws; nothing is left behind then */
export async function gradientInTurns(
  model: Model,
  { input, metric, names, turn }: GradientRequest,
): Promise<Gradients> {
  const work = new GradientWork(model, input, metric, names);
  try {
    for (const step of work.steps()) {
      work.collect(step);
      await turn?.();
    }
    return work.result();
  } catch (error) {
    work.giveUp();
    throw error;
  } finally {
    work.dispose();
  }
}

/** A gradient under way: its run, and what is collected so far. */
class GradientWork {
  readonly #run: StoredRun;
  readonly #interventions: ReadonlyMap<string, Affine>;
  readonly #names: readonly string[];
  readonly #metric: MetricSource;
  readonly #collected = new Map<string, Tensor>();
  #values: number[] = [];

  constructor(
    model: Model,
    input: GradientInput,
    metric: MetricSource,
    names: readonly string[] | ((name: string) => boolean),
  ) {
    checkOptions("gradient", input, INPUT);
    const { interventions = [], sources = {}, onLayer, ...run } = input;
    this.#metric = metric;
    const lowest = run.resid === undefined ? -1 : (run.startLayer ?? 0);
    const all = hookNames(model);
    if (typeof names !== "function") for (const name of names) checkHookName(model.config, name);
    this.#names =
      typeof names === "function" ? all.filter((name) => names(name) && lowestLayer([name]) >= lowest) : names;
    if (this.#names.length === 0)
      throw new HeadscopeError("usage", "no hook point is named for a gradient", { remedy: "give at least one name" });
    const { n_layers } = model.config;
    const firstLayer = Math.max(0, run.startLayer ?? 0, Math.min(n_layers, lowestLayer(this.#names)));
    this.#interventions = compiled(model, run, interventions, sources);
    try {
      this.#run = storeRun(model, run, {
        firstLayer,
        interventions: this.#interventions,
        ...(onLayer ? { onLayer } : {}),
      });
    } catch (error) {
      disposeInterventions(this.#interventions);
      throw error;
    }
  }

  /** The steps of the way back. */
  *steps(): Generator<BackwardStep> {
    const { values, gradient: start } = this.#start();
    this.#values = values;
    try {
      if (!allFinite(values)) throw this.#notFinite();
      yield* backward(this.#run, start, { names: this.#names });
    } finally {
      disposeGradient(start);
    }
  }

  /** Takes over a step's gradients. */
  collect({ gradients }: BackwardStep): void {
    for (const [name, t] of gradients) this.#collected.set(name, tf.keep(tf.clone(t)));
  }

  result(): Gradients {
    const { model, lengths } = this.#run;
    const ordered = hookNames(model).flatMap((name): [string, Tensor][] => {
      const t = this.#collected.get(name);
      return t ? [[name, t]] : [];
    });
    return { values: this.#values, gradients: new ActivationCache(new Map(ordered), { lengths }) };
  }

  /** Frees what was collected. */
  giveUp(): void {
    tf.dispose([...this.#collected.values()]);
  }

  dispose(): void {
    this.#run.dispose();
    disposeInterventions(this.#interventions);
  }

  #notFinite(): HeadscopeError {
    const { model, input } = this.#run;
    const changes = { interventions: this.#interventions };
    if (input.tokens) return notFinite(model, "the metric", input.tokens, changes);
    return new HeadscopeError("input", `the metric in ${model.ref} is no number`, {
      remedy: "look at the run's input",
    });
  }

  #start(): { values: number[]; gradient: LogitGradient } {
    const { logits } = this.#run;
    const metric = this.#metric;
    if (typeof metric !== "function") return logitGradient(logits, metric);
    const { value, grad } = tf.valueAndGrad((x) => metric(x))(logits);
    const [number] = value.dataSync();
    value.dispose();
    return { values: [number!], gradient: grad };
  }
}

/** Interventions compiled for a run. */
function compiled(
  model: Model,
  { tokens, inputs, resid }: BackwardInput,
  interventions: readonly Intervention[],
  sources: Sources,
): Map<string, Affine> {
  if (interventions.length === 0) return new Map();
  const [rows, positions] = tokens
    ? [tokens.length, Math.max(0, ...tokens.map((row) => row.length))]
    : ((inputs ?? resid)!.shape as [number, number]);
  return compileInterventions(model, interventions, { rows, positions, ...(tokens ? { tokens } : {}), ...sources });
}
