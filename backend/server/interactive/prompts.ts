import { notFound } from "../http/problems.ts";

/** A prompt that was run: enough to run it again. */
export interface KnownPrompt {
  readonly model: string;
  readonly ids: readonly number[];
}

/** The latest prompts by id; those that were not asked about for longest make room. */
export class Prompts {
  readonly #known = new Map<string, KnownPrompt>();
  readonly #most: number;

  constructor(most: number) {
    this.#most = most;
  }

  put(id: string, { model, ids }: KnownPrompt): void {
    this.#known.delete(id);
    this.#known.set(id, { model, ids });
    if (this.#known.size > this.#most) this.#known.delete(this.#known.keys().next().value!);
  }

  /** @throws Refusal 404 */
  get(id: string): KnownPrompt {
    const found = this.#known.get(id);
    if (found === undefined) throw notFound(`prompt ${id} is not known here any more`, "POST /api/prompts again");
    this.put(id, found);
    return found;
  }
}
