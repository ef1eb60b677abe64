interface Request<T> {
  readonly promise: Promise<T>;
  readonly abort: AbortController;
  waiting: number;
}

/**
 * Answers by key, the most recently used ones kept up to a total size. A question that is already on its way is not asked
 * again; it is given up when everybody who waits for it has gone.
 */
export class RequestCache<T> {
  readonly #room: number;
  readonly #sizeOf: (value: T) => number;
  /** In order of use, the latest last. */
  readonly #answers = new Map<string, T>();
  readonly #requests = new Map<string, Request<T>>();

  /** @param room the largest total size kept @param sizeOf in the same unit */
  constructor(room: number, sizeOf: (value: T) => number) {
    this.#room = room;
    this.#sizeOf = sizeOf;
  }

  /** The kept answer, which counts as used; undefined where there is none. */
  held(key: string): T | undefined {
    const found = this.#answers.get(key);
    if (found !== undefined) this.#use(key, found);
    return found;
  }

  /** The kept answer, or the one that `ask` gives. @throws what `ask` throws; AbortError when `signal` aborts first */
  async get(key: string, ask: (signal: AbortSignal) => Promise<T>, signal?: AbortSignal): Promise<T> {
    signal?.throwIfAborted();
    const found = this.held(key);
    if (found !== undefined) return found;
    const request = this.#requests.get(key) ?? this.#begin(key, ask);
    request.waiting++;
    try {
      return await until(request.promise, signal);
    } finally {
      request.waiting--;
      // Whoever takes over in the same turn, as a view that changes its mind does, keeps the request alive.
      setTimeout(() => this.#giveUpIfAlone(key, request), 0);
    }
  }

  #begin(key: string, ask: (signal: AbortSignal) => Promise<T>): Request<T> {
    const abort = new AbortController();
    const promise = ask(abort.signal).then((value) => {
      this.#use(key, value);
      return value;
    });
    const request: Request<T> = { promise, abort, waiting: 0 };
    this.#requests.set(key, request);
    const forget = (): void => {
      if (this.#requests.get(key) === request) this.#requests.delete(key);
    };
    promise.then(forget, forget);
    return request;
  }

  #giveUpIfAlone(key: string, request: Request<T>): void {
    if (request.waiting > 0 || this.#requests.get(key) !== request) return;
    this.#requests.delete(key);
    request.abort.abort();
  }

  #use(key: string, value: T): void {
    this.#answers.delete(key);
    this.#answers.set(key, value);
    let total = 0;
    for (const each of this.#answers.values()) total += this.#sizeOf(each);
    for (const [old, each] of this.#answers) {
      if (total <= this.#room || old === key) return;
      this.#answers.delete(old);
      total -= this.#sizeOf(each);
    }
  }
}

/** A promise, or the signal's abort, whichever comes first. */
function until<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  return new Promise((resolve, reject) => {
    const stop = (): void => reject(new DOMException("given up", "AbortError"));
    signal.addEventListener("abort", stop, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", stop));
  });
}
