import {
  cancelled,
  type RequestOptions,
  type WorkerAnswer,
  WorkerCrash,
  type WorkerOptions,
  WorkerProcess,
} from "./worker-process.ts";

/**
 * A worker process of one's own: starts with the first request, does one at a time and one aside, starts again after a crash.
 * Its owner must `close` it.
 */
export class Worker {
  readonly #options: WorkerOptions;
  #process: WorkerProcess | undefined;
  /** The requests of each lane, one after the other. */
  readonly #last = { main: Promise.resolve() as Promise<unknown>, aside: Promise.resolve() as Promise<unknown> };
  #nextId = 1;
  #closed = false;

  constructor(options: WorkerOptions = {}) {
    this.#options = options;
  }

  /** Process id, while there is a process. */
  get pid(): number | undefined {
    return this.#process?.child.pid;
  }

  /**
   * Has the worker do something, after all that was asked before in its lane.
   * @param kind name of a handler
   * @param payload JSON
   * @returns the handler's result
   * @throws what the handler threw; `WorkerCrash`; HeadscopeError `cancelled`
   */
  async request<T = unknown>(kind: string, payload: unknown, options: RequestOptions = {}): Promise<T> {
    return (await this.exchange<T>(kind, payload, options)).value;
  }

  /** As `request`, with the binary part of the result. */
  exchange<T = unknown>(kind: string, payload: unknown, options: RequestOptions = {}): Promise<WorkerAnswer<T>> {
    const lane = options.aside ? "aside" : "main";
    const turn = this.#last[lane].then(() => this.#perform(kind, payload, options));
    this.#last[lane] = turn.catch(() => {});
    return turn as Promise<WorkerAnswer<T>>;
  }

  /** Ends the idle process, which holds memory; the next request starts another. */
  async rest(): Promise<void> {
    await this.#process?.close();
  }

  /** Ends the process; a request that it is doing fails. @param patience milliseconds until force is used, default 5,000 */
  async close(patience?: number): Promise<void> {
    this.#closed = true;
    await this.#process?.close(patience);
  }

  async #perform(kind: string, payload: unknown, options: RequestOptions): Promise<WorkerAnswer<unknown>> {
    const { signal, body, onEvent, aside } = options;
    if (this.#closed) throw new Error("the worker is closed");
    if (signal?.aborted) throw cancelled(signal);
    for (let again = false; ; again = true) {
      if (this.#process === undefined || this.#process.ended) this.#process = new WorkerProcess(this.#options);
      const header = { id: this.#nextId++, type: "request", kind, payload, ...(aside ? { aside } : {}) } as const;
      try {
        return await this.#process.perform(header, body, onEvent, signal);
      } catch (error) {
        // It died of something else before it had begun with this one, which can therefore be asked again.
        const innocent = error instanceof WorkerCrash && error.request === undefined;
        if (!innocent || again || this.#closed) throw error;
      }
    }
  }
}
