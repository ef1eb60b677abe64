import type { Random } from "../../backend/common/random.ts";
import type { RegressionPrompts } from "../learners/prompts.ts";

/** Functions of an input, of which others are weighted sums. */
export interface Basis {
  /** Number of them. */
  readonly size: number;
  /** Writes their values at x. @param x [d] @param features [size] */
  write(x: ArrayLike<number>, features: Float64Array): void;
}

/** A family of functions y = w · φ(x) + noise; weights and noise are normal and independent. */
export interface FunctionFamily {
  readonly name: string;
  readonly basis: Basis;
  /** Mean of each weight [size]. */
  readonly mean: Float64Array;
  /** Standard deviation of each weight [size]; a weight of deviation 0 is its mean. */
  readonly deviation: Float64Array;
  /** Standard deviation of the noise of y, above 0. */
  readonly sigma: number;
}

/** Families and the probability with which a prompt's function is of each; these sum to 1. */
export type Mixture = readonly { readonly family: FunctionFamily; readonly share: number }[];

/** The numbers of x themselves. */
export function linearBasis(d: number): Basis {
  return {
    size: d,
    write(x, features) {
      for (let j = 0; j < d; j++) features[j] = x[j]!;
    },
  };
}

/** 1/2, then cos and sin of k π x / half, for k = 1 … degree, of a single number x. @param half of the period */
export function fourierBasis(degree: number, half: number): Basis {
  return {
    size: 2 * degree + 1,
    write(x, features) {
      features[0] = 0.5;
      for (let k = 1; k <= degree; k++) {
        const angle = (k * Math.PI * x[0]!) / half;
        features[2 * k - 1] = Math.cos(angle);
        features[2 * k] = Math.sin(angle);
      }
    },
  };
}

/** Products of two numbers of x. @param pairs places of both, which may be one */
export function monomialBasis(pairs: readonly (readonly [number, number])[]): Basis {
  return {
    size: pairs.length,
    write(x, features) {
      pairs.forEach(([i, j], at) => {
        features[at] = x[i]! * x[j]!;
      });
    },
  };
}

/** A family whose weights all have one deviation, around 0. */
export function centredFamily(
  name: string,
  basis: Basis,
  { tau, sigma }: { tau: number; sigma: number },
): FunctionFamily {
  const { size } = basis;
  return { name, basis, sigma, mean: new Float64Array(size), deviation: new Float64Array(size).fill(tau) };
}

/** Families of one probability each. */
export function evenMixture(families: readonly FunctionFamily[]): Mixture {
  return families.map((family) => ({ family, share: 1 / families.length }));
}

/** Prompts, and what their functions are. */
export interface FamilyPrompts extends RegressionPrompts {
  /** Place of each row's family in the mixture [rows]. */
  readonly families: Int32Array;
  /** Weights of each row's function, by row [size of its basis]. */
  readonly weights: readonly Float64Array[];
}

/** A law that inputs are drawn from: it fills them, independently of each other. */
export type InputLaw = (random: Random, x: Float32Array) => void;

/** Draws prompts of a mixture's functions. @param inputs law of x @param size `dimension` is the length of an x */
export function drawPrompts(
  mixture: Mixture,
  inputs: InputLaw,
  { rows, examples, dimension: d }: { rows: number; examples: number; dimension: number },
  random: Random,
): FamilyPrompts {
  const x = new Float32Array(rows * examples * d);
  const y = new Float32Array(rows * examples);
  const families = new Int32Array(rows);
  inputs(random, x);
  const weights = Array.from({ length: rows }, (_, row) => {
    const place = drawn(mixture, random.uniform());
    families[row] = place;
    const { basis, mean, deviation, sigma } = mixture[place]!.family;
    const w = mean.map((value, j) => value + deviation[j]! * random.normal());
    const features = new Float64Array(basis.size);
    for (let at = row * examples; at < (row + 1) * examples; at++) {
      basis.write(x.subarray(at * d, (at + 1) * d), features);
      y[at] = features.reduce((sum, value, j) => sum + value * w[j]!, sigma * random.normal());
    }
    return w;
  });
  return { rows, examples, x, y, families, weights };
}

/** Place of the family that a uniform number falls to. */
function drawn(mixture: Mixture, uniform: number): number {
  let sum = 0;
  const place = mixture.findIndex(({ share }) => {
    sum += share;
    return uniform < sum;
  });
  return place < 0 ? mixture.length - 1 : place;
}
