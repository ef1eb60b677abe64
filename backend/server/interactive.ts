import { type Answer, Worker, type WorkerOptions } from "../jobs/client.ts";
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

/**
 * The resident worker: it holds the open models and answers what a person waits for, one request after the other in the order of
 * their coming. Requests whose client has gone leave the line, or are stopped where they are computed.
 */
export class Interactive {
  readonly #worker: Worker;
  readonly #limits: Limits;
  readonly #line: Waiting[] = [];
  #busy = false;

  constructor(limits: Limits, options: WorkerOptions = {}) {
    this.#limits = limits;
    this.#worker = new Worker({ grace: limits.graceMs, ...options });
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
   * @throws what the handler threw; WorkerCrash; Refusal 429 where too many wait, 503 where it took too long; the signal's reason
   */
  async exchange<T>(kind: string, payload: unknown, { signal, long = false, onEvent }: AskOptions): Promise<Answer<T>> {
    await this.#turn(signal);
    const most = long ? this.#limits.longComputeMs : this.#limits.computeMs;
    const late = AbortSignal.timeout(most);
    const stop = AbortSignal.any([signal, late]);
    const answer = this.#worker.exchange<T>(kind, payload, { signal: stop, ...(onEvent ? { onEvent } : {}) });
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
    return this.#worker.close(PATIENCE);
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
    if (next === undefined) this.#busy = false;
    else next.start();
  }
}

function whenAborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}
