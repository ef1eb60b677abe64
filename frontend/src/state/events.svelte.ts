import type { Events } from "../../../backend/server/api.ts";

type Listener<K extends keyof Events> = (data: Events[K]) => void;

/** What the server tells of jobs, runs and files as it happens. The browser reconnects by itself and misses nothing. */
class ServerEvents {
  /** Whether the connection stands. */
  connected = $state(false);
  readonly #listeners = new Map<keyof Events, Set<Listener<never>>>();
  #source: EventSource | undefined;

  /** Calls `listener` for every event of a name. @returns ends that */
  on<K extends keyof Events>(name: K, listener: Listener<K>): () => void {
    const set = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, set);
    set.add(listener as Listener<never>);
    this.#open();
    return () => set.delete(listener as Listener<never>);
  }

  #open(): void {
    if (this.#source !== undefined || typeof EventSource === "undefined") return;
    const source = new EventSource("/api/events");
    this.#source = source;
    source.onopen = () => {
      this.connected = true;
    };
    source.onerror = () => {
      this.connected = false;
    };
    for (const name of ["job", "run", "metrics", "checkpoint", "library", "reset"] as const)
      source.addEventListener(name, (event) => {
        const data = JSON.parse((event as MessageEvent<string>).data) as never;
        for (const listener of this.#listeners.get(name) ?? []) listener(data);
      });
  }
}

export const events = new ServerEvents();
