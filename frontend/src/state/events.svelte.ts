import type { Events } from "../../../backend/common/api/events.ts";
import { EVENTS } from "../../../backend/common/words.ts";
import { access } from "../api/access.svelte.ts";

type Listener<K extends keyof Events> = (data: Events[K]) => void;

/** Until a connection that the browser has given up is tried again, in milliseconds. */
const AGAIN = 3_000;

/** The server's news of jobs, runs and files as it happens. The browser reconnects by itself and misses nothing. */
class ServerEvents {
  /** True if the connection stands. */
  connected = $state(false);
  readonly #listeners = new Map<keyof Events, Set<Listener<never>>>();
  readonly #returns = new Set<() => void>();
  #source: EventSource | undefined;
  #lost = false;

  /** Calls `listener` for every event of a name. @returns ends that */
  on<K extends keyof Events>(name: K, listener: Listener<K>): () => void {
    const set = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, set);
    set.add(listener as Listener<never>);
    if (this.#source === undefined) this.#open();
    return () => set.delete(listener as Listener<never>);
  }

  /** Calls `listener` when a connection that was lost stands again. @returns ends that */
  onReturn(listener: () => void): () => void {
    this.#returns.add(listener);
    return () => this.#returns.delete(listener);
  }

  /** Tells that a connection that was lost stands again. */
  returned(): void {
    for (const listener of this.#returns) listener();
  }

  #open(): void {
    if (typeof EventSource === "undefined") return;
    const source = new EventSource("/api/events");
    this.#source = source;
    let heard = false;
    source.onopen = () => {
      this.connected = true;
      // Who has no Last-Event-ID to go on after cannot be told what was missed.
      if (this.#lost && !heard) this.#tell("reset", {});
      const returned = this.#lost;
      this.#lost = false;
      if (returned) this.returned();
    };
    source.onerror = () => {
      this.connected = false;
      this.#lost = true;
      if (source.readyState === EventSource.CLOSED && !access.refused) setTimeout(() => this.#open(), AGAIN);
    };
    for (const name of EVENTS)
      source.addEventListener(name, (event) => {
        const { data, lastEventId } = event as MessageEvent<string>;
        heard ||= lastEventId !== "";
        this.#tell(name, JSON.parse(data));
      });
  }

  #tell(name: keyof Events, data: unknown): void {
    for (const listener of this.#listeners.get(name) ?? []) listener(data as never);
  }
}

export const events = new ServerEvents();
