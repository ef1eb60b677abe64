import type { Random } from "../../backend/common/random.ts";
import type { Counts } from "./agents.ts";

/** A Bernoulli bandit. */
export interface Bandit {
  /** Names of its arms, in the order in which they are announced. */
  readonly names: readonly number[];
  /** Place of the arm that pays most often. */
  readonly best: number;
  /** Probability of a reward, by place. */
  readonly means: readonly number[];
}

/** Draws a bandit. @param names that arms can have @param gap between the best arm's probability and the others' @param arms at most as many as names */
export function drawBandit({ names, gap }: { names: number; gap: number }, random: Random, arms: number): Bandit {
  const best = random.integer(0, arms);
  return {
    names: [...random.permutation(names).slice(0, arms)],
    best,
    means: Array.from({ length: arms }, (_, arm) => (1 + (arm === best ? gap : -gap)) / 2),
  };
}

const FILLER = 0;
const START = 1;
const FIRST_NAME = 2;

/** A bandit as it is played, and its history as a model reads it: filler, the arms' names, a start, and a token for each pull with its reward. */
export class Episode {
  readonly bandit: Bandit;
  readonly #names: number;
  readonly #tokens: number[];
  readonly #pulls: number[];
  readonly #rewards: number[];

  constructor(bandit: Bandit, { names, arms_beyond }: { names: number; arms_beyond: number }) {
    const arms = bandit.names.length;
    this.bandit = bandit;
    this.#names = names;
    this.#tokens = [
      ...new Array<number>(arms_beyond - arms).fill(FILLER),
      ...bandit.names.map((name) => FIRST_NAME + name),
      START,
    ];
    this.#pulls = new Array<number>(arms).fill(0);
    this.#rewards = new Array<number>(arms).fill(0);
  }

  /** Token ids of histories. @param names that arms can have */
  static vocabulary(names: number): number {
    return FIRST_NAME + 3 * names;
  }

  /** A token in words: "arm 3", "3 pays", "3 fails"; empty of filler. */
  static word(token: number, names: number): string {
    if (token === FILLER) return "";
    if (token === START) return "|";
    const outcome = token - FIRST_NAME - names;
    if (outcome < 0) return `arm ${token - FIRST_NAME}`;
    return `${outcome >> 1} ${outcome % 2 === 1 ? "pays" : "fails"},`;
  }

  /** [arms_beyond + 1 + pulls] */
  get tokens(): readonly number[] {
    return this.#tokens;
  }

  get counts(): Counts {
    return { pulls: this.#pulls, rewards: this.#rewards };
  }

  /** Pulls an arm. @param arm its place @returns how much more the best arm pays on average */
  pull(arm: number, random: Random): number {
    const { means, names, best } = this.bandit;
    const reward = random.uniform() < means[arm]! ? 1 : 0;
    this.#pulls[arm]!++;
    this.#rewards[arm]! += reward;
    this.#tokens.push(FIRST_NAME + this.#names + 2 * names[arm]! + reward);
    return means[best]! - means[arm]!;
  }
}
