import type { PromptAttention } from "../../../../models/cache/prompt-attention.ts";
import type { AttentionChoice, AttentionReader, AttentionStep } from "../../../../models/cache/reader.ts";
import { tf } from "../../../../runtime/tf.ts";
import type { Eviction } from "./eviction.ts";

/** Number added to the score of a key that is not seen. */
const UNSEEN = -1e9;

/** A policy at work within a prompt, which is one forward: what it lets go in a layer no later token of the prompt sees. */
export class PromptFlags implements AttentionReader {
  readonly #eviction: Eviction;
  /** Of the layer surveyed last, by KV head the places that go. */
  #gone: readonly (readonly number[])[] = [];

  constructor(eviction: Eviction) {
    this.#eviction = eviction;
  }

  reaches(): boolean {
    return true;
  }

  survey(prompt: PromptAttention): boolean {
    this.#gone = this.#eviction.foresee(prompt);
    return this.#gone.some((places) => places.length > 0);
  }

  choose({ tokens: { starts, tokens } }: AttentionStep): AttentionChoice {
    const columns = starts[0]! + tokens;
    const unseen = new Float32Array(this.#gone.length * columns);
    this.#gone.forEach((places, head) => {
      for (const place of places) if (place < columns) unseen[head * columns + place] = UNSEEN;
    });
    return { behind: tf.tensor2d(unseen, [this.#gone.length, columns]) };
  }
}
