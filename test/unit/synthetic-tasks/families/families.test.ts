import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { Random } from "../../../../backend/common/random.ts";
import {
  type Basis,
  fourierBasis,
  linearBasis,
  type Mixture,
  monomialBasis,
} from "../../../../synthetic-tasks/families/family.ts";
import { MixturePosterior } from "../../../../synthetic-tasks/families/posterior.ts";
import { tasks } from "../../../../synthetic-tasks/index.ts";
import { RidgePosterior } from "../../../../synthetic-tasks/learners/ridge.ts";

type BasisDocument = ["linear", number] | ["fourier", [number, number]] | ["monomials", [number, number][]];
interface Case {
  name: string;
  drawn: number;
  dimension: number;
  mixture: { basis: BasisDocument; mean: number[]; deviation: number[]; sigma: number; share: number }[];
  x: number[];
  y: number[];
  means: number[];
  variances: number[];
  shares: number[][];
}
const oracle = JSON.parse(
  readFileSync(new URL("../../../oracles/function_families.json", import.meta.url), "utf8"),
) as { cases: Case[] };

function basisOf(document: BasisDocument): Basis {
  if (document[0] === "linear") return linearBasis(document[1]);
  if (document[0] === "fourier") return fourierBasis(...document[1]);
  return monomialBasis(document[1]);
}

const mixtureOf = ({ mixture }: Case): Mixture =>
  mixture.map(({ basis, mean, deviation, sigma, share }, f) => ({
    share,
    family: {
      ...{ name: String(f), basis: basisOf(basis), sigma },
      ...{ mean: Float64Array.from(mean), deviation: Float64Array.from(deviation) },
    },
  }));

describe("Bayes' predictor for a mixture", () => {
  it.each(oracle.cases)("has NumPy's mean, variance and shares to 1e-6 ($name, family $drawn)", (one) => {
    const posterior = new MixturePosterior(mixtureOf(one));
    one.y.forEach((y, i) => {
      const x = one.x.slice(i * one.dimension, (i + 1) * one.dimension);
      const { mean, variance } = posterior.at(x);
      expect(Math.abs(mean - one.means[i]!)).toBeLessThan(1e-6);
      expect(Math.abs(variance - one.variances[i]!)).toBeLessThan(1e-6);
      posterior.shares.forEach((share, f) => {
        expect(Math.abs(share - one.shares[i]![f]!)).toBeLessThan(1e-6);
      });
      posterior.observe(x, y);
    });
  });

  it("of one family with weights around 0 is ridge regression", () => {
    const mixture = mixtureOf({ ...oracle.cases.at(-1)!, mixture: [oracle.cases.at(-1)!.mixture[1]!] });
    const [{ family }] = mixture as [Mixture[number]];
    const bayes = new MixturePosterior([{ family, share: 1 }]);
    const ridge = new RidgePosterior(2, { sigma: 0.5, tau: 1.5 });
    for (const [x, y] of [[[1, 2], 3], [[-1, 0.5], 0], [[0.2, 0.1], 1]] as const) {
      expect(bayes.predict(x)).toBeCloseTo(ridge.predict(x), 12);
      expect(bayes.at(x).variance).toBeCloseTo(ridge.variance(x), 12);
      bayes.observe(x, y);
      ridge.observe(x, y);
    }
  }); // biome-ignore format: pairs

  it("keeps its shares where every density is too small for a number", () => {
    const far = mixtureOf(oracle.cases[0]!);
    const posterior = new MixturePosterior(far);
    for (let i = 0; i < 200; i++) posterior.observe([10, 0, 0], 40);
    expect(posterior.shares[0]).toBeCloseTo(1, 12);
    expect(Number.isFinite(posterior.predict([1, 1, 1]))).toBe(true);
  });
});

const NAMES = ["gaussian-weights", "fourier-series", "monomials", "discrete-weights", "noise-levels"];

