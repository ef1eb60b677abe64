import { loadModel, modelVersion } from "../models/load.ts";
import type { Model } from "../models/model.ts";
import { parseReference } from "../models/sources/reference.ts";

/** How much may stay open; the model that was asked for last stays whatever it takes. */
export interface OpenLimits {
  readonly models: number;
  readonly bytes: number;
}

const LIMITS: OpenLimits = { models: 6, bytes: 4 * 2 ** 30 };

/** Models that stay open between requests: those used least recently are freed where room is needed. */
export class OpenModels {
  readonly #limits: OpenLimits;
  /** By what their references stand for, the one used last at the end. */
  readonly #open = new Map<string, Model>();
  /** How many hold a model. */
  readonly #held = new WeakMap<Model, number>();

  constructor(limits: OpenLimits = LIMITS) {
    this.#limits = limits;
  }

  /** References of the open models, the one used last at the end. */
  get refs(): string[] {
    return [...this.#open.values()].map(({ ref }) => ref);
  }

  /** What is open now stays so until the returned function is called, whatever others ask for meanwhile. */
  hold(): () => void {
    const models = [...this.#open];
    for (const [, model] of models) this.#held.set(model, (this.#held.get(model) ?? 0) + 1);
    return () => {
      for (const [version, model] of models) {
        this.#held.set(model, this.#held.get(model)! - 1);
        // Used last again, so that what came meanwhile makes room first.
        this.#open.delete(version);
        this.#open.set(version, model);
      }
      this.#makeRoom();
    };
  }

  /**
   * The model that a reference stands for now: `run:ID` is its newest checkpoint. It stays the property of this store, and open
   * at least until the next call.
   * @param ref as the server hands it on: paths are absolute
   * @throws HeadscopeError as `loadModel` does
   */
  async open(ref: string, signal?: AbortSignal): Promise<Model> {
    const reference = parseReference(ref, "absolute");
    const version = await modelVersion(reference);
    const model = this.#open.get(version) ?? (await loadModel(reference, signal ? { signal } : {}));
    this.#open.delete(version);
    this.#open.set(version, model);
    this.#makeRoom();
    return model;
  }

  /** Frees them all. */
  dispose(): void {
    for (const model of this.#open.values()) model.dispose();
    this.#open.clear();
  }

  #makeRoom(): void {
    const last = [...this.#open.values()].at(-1);
    let bytes = [...this.#open.values()].reduce((sum, model) => sum + model.bytes, 0);
    for (const [version, model] of this.#open) {
      const fits = this.#open.size <= this.#limits.models && bytes <= this.#limits.bytes;
      if (fits) return;
      if (model === last || (this.#held.get(model) ?? 0) > 0) continue;
      bytes -= model.bytes;
      model.dispose();
      this.#open.delete(version);
    }
  }
}
