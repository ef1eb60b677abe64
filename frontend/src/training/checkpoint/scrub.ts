/**
 * Values at the steps of a slider that is being moved: each is fetched once and kept, the neighbours of the present step
 * are fetched ahead, and requests for steps that the slider has left are given up.
 */
export class Scrub<T> {
  readonly #fetch: (step: number, signal: AbortSignal) => Promise<T>;
  readonly #capacity: number;
  readonly #kept = new Map<number, T>();
  readonly #pending = new Map<number, { promise: Promise<T>; abort: AbortController }>();
  #wanted = new Set<number>();
  #turn = 0;

  /** @param capacity values that are kept, the latest used ones */
  constructor(fetch: (step: number, signal: AbortSignal) => Promise<T>, capacity = 64) {
    this.#fetch = fetch;
    this.#capacity = capacity;
  }

  /** The value at a step where it is here already. */
  peek(step: number): T | undefined {
    return this.#kept.get(step);
  }

  /**
   * The value at a step; the neighbours follow once it is here.
   * @param signal gives everything up, unless another step is asked for in the same turn
   * @throws AbortError when the slider moves on before, and what the fetch throws
   */
  async at(step: number, neighbours: readonly number[] = [], signal?: AbortSignal): Promise<T> {
    const turn = ++this.#turn;
    signal?.addEventListener("abort", () => queueMicrotask(() => this.#turn === turn && this.stop()));
    this.#wanted = new Set([step, ...neighbours]);
    for (const [other, { abort }] of this.#pending)
      if (!this.#wanted.has(other)) {
        this.#pending.delete(other);
        abort.abort();
      }
    const value = await this.#get(step);
    void this.#ahead(neighbours);
    return value;
  }

  /** Gives up everything that is under way. */
  stop(): void {
    this.#wanted = new Set();
    for (const { abort } of this.#pending.values()) abort.abort();
    this.#pending.clear();
  }

  async #ahead(steps: readonly number[]): Promise<void> {
    for (const step of steps) {
      if (!this.#wanted.has(step)) return;
      // A step that fails ahead of its time fails again when it is shown, and is told of then.
      await this.#get(step).catch(() => undefined);
    }
  }

  #get(step: number): Promise<T> {
    const kept = this.#kept.get(step);
    if (kept !== undefined) {
      this.#keep(step, kept);
      return Promise.resolve(kept);
    }
    const pending = this.#pending.get(step);
    if (pending !== undefined) return pending.promise;
    const abort = new AbortController();
    const promise = this.#fetch(step, abort.signal).then(
      (value) => {
        this.#done(step, abort);
        this.#keep(step, value);
        return value;
      },
      (error: unknown) => {
        this.#done(step, abort);
        throw error;
      },
    );
    this.#pending.set(step, { promise, abort });
    return promise;
  }

  #done(step: number, abort: AbortController): void {
    if (this.#pending.get(step)?.abort === abort) this.#pending.delete(step);
  }

  #keep(step: number, value: T): void {
    this.#kept.delete(step);
    this.#kept.set(step, value);
    for (const oldest of this.#kept.keys()) {
      if (this.#kept.size <= this.#capacity) break;
      this.#kept.delete(oldest);
    }
  }
}
