import { hubModelPath } from "../models/hub/cache.ts";
import { listHubModels, listModels } from "../models/pull.ts";
import { parseReference } from "../models/reference.ts";
import { checkpointSteps } from "../paths.ts";
import type { Store } from "../store/store.ts";
import type { Health, ModelEntry, ModelInfo } from "./api.ts";
import { existingInside } from "./files.ts";
import type { Interactive } from "./interactive.ts";
import { readsTokens } from "./job-summaries.ts";

/** What the worker says of a model. */
interface Description {
  readonly info: ModelInfo;
  readonly backend: NonNullable<Health["backend"]>;
}

/** The models that may be asked for, and what the worker has said of them. */
export class Models {
  readonly #store: Store;
  readonly #interactive: Interactive;
  readonly #folders: readonly string[];
  readonly #described = new Map<string, ModelInfo>();
  /** What the worker computes on; undefined until it has said so. */
  backend: Health["backend"];

  /** @param folders in which models named by their path may lie */
  constructor(store: Store, interactive: Interactive, folders: readonly string[]) {
    this.#store = store;
    this.#interactive = interactive;
    this.#folders = folders;
  }

  /** The catalogue, what is in the Hugging Face cache, then the runs with a checkpoint, newest first. */
  async list(): Promise<ModelEntry[]> {
    const named = [...listModels(), ...(await listHubModels())].map(({ name, title, kind, ready, licence, bytes }) => ({
      ref: name,
      title,
      kind,
      ready,
      ...(licence === undefined ? {} : { licence }),
      ...(bytes === undefined ? {} : { bytes }),
    }));
    const trained = this.#store
      .runs()
      .filter((run) => readsTokens(run) && checkpointSteps(run.id, this.#store.folder).length > 0)
      .map(({ id, task, seed, step }): ModelEntry => {
        return { ref: `run:${id}`, title: `${task}, seed ${seed}, step ${step}`, kind: "run", ready: true };
      });
    return [...named, ...trained.reverse()];
  }

  /**
   * Refuses references that mean nothing, and paths outside the data folder and the given roots.
   * @returns the reference as the worker takes it: a path, and nothing else, is absolute
   * @throws HeadscopeError "usage"; Refusal 403, 404
   */
  async allowed(ref: string): Promise<string> {
    const reference = parseReference(ref, "slashed");
    return reference.kind === "path" ? existingInside(this.#folders, ref) : ref;
  }

  /** What a model is, from the worker at the first time. */
  async describe(ref: string, signal: AbortSignal): Promise<ModelInfo> {
    const model = await this.allowed(ref);
    const key = await this.#keyOf(model);
    const known = this.#described.get(key);
    if (known !== undefined) return known;
    const { info, backend } = await this.#interactive.ask<Description>("describe", { model }, { signal });
    this.backend = backend;
    this.#described.set(key, info);
    return info;
  }

  /** A run's latest checkpoint changes while it is trained, and what a branch on the hub stands for when it is pulled again. */
  async #keyOf(ref: string): Promise<string> {
    const reference = parseReference(ref, "absolute");
    if (reference.kind === "hub") return hubModelPath(ref);
    if (reference.kind !== "run") return ref;
    return `${ref}@${checkpointSteps(reference.id, this.#store.folder).at(-1) ?? ""}`;
  }
}
