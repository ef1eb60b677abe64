import { drawIndex, runningSums } from "../../backend/common/numerics/running-sums.ts";
import type { Random } from "../../backend/common/random.ts";
import type { SentenceForm } from "./sentences.ts";

/** Chances of some states, all others have none. */
export type Belief = ReadonlyMap<number, number>;

/** States that may come next, with running sums of their chances. */
interface Branch {
  readonly states: readonly number[];
  readonly sums: Float64Array;
}

/**
 * A finite automaton that writes sentences one behind another without end, each drawn on its own. A state is a character of a text
 * of a form: it stands for that character alone, so that what comes next can be foretold exactly from what was seen.
 */
export class TextAutomaton {
  /** Character of each state [states]. */
  readonly characters: readonly string[];
  /** States with their chances at a random place of the text. */
  readonly steady: Belief;
  /** Entropy of the next character in nats, where all before it is known. */
  readonly entropyRate: number;
  readonly #next: readonly Branch[];
  readonly #places: Branch;

  /** @param forms with shares that sum to 1, of which no two draws give the same sentence, and none begins another */
  constructor(forms: readonly SentenceForm[]) {
    const characters: string[] = [];
    const visits: number[] = []; // of a sentence
    const starts = forms.map(({ share, parts }) =>
      parts.map((texts) =>
        texts.map((text) => {
          const first = characters.length;
          characters.push(...text);
          visits.push(...Array.from(text, () => share / texts.length));
          return first;
        }),
      ),
    );
    const beginnings = new Map(
      forms.flatMap(({ share }, f) => starts[f]![0]!.map((state) => [state, share / starts[f]![0]!.length] as const)),
    );
    const begin = branch(beginnings);
    const next = characters.map((_, state) => branch(new Map([[state + 1, 1]])));
    forms.forEach(({ parts }, f) => {
      parts.forEach((texts, p) => {
        const following = starts[f]![p + 1];
        const behind = following ? branch(new Map(following.map((state) => [state, 1 / following.length]))) : begin;
        texts.forEach((text, i) => {
          next[starts[f]![p]![i]! + text.length - 1] = behind;
        });
      });
    });
    const length = visits.reduce((a, b) => a + b); // mean, of a sentence
    const surprise = forms.reduce(
      (sum, { share, parts }) => sum + share * parts.reduce((own, texts) => own + Math.log(texts.length), -Math.log(share)),
      0,
    );
    this.characters = characters;
    this.steady = new Map(visits.map((visit, state) => [state, visit / length]));
    this.entropyRate = surprise / length;
    this.#next = next;
    this.#places = branch(this.steady);
  } // biome-ignore format: lines of one width

  /** A state as a text that begins anywhere finds it. */
  start(random: Random): number {
    return drawn(this.#places, random);
  }

  /** The state behind one. */
  next(state: number, random: Random): number {
    const behind = this.#next[state]!;
    return behind.states.length === 1 ? behind.states[0]! : drawn(behind, random);
  }

  /** Belief about the next state behind a character. @param belief about the state that wrote it, before it was seen */
  after(belief: Belief, character: string): Belief {
    const seen = [...belief].filter(([state]) => this.characters[state] === character);
    const total = seen.reduce((sum, [, chance]) => sum + chance, 0);
    const byBranch = new Map<Branch, number>();
    for (const [state, chance] of seen) {
      const behind = this.#next[state]!;
      byBranch.set(behind, (byBranch.get(behind) ?? 0) + chance / total);
    }
    const found = new Map<number, number>();
    for (const [{ states, sums }, share] of byBranch)
      states.forEach((state, i) => {
        found.set(state, (found.get(state) ?? 0) + share * (sums[i]! - (sums[i - 1] ?? 0)));
      });
    return found;
  }
}

function branch(chances: Belief): Branch {
  return { states: [...chances.keys()], sums: runningSums(Float64Array.from(chances.values())) };
}

function drawn({ states, sums }: Branch, random: Random): number {
  return states[drawIndex(sums, random)]!;
}
