/** Documents of a server's library by id, each read when somebody wants it first: they are large. */
export class Documents<T> {
  #values = $state.raw<ReadonlyMap<string, T>>(new Map());
  readonly #read: (id: string) => Promise<T>;
  /** Ids whose reading was begun. */
  readonly #requested = new Set<string>();

  /** @param read fetches a document; one that could not be fetched is tried again when it is wanted again */
  constructor(read: (id: string) => Promise<T>) {
    this.#read = read;
  }

  /** A document; undefined until it is here. */
  get(id: string): T | undefined {
    if (!this.#requested.has(id)) {
      this.#requested.add(id);
      this.#read(id).then(
        (document) => {
          this.#values = new Map([...this.#values, [id, document]]);
        },
        () => this.#requested.delete(id),
      );
    }
    return this.#values.get(id);
  }

  /** Has a document, or all of them, read anew when they are wanted next; until then they stay. */
  renew(id?: string): void {
    if (id === undefined) this.#requested.clear();
    else this.#requested.delete(id);
  }
}
