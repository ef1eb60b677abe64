import type { Random } from "../../backend/common/random.ts";

/** Knowledge of a bandit: by arm, in the order in which the arms were announced. */
export interface Counts {
  readonly pulls: readonly number[];
  /** Sums of rewards, each 0 or 1. */
  readonly rewards: readonly number[];
}

/** A rule by which the next arm is chosen. @returns its place */
export type Agent = (counts: Counts, random: Random) => number;

/** Upper confidence bounds: the arm with the largest mean + sqrt(alpha ln t / pulls), arms that were never pulled first; ties go to the first. */
export function ucb(alpha: number): Agent {
  return ({ pulls, rewards }) => {
    const total = Math.log(Math.max(1, sum(pulls)));
    return largest(pulls.map((n, arm) => (n === 0 ? Infinity : rewards[arm]! / n + Math.sqrt((alpha * total) / n))));
  };
}

/** The arm with the largest mean, after a pull of each. */
export const greedy: Agent = ucb(0);

/** An agent that pulls any arm now and then. @param share of such pulls */
export function distracted(agent: Agent, share: number): Agent {
  return (counts, random) => (random.uniform() < share ? uniform(counts, random) : agent(counts, random));
}

/** The best arm of a bandit drawn from the posterior, which is a Beta law for each arm, uniform before the first pull. */
export const thompson: Agent = ({ pulls, rewards }, random) =>
  largest(pulls.map((n, arm) => beta(random, rewards[arm]! + 1, n - rewards[arm]! + 1)));

/** Any arm. */
export const uniform: Agent = ({ pulls }, random) => random.integer(0, pulls.length);

function largest(values: readonly number[]): number {
  return values.indexOf(Math.max(...values));
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

/** A number of the Beta law of two whole numbers. */
function beta(random: Random, a: number, b: number): number {
  const [x, y] = [gamma(random, a), gamma(random, b)];
  return x / (x + y);
}

/** A number of the Gamma law of a whole number: so many waiting times. */
function gamma(random: Random, shape: number): number {
  return sum(Array.from({ length: shape }, () => -Math.log(1 - random.uniform())));
}
