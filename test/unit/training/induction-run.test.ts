import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ablate } from "../../../backend/circuits/ablation/ablate.ts";
import type { Pair } from "../../../backend/circuits/pairs.ts";
import { patchPaths } from "../../../backend/circuits/patching/path.ts";
import type { Head } from "../../../backend/common/heads/head.ts";
import { mainMetric, ranking } from "../../../backend/common/heads/metric.ts";
import type { PathEnd } from "../../../backend/common/patching.ts";
import { Random } from "../../../backend/common/random.ts";
import { loadModel } from "../../../backend/models/load.ts";
import type { Model } from "../../../backend/models/model.ts";
import { probeMany } from "../../../probes/index.ts";
import { fixture } from "../../helpers/fixtures.ts";

const RUN = fixture("runs/induction.safetensors");

/** Rows BOS r r cut off within the second r; the corrupt side has another token before the answer in the first r. */
function pairs(count: number): Pair[] {
  const random = new Random(11);
  return Array.from({ length: count }, () => {
    const order = random.permutation(47).map((id) => id + 1);
    const [first, spare] = [order.slice(0, 16), order.slice(16)];
    const at = random.integer(4, 12);
    const clean = [0, ...first, ...first.slice(0, at + 1)];
    const corrupt = clean.map((id, i) => (i === at + 1 ? spare[0]! : id));
    return { clean, corrupt, answer: first[at + 1]!, wrong: spare[1]! };
  });
}

let model: Model;
let induction: Head[];
let previous: Head[];
beforeAll(async () => {
  model = await loadModel(RUN);
  const scores = await probeMany(model, ["induction", "previous-token"]);
  [induction, previous] = [ranking(scores[0]!), ranking(scores[1]!)];
  expect(scores.map((s) => Math.max(...mainMetric(s).values.flat()) > 0.5)).toEqual([true, true]);
});
afterAll(() => model.dispose());

describe("a trained induction run", () => {
  it("has its previous-token head in the first layer and its induction heads in the second", () => {
    expect(previous[0]!.layer).toBe(0);
    expect(induction.slice(0, 2).map(({ layer }) => layer)).toEqual([1, 1]);
  });

  it("composes them by keys: what the previous-token head writes there brings the answer back", async () => {
    const into = induction.slice(0, 2);
    const restored = async (through: PathEnd): Promise<number[]> => {
      const { clean, corrupt, patched } = await patchPaths(model, { pairs: pairs(24), into, through });
      expect(clean - corrupt).toBeGreaterThan(3);
      return patched[0]!.map((value) => (value - corrupt) / (clean - corrupt));
    };
    const [q, k, v] = [await restored("q"), await restored("k"), await restored("v")];
    const best = previous[0]!.head;
    expect(k.indexOf(Math.max(...k))).toBe(best);
    expect(k[best]).toBeGreaterThan(0.3);
    for (const through of [q, v]) expect(Math.max(...through.map(Math.abs))).toBeLessThan(k[best]! / 3);
  });

  it("needs its induction heads: without them the second copy is no better than chance", async () => {
    const random = new Random(3);
    const half = random
      .permutation(47)
      .map((id) => id + 1)
      .slice(0, 20);
    const tokens = [[0, ...half, ...half]];
    const { clean, ablated } = await ablate(model, {
      tokens,
      heads: induction.slice(0, 2),
      method: "zero",
      controls: 0,
    });
    const second = (nll: number[][]): number => nll[0]!.slice(-18).reduce((a, b) => a + b, 0) / 18;
    expect(second(clean.nll)).toBeLessThan(1);
    expect(second(ablated.nll)).toBeGreaterThan(Math.log(47) - 0.5);
  });
});
