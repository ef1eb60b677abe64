/** Room that a `Recent` has; a limit that is left out is none. */
export interface RecentOptions<V> {
  /** Entries at most. */
  readonly entries?: number;
  /** Bytes at most. */
  readonly bytes?: number;
  /** Bytes of a value, default 0. */
  readonly size?: (value: V) => number;
  /** Frees a value that makes room or is removed. */
  readonly free?: (value: V) => void;
}

/**
 * Values by key of which those used least recently make room for new ones. The value used last stays whatever it takes, and so
 * do those that somebody holds.
 */
export class Recent<V extends object> {
  readonly #room: RecentOptions<V>;
  /** The one used last at the end. */
  readonly #values = new Map<string, V>();
  /** Number of those who hold a value. */
  readonly #holders = new Map<V, number>();
  #bytes = 0;

  constructor(room: RecentOptions<V>) {
    this.#room = room;
  }

  /** Bytes of all values. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Number of values. */
  get size(): number {
    return this.#values.size;
  }

  /** All values, the one used last at the end. */
  values(): V[] {
    return [...this.#values.values()];
  }

  /** Says that there is a value of this key, without using it. */
  has(key: string): boolean {
    return this.#values.has(key);
  }

  /** Uses the value of a key; undefined where there is none. */
  get(key: string): V | undefined {
    const value = this.#values.get(key);
    if (value !== undefined) this.#touch(key, value);
    return value;
  }

  /** Uses the value of a key, made where there is none. */
  obtain(key: string, make: () => V): V {
    return this.get(key) ?? this.set(key, make());
  }

  /** Takes a value over in place of the key's own, and makes room for it. @returns the value */
  set(key: string, value: V): V {
    if (this.#values.get(key) !== value) {
      this.#remove(key);
      this.#bytes += this.#sizeOf(value);
    }
    this.#touch(key, value);
    this.#makeRoom();
    return value;
  }

  /** Keeps all that is here now until the returned function is called, however much is used meanwhile. */
  hold(): () => void {
    const held = [...this.#values];
    for (const [, value] of held) this.#holders.set(value, (this.#holders.get(value) ?? 0) + 1);
    return () => {
      for (const [key, value] of held) {
        const others = this.#holders.get(value)! - 1;
        if (others > 0) this.#holders.set(value, others);
        else this.#holders.delete(value);
        // Used last again, so that what came meanwhile makes room first.
        if (this.#values.get(key) === value) this.#touch(key, value);
      }
      this.#makeRoom();
    };
  }

  /** Removes and frees all values, or those whose key starts with `prefix`. */
  clear(prefix = ""): void {
    for (const key of [...this.#values.keys()]) if (key.startsWith(prefix)) this.#remove(key);
  }

  #sizeOf(value: V): number {
    return this.#room.size?.(value) ?? 0;
  }

  #touch(key: string, value: V): void {
    this.#values.delete(key);
    this.#values.set(key, value);
  }

  #remove(key: string): void {
    const value = this.#values.get(key);
    if (value === undefined) return;
    this.#values.delete(key);
    this.#bytes -= this.#sizeOf(value);
    this.#room.free?.(value);
  }

  #makeRoom(): void {
    const { entries = Number.POSITIVE_INFINITY, bytes = Number.POSITIVE_INFINITY } = this.#room;
    const [...others] = this.#values.keys();
    others.pop();
    for (const key of others) {
      if (this.#values.size <= entries && this.#bytes <= bytes) return;
      if (!this.#holders.has(this.#values.get(key)!)) this.#remove(key);
    }
  }
}
