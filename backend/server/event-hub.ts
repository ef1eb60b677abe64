import { randomBytes } from "node:crypto";
import type { Events } from "./api.ts";

/** One event as it goes out; `id` is what Last-Event-ID brings back. */
export interface HubEvent {
  readonly id: string;
  readonly name: keyof Events;
  readonly data: unknown;
}

/** Receives every event from now on. */
export type Listener = (event: HubEvent) => void;

/** The latest events, numbered, for those who listen and those who come back. */
export class EventHub {
  readonly #kept: HubEvent[] = [];
  readonly #most: number;
  readonly #listeners = new Set<Listener>();
  /** Tells this server's numbers from those of one before it. */
  readonly #life = randomBytes(4).toString("hex");
  #count = 0;

  /** @param most events that are kept */
  constructor(most: number) {
    this.#most = most;
  }

  get listeners(): number {
    return this.#listeners.size;
  }

  emit<K extends keyof Events>(name: K, data: Events[K]): void {
    const event = { id: `${this.#life}-${++this.#count}`, name, data };
    this.#kept.push(event);
    if (this.#kept.length > this.#most) this.#kept.shift();
    for (const listener of this.#listeners) listener(event);
  }

  /**
   * What was missed since an event: nothing for a first visit; undefined where it is no longer kept, or another server's.
   * @param last Last-Event-ID
   */
  since(last: string | undefined): readonly HubEvent[] | undefined {
    if (last === undefined || last === "") return [];
    const [life, number] = last.split("-");
    const seen = Number(number);
    const missed = this.#count - seen;
    if (life !== this.#life || !Number.isInteger(seen) || missed < 0 || missed > this.#kept.length) return undefined;
    return missed === 0 ? [] : this.#kept.slice(-missed);
  }

  /** The number of the last event: where one who has just read everything goes on from. */
  get last(): string {
    return `${this.#life}-${this.#count}`;
  }

  /** @returns ends it */
  listen(listener: Listener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