describe.each(NAMES)("prompts of %s", (name) => {
  const task = tasks.get(name);
  const params = tasks.parse(name);
  const { input, output } = task.shape(params);
  const d = input.kind === "vectors" ? input.width : 0;
  const positions = 2 * (params["examples"] as number) - 1;

  it.each(Object.keys(task.evaluations))("have the mean of y² that chance says (%s)", (split) => {
    // Over many worlds: what a run draws once is a part of it.
    const squares: number[] = [];
    for (let seed = 0; seed < 200; seed++) {
      const drawn = task.evaluations[split]!.sample(task.world(params, seed), params, new Random(seed), 40);
      let sum = 0;
      drawn.values!.forEach((y) => {
        sum += y ** 2;
      });
      squares.push(sum / (40 * (params["examples"] as number)));
    }
    const mean = squares.reduce((a, b) => a + b) / squares.length;
    const error = Math.sqrt(squares.reduce((sum, s) => sum + (s - mean) ** 2, 0)) / squares.length;
    const { loss } = task.evaluations[split]!.chance!(params);
    const power = output.kind === "gaussian" ? Math.exp(2 * loss! - 1) / (2 * Math.PI) : loss!;
    expect(Math.abs(mean - power)).toBeLessThan(4 * error);
  });

  it("are x, y, x, … and their functions are learned by the reference as far as the noise", () => {
    const world = task.world(params, 1);
    const rows = 300;
    const { inputs, values, weights } = task.sample(world, params, new Random(4), rows);
    for (let t = 0; t < positions; t++) {
      expect(weights[t]).toBe(t % 2 === 0 ? 1 : 0);
      const y = values![t - 1]!;
      if (t % 2 === 1) expect([...inputs!.subarray(t * d, (t + 1) * d)]).toEqual([y, ...Array(d - 1).fill(0)]);
    }
    const width = output.kind === "gaussian" ? 2 : 1;
    const predicted = task.reference!.predict(world, params, task.sample(world, params, new Random(4), rows));
    const errorAt = (t: number) => {
      let sum = 0;
      for (let row = 0; row < rows; row++)
        sum += (values![row * positions + t]! - predicted[(row * positions + t) * width]!) ** 2 / rows;
      return sum;
    };
    expect(errorAt(positions - 1)).toBeLessThan(0.35 * errorAt(0));
  });
});

it.each([
  ["monomials", { dimension: 2, terms: 3 }, ["terms", "dimension"]],
  ["monomials", { dimension: 2, terms: 1, bases: 3 }, ["bases", "terms", "dimension"]],
  ["noise-levels", { shown: 17 }, ["shown", "examples"]],
])("%s refuses %o", (name, raw, field) => {
  expect(() => tasks.get(name).check(tasks.parse(name, raw))).toThrow(
    expect.objectContaining({ kind: "usage", field }),
  );
});

it("monomials of evaluation beyond are none of the sets of training", () => {
  const task = tasks.get("monomials");
  for (let seed = 0; seed < 20; seed++) {
    const { training, beyond } = task.world(tasks.parse("monomials", { bases: 14 }), seed) as Record<string, Mixture>;
    const names = training!.map(({ family }) => family.name);
    expect(new Set(names).size).toBe(14);
    expect(names).not.toContain(beyond![0]!.family.name);
  }
});

it("noise-levels counts the pairs that training shows, and none behind them", () => {
  const params = tasks.parse("noise-levels", { examples: 6, shown: 2 });
  const task = tasks.get("noise-levels");
  expect([...task.sample(task.world(params, 0), params, new Random(0), 1).weights]).toEqual([
    1,
    0,
    1,
    ...Array(8).fill(0),
  ]);
  const whole = task.evaluations["in-context"]!.sample(task.world(params, 0), params, new Random(0), 1);
  expect(whole.weights.filter((weight) => weight === 1)).toHaveLength(6);
});
