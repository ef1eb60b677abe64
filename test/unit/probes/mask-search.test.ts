import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { maskFromScores } from "../../../backend/common/heads/mask.ts";
import { meaningOf } from "../../../backend/common/heads/meaning.ts";
import type { HeadScores } from "../../../backend/common/heads/scores.ts";
import { KvCache } from "../../../backend/models/cache/kv-cache.ts";
import { forward } from "../../../backend/models/forward/forward.ts";
import { loadModel } from "../../../backend/models/load.ts";
import type { Model } from "../../../backend/models/model.ts";
import { tf } from "../../../backend/runtime/tf.ts";
import { idHaystack } from "../../../probes/haystack.ts";
import { probe } from "../../../probes/index.ts";
import { searchMask } from "../../../probes/mask-search.ts";
import { needleTest } from "../../../probes/needle.ts";
import { fixture } from "../../helpers/fixtures.ts";

const WINDOW = { sink: 1, recent: 8 };
const LENGTHS = [64, 96];

describe("the smallest mask that answers", () => {
  let model: Model;
  let scores: HeadScores;
  let total = 0;
  beforeAll(async () => {
    model = await loadModel("toy-induction");
    scores = await probe(model, "induction");
    total = scores.model.layers * scores.model.kvHeads;
  });
  afterAll(() => model.dispose());

  /** The share of questions answered with so many KV heads, asked one budget after the other. */
  const rightWith = async (top: number): Promise<number> => {
    const mask = maskFromScores(scores, { top, ...WINDOW });
    const trials = await needleTest(model, { lengths: LENGTHS, depths: [0.1, 0.5, 0.9], mask });
    return trials.filter(({ full, masked }) => full.right && masked!.right).length;
  };

  test("keeps as few KV heads as the first budget at which every question is answered", async () => {
    const found = await searchMask(model, scores, { lengths: LENGTHS, ...WINDOW });
    expect(found.answered).toBe(6);
    const right = [];
    for (let top = 0; top <= total; top++) right.push(await rightWith(top));
    for (const point of found.points) expect(point.right).toBe(right[point.kvHeads]);
    expect(meaningOf(found.mask).full).toHaveLength(right.indexOf(6));
    expect(right.indexOf(6)).toBeGreaterThan(0);
    expect(right.indexOf(6)).toBeLessThan(total);
  });

  /** The loss past the window, from the logits of a prefill into a cache that drops what the mask drops. */
  const cachedLoss = (top: number): number => {
    const mask = maskFromScores(scores, { top, ...WINDOW });
    const losses = LENGTHS.flatMap((tokens) =>
      [0.1, 0.5, 0.9].map((depth) => idHaystack(model, { tokens, depth })),
    ).map(({ ids }) => {
      const cache = new KvCache(model.config, { capacity: ids.length, windows: meaningOf(mask).windows });
      const { logits, resid } = forward(model, { tokens: [ids], cache, logitsAt: "all" });
      const values = logits!.arraySync() as number[][][];
      for (const each of [logits!, resid]) each.dispose();
      cache.dispose();
      return values[0]!.slice(0, -1).map((row, t) => {
        const most = Math.max(...row);
        return most + Math.log(row.reduce((sum, x) => sum + Math.exp(x - most), 0)) - row[ids[t + 1]!]!;
      });
    });
    const all = losses.flatMap((row) => row.slice(WINDOW.sink + WINDOW.recent));
    return all.reduce((a, b) => a + b, 0) / all.length;
  };

  test("the curve ends at full attention, has the losses of a cache under each mask, and stands in the mask", async () => {
    const before = tf.memory().numTensors;
    const { points, mask } = await searchMask(model, scores, { lengths: LENGTHS, ...WINDOW });
    expect(tf.memory().numTensors).toBe(before);
    expect(points.at(-1)).toMatchObject({ kvHeads: total, right: 6 });
    for (const { kvHeads, loss } of points) expect(loss).toBeCloseTo(cachedLoss(kvHeads), 3);
    expect(points[0]!.kvHeads).toBe(0);
    expect(mask.source).toMatchObject({ rule: "top", search: { asked: 6, answered: 6, points } });
  });

  test("stops at the first budget that answers everything where it is told to", async () => {
    const { points } = await searchMask(model, scores, { lengths: [64], depths: [0.5], stop: true, ...WINDOW });
    const passing = points.filter(({ right }) => right === 1);
    expect(passing.length).toBeLessThan(points.length);
    expect(points.length).toBeLessThan(total + 1);
  });

  test("refuses texts that fit into the window, and a model that answers nothing", async () => {
    await expect(searchMask(model, scores, { lengths: [60], sink: 4, recent: 64 })).rejects.toMatchObject({
      kind: "usage",
    });
    const other = await loadModel(fixture("families/llama-gqa"));
    try {
      const own = await probe(other, "induction");
      await expect(searchMask(other, own, { lengths: [40], sink: 1, recent: 4 })).rejects.toMatchObject({
        kind: "input",
      });
    } finally {
      other.dispose();
    }
  });
});
