import { basename } from "node:path";
import type { Health } from "../../common/api/health.ts";
import type { ModelEntry, ModelInfo } from "../../common/api/models.ts";
import { hubModelPath } from "../../models/sources/hub/cache.ts";
import { listHubModels, listModels } from "../../models/sources/pull.ts";
import { parseReference } from "../../models/sources/reference.ts";
import { checkpointSteps } from "../../paths.ts";
import type { Store } from "../../store/store.ts";
import type { Refusal } from "../http/problems.ts";
import type { Interactive } from "../interactive/interactive.ts";
import { readsTokens } from "../jobs/summaries.ts";
import { existingInside } from "./files.ts";
import { Opened } from "./opened.ts";
import type { Roots } from "./roots.ts";

/** The models that may be asked for, and what the worker has said of them. */
export class Models {
  readonly #store: Store;
  readonly #interactive: Interactive;
  readonly #roots: Roots;
  readonly #opened: Opened;
  readonly #described = new Map<string, ModelInfo>();
  /** Backend that the worker computes on; undefined until it has said so. */
  backend: Health["backend"];

  /** @param roots in which models named by their path may lie */
  constructor(store: Store, interactive: Interactive, roots: Roots) {
    this.#store = store;
    this.#interactive = interactive;
    this.#roots = roots;
    this.#opened = new Opened(store.folder);
  }

  /** The catalogue, what is in the Hugging Face cache, what was opened by its path, then the runs with a checkpoint, newest first. */
  async list(): Promise<ModelEntry[]> {
    const named = [...listModels(), ...(await listHubModels())].map(
      ({ name, title, kind, ready, licence, terms, bytes }) => ({
        ref: name,
        title,
        kind,
        ready,
        licence,
        terms,
        bytes,
      }),
    );
    const trained = this.#store
      .runs()
      .filter((run) => readsTokens(run) && checkpointSteps(run.id, this.#store.folder).length > 0)
      .map(({ id, task, seed, step }): ModelEntry => {
        return { ref: `run:${id}`, title: `${task}, seed ${seed}, step ${step}`, kind: "run", ready: true };
      });
    return [...named, ...(await this.#listOpened()), ...trained.reverse()];
  }

  /** Those that were opened by their path and still may be, latest first; what is gone is forgotten. */
  async #listOpened(): Promise<ModelEntry[]> {
    const paths = await this.#opened.list();
    const looks = await Promise.all(
      paths.map((path) =>
        existingInside(this.#roots.folders, path).then(
          () => 200,
          (error) => (error as Refusal).problem?.status,
        ),
      ),
    );
    await this.#opened.remove(paths.filter((_, i) => looks[i] === 404));
    return paths
      .filter((_, i) => looks[i] === 200)
      .map((path): ModelEntry => ({ ref: path, title: basename(path), kind: "opened", ready: true }))
      .reverse();
  }

  /**
   * Refuses references that mean nothing, and paths outside the data folder and the given roots.
   * @returns the reference as the worker takes it: a path, and nothing else, is absolute
   * @throws HeadscopeError "usage"; Refusal 403, 404
   */
  async allowed(ref: string): Promise<string> {
    const reference = parseReference(ref, "slashed");
    return reference.kind === "path" ? existingInside(this.#roots.folders, ref) : ref;
  }

  /** Describes a model; the worker is asked at the first time. */
  async describe(ref: string, signal: AbortSignal): Promise<ModelInfo> {
    const model = await this.allowed(ref);
    const key = await this.#keyOf(model);
    const description = this.#described.get(key);
    if (description !== undefined) return description;
    const { info, backend } = await this.#interactive.ask("describe", { model }, { signal });
    this.backend = backend;
    this.#described.set(key, info);
    if (parseReference(model, "absolute").kind === "path") await this.#opened.add(model);
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
