import { type Answer, modelIn, Worker, type WorkerCrash, type WorkerOptions } from "../jobs/client.ts";
import { DeadlyModels } from "./deadly-models.ts";
import type { Limits } from "./limits.ts";
import { limited } from "./problems.ts";

/** Milliseconds that the worker is given to end by itself. */
const PATIENCE = 500;

/** How one interactive request is followed. */
export interface AskOptions {
  /** Aborted when nobody waits for the answer any more. */
  readonly signal: AbortSignal;
  /** Whether it may compute for `longComputeMs`. */
  readonly long?: boolean;
  readonly onEvent?: (event: unknown) => void | Promise<void>;
}

interface Waiting {
  readonly start: () => void;
}

/** A model that is opened again while nobody waits. */
interface Reopening {
  readonly model: string;
  readonly controller: AbortController;
}

/** Models that are opened again after a crash, those used last. */
const MOST_REOPENED = 6;

/**
 * The resident worker: it holds the open models and answers what a person waits for, one request after the other in the order of
 * their coming. Requests whose client has gone leave the line, or are stopped where they are computed. When the process dies,
 * the models that were open are opened again as soon as nobody waits, but for the one that it died of.
 */
export class Interactive {
  readonly #worker: Worker;
  readonly #limits: Limits;
  readonly #line: Waiting[] = [];
  readonly #deadly: DeadlyModels;
  /** Models that have been asked for since the process started, the one used last at the end. */
  readonly #used = new Set<string>();
  /** Those that a dead process had open and the living one has not. */
  #lost: string[] = [];
  #reopening: Reopening | undefined;
  #busy = false;
  #closed = false;

  /** @param versionOf a text that changes when the files of a model do; default none ever changes */
  constructor(limits: Limits, options: WorkerOptions = {}, versionOf: (model: string) => string = () => "") {
    this.#limits = limits;
    this.#deadly = new DeadlyModels(versionOf);
    const onDeath = (crash: WorkerCrash): void => {
      this.#mourn(crash);
      options.onDeath?.(crash);
    };
    this.#worker = new Worker({ grace: limits.graceMs, ...options, onDeath });
  }

  /** Process id of the worker, while there is one. */
  get pid(): number | undefined {
    return this.#worker.pid;
  }

  /** Requests that wait for their turn. */
  get waiting(): number {
    return this.#line.length;
  }

  /** As `exchange`, without the binary part. */
  async ask<T>(kind: string, payload: unknown, options: AskOptions): Promise<T> {
    return (await this.exchange<T>(kind, payload, options)).value;
  }

  /**
   * Has the worker answer a request.
   * @throws what the handler threw; WorkerCrash; HeadscopeError "unsupported" for a model that has ended the worker twice;
   * Refusal 429 where too many wait, 503 where it took too long; the signal's reason
   */
  async exchange<T>(kind: string, payload: unknown, { signal, long = false, onEvent }: AskOptions): Promise<Answer<T>> {
    const model = modelIn(payload);
    if (model !== undefined) this.#deadly.check(model);
    // What is opened for nobody yet makes way, unless it is what is asked for.
    if (this.#reopening?.model !== model) this.#reopening?.controller.abort();
    await this.#turn(signal);
    if (model !== undefined) this.#checkInTurn(model);
    const most = long ? this.#limits.longComputeMs : this.#limits.computeMs;
    const late = AbortSignal.timeout(most);
    const stop = AbortSignal.any([signal, late]);
    const answer = this.#worker.exchange<T>(kind, payload, { signal: stop, ...(onEvent ? { onEvent } : {}) });
    if (model !== undefined) answer.then(() => this.#answered(model)).catch(() => {});
    // The worker is free for the next one when it has ended, or given up, this one.
    answer.catch(() => {}).finally(() => this.#next());
    try {
      return await Promise.race([answer, whenAborted(stop)]);
    } catch (error) {
      if (signal.aborted || !late.aborted) throw error;
      throw limited(503, `${kind} was not done within ${most / 1000} s, and was stopped`, "ask for less at once");
    }
  }

  /** Ends the worker, which has nothing to save; a request that it computes fails. */
  close(): Promise<void> {
    this.#closed = true;
    return this.#worker.close(PATIENCE);
  }

  /** Those before it in the line may have asked for the same deadly model. */
  #checkInTurn(model: string): void {
    try {
      this.#deadly.check(model);
    } catch (error) {
      this.#next();
      throw error;
    }
  }

  #answered(model: string): void {
    this.#deadly.answered(model);
    this.#used.delete(model);
    this.#used.add(model);
    this.#lost = this.#lost.filter((each) => each !== model);
  }

  #mourn(crash: WorkerCrash): void {
    const culprit = crash.request?.model;
    if (culprit !== undefined) this.#deadly.died(culprit, crash);
    const open = [...this.#lost, ...this.#used].filter((model) => model !== culprit);
    this.#lost = [...new Set(open)].slice(-MOST_REOPENED);
    this.#used.clear();
    if (!this.#busy) this.#reopen();
  }

  /** Opens the lost model that was used last; it keeps the worker busy, and a request takes its place. */
  #reopen(): void {
    const model = this.#lost.pop();
    if (model === undefined || this.#closed) return;
    this.#busy = true;
    const controller = new AbortController();
    this.#reopening = { model, controller };
    this.#worker
      .request("describe", { model }, { signal: controller.signal })
      .then(
        () => this.#answered(model),
        () => {
          // One that cannot be opened is told whoever asks for it.
          if (controller.signal.aborted) this.#lost.push(model);
        },
      )
      .finally(() => {
        this.#reopening = undefined;
        this.#next();
      });
  }

  async #turn(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (!this.#busy) {
      this.#busy = true;
      return;
    }
    const { waiting } = this.#limits;
    if (this.#line.length >= waiting)
      throw limited(429, `${waiting} requests wait for the worker already`, "wait for their answers, then ask again");
    await new Promise<void>((resolve, reject) => {
      const mine: Waiting = {
        start: () => {
          signal.removeEventListener("abort", leave);
          resolve();
        },
      };
      const leave = (): void => {
        this.#line.splice(this.#line.indexOf(mine), 1);
        reject(signal.reason);
      };
      this.#line.push(mine);
      signal.addEventListener("abort", leave, { once: true });
    });
  }

  #next(): void {
    const next = this.#line.shift();
    if (next !== undefined) {
      next.start();
      return;
    }
    this.#busy = false;
    this.#reopen();
  }
}

function whenAborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}
