import { describe, expect, it } from "vitest";
import type { Forwards } from "../../../backend/inference/forwards.ts";
import { readPrompts } from "../../../backend/inference/reading.ts";
import type { Sequence } from "../../../backend/inference/run/options.ts";
import type { KvCache } from "../../../backend/models/cache/kv-cache.ts";

/** Stands in for a model: notes what is read into caches of nothing but tokens. */
class Notes {
  readonly reads: string[] = [];
  open = 0;
  readonly #whole: boolean;
  readonly #prefix: string;

  constructor({ whole = false, prefix = "" } = {}) {
    this.#whole = whole;
    this.#prefix = prefix;
  }

  get forwards(): Forwards {
    const finish = async ({ prompt }: Sequence, cache: KvCache): Promise<Float32Array> => {
      const held = cache as unknown as { text: string };
      const text = textOf(prompt);
      expect(text.startsWith(held.text)).toBe(true);
      this.reads.push(text.slice(held.text.length));
      held.text = text;
      return Float32Array.of(text.length);
    };
    const parts = { readsApart: this.#whole, begin: () => this.#cache(this.#prefix), finish, turn: async () => {} };
    return parts as unknown as Forwards;
  }

  #cache(text: string): KvCache {
    this.open++;
    const cache = {
      text,
      get seen() {
        return [cache.text.length];
      },
      fork: () => this.#cache(cache.text),
      dispose: () => this.open--,
    };
    return cache as unknown as KvCache;
  }
}

const idsOf = (text: string): number[] => [...text].map((letter) => letter.charCodeAt(0));
const textOf = (ids: readonly number[]): string => String.fromCharCode(...ids);
const LONG = "the beginning of a story";
const LONGER = `${LONG} and what comes after it`;

async function readsOf(texts: readonly string[], notes: Notes, logits?: Float32Array): Promise<string[]> {
  const sequences = texts.map((text, number) => ({ number, prompt: idsOf(text), maxTokens: 1, all: [] }));
  const read = await readPrompts(notes.forwards, sequences, logits);
  expect(read.map(({ cache }) => (cache as unknown as { text: string }).text)).toEqual(texts);
  expect(read.map(({ logits }) => logits[0])).toEqual(texts.map((text) => text.length));
  expect(notes.open).toBe(texts.length);
  return notes.reads;
}

describe("the reading of prompts", () => {
  it.each<[string, string[], string[]]>([
    ["of one", [LONG], [LONG]],
    ["that share a beginning reads it once", [`${LONG}!`, `${LONG}?`, "no"], [LONG, "!", "?", "no"]],
    ["of which one is another's beginning", [LONGER, LONG], [LONG, LONGER.slice(LONG.length)]],
    ["that are the same", [LONG, LONG, LONG], [LONG]],
    ["that share more and more", [`${LONGER}1`, `${LONGER}2`, `${LONG}.`], [LONG, LONGER.slice(LONG.length), "1", "2", "."]],
    ["that share too little for a run of its own", ["abc", "abd", "abe"], ["abc", "abd", "abe"]],
  ])("%s", async (_, texts, reads) => {
    expect(await readsOf(texts, new Notes())).toEqual(reads);
  }); // biome-ignore format: a table

  it("reads nothing of a prefix", async () => {
    const notes = new Notes({ prefix: LONG });
    const logits = Float32Array.of(LONG.length);
    expect(await readsOf([`${LONG}!`, LONG, `${LONG}?`], notes, logits)).toEqual(["!", "?"]);
  });

  it("reads each whole where somebody looks", async () => {
    expect(await readsOf([`${LONG}!`, LONG], new Notes({ whole: true }))).toEqual([`${LONG}!`, LONG]);
  });
});
