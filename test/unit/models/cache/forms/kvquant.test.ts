import { describe, expect, it } from "vitest";
import { outliersOf, weightedMeans } from "../../../../../backend/models/cache/forms/kvquant.ts";
import { turnBack } from "../../../../../backend/models/cache/forms/rotation.ts";
import { drawnInput, policyDefinitions } from "../../../../helpers/oracles/policies.ts";

const { seed, sections } = policyDefinitions();

describe("levels of KVQuant", () => {
  it("are those of the weighted k-means of its definition in NumPy", () => {
    const section = sections["kvquant"]!;
    const { bits, outliers } = section.parameters as { bits: number; outliers: number };
    for (const [name, axis] of [["keys", 1], ["values", 2]] as const) {
      const [G, T, d] = section.inputs[name]!.shape as [number, number, number];
      const x = drawnInput(section.inputs[name]!, seed);
      const f = drawnInput(section.inputs[`f_${name}`]!, seed);
      const [numbers, weights]: [number[], number[]] = [[], []];
      // The first token is in no vector: a channel's tokens, or a token's channels.
      const vectors = Array.from({ length: G }, (_, g) => {
        const index = (t: number, i: number) => (g * T + t) * d + i;
        return axis === 1
          ? Array.from({ length: d }, (_, i) => Array.from({ length: T - 1 }, (_, t) => index(t + 1, i)))
          : Array.from({ length: T - 1 }, (_, t) => Array.from({ length: d }, (_, i) => index(t + 1, i)));
      }).flat();
      for (const vector of vectors) {
        const each = outliersOf(outliers, vector.length);
        const inside = vector.toSorted((a, b) => x[a]! - x[b]!).slice(each, -each);
        const [low, high] = [x[inside[0]!]!, x[inside.at(-1)!]!];
        for (const at of inside) {
          numbers.push((x[at]! - (low + high) / 2) / ((high - low) / 2));
          weights.push(f[at]! ** 2);
        }
      }
      const { levels } = section[name] as { levels: number[] };
      weightedMeans(numbers, weights, 2 ** bits).forEach((level, i) => {
        expect(level).toBeCloseTo(levels[i]!, 5);
      });
    }
  }); // biome-ignore format: a table

  it("of few numbers are these, and of none 0", () => {
    expect(weightedMeans([3, 1, 1, 3], undefined, 2)).toEqual([1, 3]);
    expect(weightedMeans([], undefined, 4)).toEqual([0, 0, 0, 0]);
  });
});

describe("a key turned back", () => {
  it("is what it was before the rotation, also where the rotation stretches it", () => {
    const keys = Float32Array.of(3 * Math.cos(0.7) * 1.5, 9, 3 * Math.sin(0.7) * 1.5, 4);
    const numbers = Float32Array.of(0, 0, 0, 0, 1.5 * Math.cos(0.7), 1.5, 1.5 * Math.sin(0.7), 0);
    turnBack(keys, [1], { rotary: 4, numbers });
    expect([...keys].map((x) => Math.round(x * 1e5) / 1e5)).toEqual([3, 6, 0, 2.66667]);
  });
});
