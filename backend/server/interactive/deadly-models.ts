import { HeadscopeError } from "../../common/errors.ts";
import type { WorkerCrash } from "../../jobs/worker-process.ts";

/** Workers that a model may end before it is refused. */
const MOST_DEATHS = 2;

interface Suspect {
  readonly version: string;
  readonly reasons: string[];
}

/**
 * Models whose opening has ended worker processes. Each such death takes the other open models along and everybody waits, so
 * that a model is refused after two, until its files change. One that has answered is never suspected: what ends a worker
 * then is the request.
 */
export class DeadlyModels {
  readonly #versionOf: (model: string) => string;
  readonly #suspects = new Map<string, Suspect>();
  /** Models that have answered, with the version that did so first. */
  readonly #innocent = new Map<string, string>();

  /** @param versionOf changes when a model's files do */
  constructor(versionOf: (model: string) => string) {
    this.#versionOf = versionOf;
  }

  /** @throws HeadscopeError "unsupported" for a model that has ended two workers and is still the same */
  check(model: string): void {
    const suspect = this.#suspects.get(model);
    if (suspect === undefined || suspect.reasons.length < MOST_DEATHS) return;
    if (suspect.version !== this.#versionOf(model)) {
      this.#suspects.delete(model);
      return;
    }
    throw new HeadscopeError(
      "unsupported",
      `${model.slice(-200)} is not opened any more: it ended the worker ${MOST_DEATHS} times (${suspect.reasons.at(-1)})`,
      { remedy: "mend or fetch the model again: it is opened when its files have changed" },
    );
  }

  /** Notes that a request about a model was answered. */
  answered(model: string): void {
    this.#suspects.delete(model);
    if (!this.#innocent.has(model)) this.#innocent.set(model, this.#versionOf(model));
  }

  /** Notes that the worker died while it did a request about a model. */
  died(model: string, crash: WorkerCrash): void {
    const version = this.#versionOf(model);
    if (this.#innocent.get(model) === version) return;
    const before = this.#suspects.get(model);
    const reasons = before?.version === version ? before.reasons : [];
    this.#suspects.set(model, { version, reasons: [...reasons, crash.message] });
  }
}
