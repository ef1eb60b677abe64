import { loadModel, modelVersion } from "../models/load.ts";
import type { Model } from "../models/model.ts";
import { parseReference } from "../models/sources/reference.ts";
import { Recent } from "../runtime/recent.ts";

/** Room for open models; the one that was asked for last stays whatever it takes. */
export interface OpenLimits {
  readonly models: number;
  readonly bytes: number;
}

const LIMITS: OpenLimits = { models: 6, bytes: 4 * 2 ** 30 };

/** Models that stay open between requests: those used least recently are freed where room is needed. */
export class OpenModels {
  /** By what their references stand for. */
  readonly #open: Recent<Model>;

  constructor({ models, bytes }: OpenLimits = LIMITS) {
    this.#open = new Recent({ entries: models, bytes, size: (model) => model.bytes, free: (model) => model.dispose() });
  }

  /** References of the open models, the one used last at the end. */
  get refs(): string[] {
    return this.#open.values().map(({ ref }) => ref);
  }

  /** Keeps all that is open now until the returned function is called, whatever others ask for meanwhile. */
  hold(): () => void {
    return this.#open.hold();
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
    return this.#open.get(version) ?? this.#open.set(version, await loadModel(reference, { signal }));
  }

  /** Frees them all. */
  dispose(): void {
    this.#open.clear();
  }
}
