import type { ModelConfig } from "../../models/config.ts";
import { type ParameterPlace, parameterCount } from "../../models/weights/trainable.ts";
import type { ChangeParams } from "./parameters.ts";
import { selectPlaces } from "./parts.ts";
import {
  attentionOf,
  type PruneSchedule,
  pruneHeads,
  pruneSchedule,
  prunesAfter,
  pruneWeights,
  sparsityAt,
} from "./prune.ts";
import { resetBefore, resetPlaces } from "./reset.ts";

/** A model and the parameters of its training. */
export interface ChangedModel {
  readonly config: ModelConfig;
  readonly places: readonly ParameterPlace[];
  readonly training: ChangeParams & { readonly steps: number };
}

/** Tensors by what happens to them. */
export interface ChangedPlaces {
  /** They stay as they are. */
  readonly frozen: readonly ParameterPlace[];
  /** They are drawn anew. */
  readonly reset: readonly ParameterPlace[];
  /** They lose weights, or their heads. */
  readonly pruned: readonly ParameterPlace[];
}

/** The tensors that parameters name. @throws HeadscopeError `usage` for a name of nothing */
export function changedPlaces({ places, training }: ChangedModel): ChangedPlaces {
  const { freeze = [], train_only, reset = ["embed"], reset_every, prune, prune_parts } = training;
  const only = train_only && selectPlaces(places, train_only, "train_only");
  const frozen = only ? places.filter((place) => !only.includes(place)) : selectPlaces(places, freeze, "freeze");
  const hasMlp = places.some(({ name }) => name.includes(".mlp."));
  const parts = prune === "heads" ? ["attention"] : (prune_parts ?? ["attention", ...(hasMlp ? ["mlp"] : [])]);
  const free = prune === undefined ? [] : selectPlaces(places, parts, "prune_parts");
  return {
    frozen,
    reset: reset_every === undefined ? [] : selectPlaces(places, reset, "reset"),
    pruned: free.filter((place) => place.kind === "matrix" && !frozen.includes(place)),
  };
}

/**
 * Changes of the weights of several seeds beside the optimiser's updates: frozen weights, resets, pruning. Everything
 * follows from the seed, the step and the masks, which a checkpoint keeps, so that a run that goes on is the uninterrupted one.
 */
export class WeightChanges {
  readonly #model: ChangedModel;
  readonly #seeds: readonly number[];
  readonly #places: ChangedPlaces;
  readonly #schedule: PruneSchedule | undefined;
  readonly #masks: (Float32Array | undefined)[];

  /** @param masks of the seeds, where a pruned run goes on: 1 for weights that are there, 0 for others [parameters] */
  constructor(model: ChangedModel, seeds: readonly number[], masks: readonly (Float32Array | undefined)[] = []) {
    this.#model = model;
    this.#seeds = seeds;
    this.#places = changedPlaces(model);
    this.#schedule = pruneSchedule(model.training);
    const size = parameterCount(model.places);
    this.#masks = seeds.map((_, s) => masks[s] ?? (this.#schedule ? new Float32Array(size).fill(1) : undefined));
  }

  /** The mask of a seed's pruning [parameters]; undefined where nothing is pruned. @param s its place among the seeds */
  mask(s: number): Float32Array | undefined {
    return this.#masks[s];
  }

  /** By seed, 1 for weights that updates change and 0 for others [parameters]; undefined where they change all. */
  get trained(): Float32Array[] | undefined {
    const { frozen } = this.#places;
    if (frozen.length === 0 && this.#schedule === undefined) return undefined;
    const size = parameterCount(this.#model.places);
    return this.#seeds.map((_, s) => {
      const trained = this.#masks[s]?.slice() ?? new Float32Array(size).fill(1);
      for (const { offset, size: length } of frozen) trained.fill(0, offset, offset + length);
      return trained;
    });
  }

  /** Share of the prunable weights that a seed has lost; undefined where nothing is pruned. */
  sparsity(s: number): number | undefined {
    const mask = this.#masks[s];
    if (mask === undefined) return undefined;
    const { pruned } = this.#places;
    const gone = pruned.reduce(
      (sum, { offset, size }) => sum + mask.subarray(offset, offset + size).reduce((n, one) => n + 1 - one, 0),
      0,
    );
    return gone / pruned.reduce((sum, { size }) => sum + size, 0);
  }

  /** Tells whether weights are drawn anew before a step, from 1 on. */
  resetsBefore(step: number): boolean {
    return resetBefore(this.#model.training, step) !== undefined;
  }

  /** A seed's state as the reset before a step leaves it. */
  reset(state: readonly Float32Array[], s: number, step: number): Float32Array[] {
    const number = resetBefore(this.#model.training, step)!;
    return resetPlaces(state, this.#places.reset, { seed: this.#seeds[s]!, number });
  }

  /** Tells whether weights are taken away after a step; step 0 is before the first. */
  prunesAfter(step: number): boolean {
    return this.#schedule !== undefined && prunesAfter(this.#schedule, step);
  }

  /** A seed's state as the pruning after a step leaves it; its mask changes with it. */
  prune([parameters, ...vectors]: readonly Float32Array[], s: number, step: number): Float32Array[] {
    const schedule = this.#schedule!;
    const before = { parameters: parameters!, mask: this.#masks[s]! };
    const share = sparsityAt(schedule, step);
    const { pruned } = this.#places;
    const { config } = this.#model;
    const mask =
      schedule.structure === "heads"
        ? pruneHeads(before, { layers: attentionOf(pruned), config }, share)
        : pruneWeights(before, pruned, share);
    this.#masks[s] = mask;
    return [before.parameters, ...vectors].map((values) => values.map((x, i) => (mask[i] === 0 ? 0 : x)));
  }
}
