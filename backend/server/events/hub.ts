import { randomBytes } from "node:crypto";
import type { Events } from "../../common/api/events.ts";
import type { EventName } from "../../common/words.ts";

/** One event as it goes out; `id` is what Last-Event-ID brings back. */
export interface HubEvent {
  readonly id: string;
  readonly name: EventName;
  readonly data: unknown;
}

/** Receives every event from now on. */
export type Listener = (event: HubEvent) => void;

/** Whose a listener is, and how it is ended by the server. */
export interface Seat {
  readonly client: string;
  /** Ends the connection. */
  leave(): void;
}

/** The latest events, numbered, for those who listen and those who come back. */
export class EventHub {
  readonly #kept: HubEvent[] = [];
  readonly #most: number;
  /** In the order of their coming. */
  readonly #listeners = new Map<Listener, Seat & { readonly since: number }>();
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
    for (const listener of this.#listeners.keys()) listener(event);
  }

  /**
   * The events after one: nothing for a first visit; undefined where it is no longer kept, or another server's.
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
  listen(listener: Listener, seat: Seat): () => void {
    this.#listeners.set(listener, { ...seat, since: performance.now() });
    return () => this.#listeners.delete(listener);
  }

  /**
   * Makes room for one more listener. Where all seats are taken, the oldest listener of the client that has the most makes room; for
   * a client that has as many itself, only after its turn. So nobody keeps others out for good; a page whose connection is
   * ended comes back by itself and misses nothing.
   * @param most seats @param turn milliseconds @returns false where there is none
   */
  makeRoom(client: string, most: number, turn: number): boolean {
    if (this.#listeners.size < most) return true;
    const seats = new Map<string, number>();
    for (const { client } of this.#listeners.values()) seats.set(client, (seats.get(client) ?? 0) + 1);
    const largest = Math.max(...seats.values());
    const hasMost = seats.get(client) === largest;
    const oldest = [...this.#listeners].find(([, seat]) =>
      hasMost ? seat.client === client : seats.get(seat.client) === largest,
    );
    if (oldest === undefined) return false;
    const [listener, seat] = oldest;
    if (hasMost && performance.now() - seat.since < turn) return false;
    this.#listeners.delete(listener);
    seat.leave();
    return true;
  }
}
