import { describe, expect, it } from "vitest";
import { headComparisonText } from "../../../backend/cli/text/compare.ts";
import { parseScores } from "../../../backend/common/heads/scores.ts";
import { compareScores, layerProfiles, relativeDepth } from "../../../backend/heads/compare.ts";

/** Scores of a model of two heads a layer by induction. */
function scoresOf(ref: string, values: number[][], more: object = {}) {
  return parseScores(
    {
      format: "headscope.head-scores/1",
      model: { ref, layers: values.length, heads: values[0]!.length, kvHeads: 1 },
      probe: "induction",
      params: { length: 50, samples: 4 },
      seed: 0,
      metrics: { induction: { axis: "heads", values } },
      ...more,
    },
    ref,
  );
}

const SHALLOW = scoresOf("shallow", [
  [0.1, 0.3],
  [0.9, 0.2],
  [0.5, 0.7],
]);
const DEEP = scoresOf("deep", [
  [0, 0],
  [0.8, 0.1],
  [0.6, 0],
  [0, 0],
  [0, 0.2],
]);

describe("relative depth", () => {
  it("goes from 0 in the first layer to 1 in the last, whatever the number of layers", () => {
    expect([0, 1, 2].map((layer) => relativeDepth(layer, 3))).toEqual([0, 0.5, 1]);
    expect([0, 17, 29].map((layer) => relativeDepth(layer, 30))).toEqual([0, 17 / 29, 1]);
  });

  it("is 0 in a model of one layer", () => {
    expect(relativeDepth(0, 1)).toBe(0);
  });
});

describe("a layer's profile", () => {
  it("is its best head, the earlier of two as good, and the mean of its heads", () => {
    expect(
      layerProfiles([
        [0.25, 0.75],
        [0.5, 0.5],
      ]),
    ).toEqual([
      { layer: 0, depth: 0, best: 0.75, head: "0.1", mean: 0.5 },
      { layer: 1, depth: 1, best: 0.5, head: "1.0", mean: 0.5 },
    ]);
  });
});

describe("a comparison of two models", () => {
  it("places the best heads of each by depth", () => {
    const { models } = compareScores(SHALLOW, DEEP, { top: 3 });
    expect(models[0].top).toEqual([
      { head: "1.0", depth: 0.5, value: 0.9, rank: 1 },
      { head: "2.1", depth: 1, value: 0.7, rank: 2 },
      { head: "2.0", depth: 1, value: 0.5, rank: 3 },
    ]);
    expect(models[1].top.map(({ head, depth }) => [head, depth])).toEqual([
      ["1.0", 0.25],
      ["2.0", 0.5],
      ["4.1", 1],
    ]);
  });

  it("says in one sentence where they lie and what they score", () => {
    expect(compareScores(SHALLOW, DEEP, { top: 3 }).sentence).toBe(
      "The 3 best heads by induction lie at depth 0.50 to 1.00 in shallow (0.50 to 0.90) and 0.25 to 1.00 in deep (0.20 to 0.80); the best of all, 1.0 and 1.0, at 0.50 and 0.25.",
    );
    expect(compareScores(SHALLOW, DEEP, { top: 1 }).sentence).toBe(
      "The best head by induction lies at depth 0.50 in shallow (0.90) and 0.25 in deep (0.80).",
    );
  });

  it("names as many heads of each: no more than the smaller model has", () => {
    const one = scoresOf("one", [[0.5, 0.4]]);
    const { models } = compareScores(SHALLOW, one);
    expect(models.map(({ top }) => top.length)).toEqual([2, 2]);
  });

  it("does not place the heads of a model that all score the same", () => {
    const none = scoresOf("none", [
      [0, 0],
      [0, 0],
    ]);
    expect(compareScores(none, DEEP, { top: 1 }).sentence).toBe(
      "The best head by induction lies at depth 0.25 in deep (0.80); all heads of none score 0.00.",
    );
    expect(compareScores(none, none).sentence).toMatch(/^By induction no head stands out/);
  });

  it("writes KV heads with their word", () => {
    const kv = scoresOf("kv", [[0, 1]], { metrics: { induction: { axis: "kvHeads", values: [[0.5]] } } });
    const { sentence, models } = compareScores(kv, kv);
    expect(models[0].top.map(({ head }) => head)).toEqual(["KV 0.0"]);
    expect(models[0].layers[0]!.head).toBe("KV 0.0");
    expect(sentence).toMatch(/^The best KV head by induction/);
  });

  it("tells two documents of one model apart", () => {
    expect(compareScores(DEEP, DEEP, { top: 1 }).sentence).toContain(
      "in deep (first) (0.80) and 0.25 in deep (second)",
    );
  });

  it("names the parameters that differ, the seed among them, and those that only one has", () => {
    const other = scoresOf("other", [[0.1, 0.2]], { params: { length: 20, samples: 4, depth: 1 }, seed: 7 });
    expect(compareScores(SHALLOW, other).differences).toEqual([
      { name: "length", first: 50, second: 20 },
      { name: "seed", first: 0, second: 7 },
      { name: "depth", second: 1 },
    ]);
    expect(compareScores(SHALLOW, other).caveat).toContain("length 50 and 20; seed 0 and 7; depth none and 1");
    expect(compareScores(SHALLOW, DEEP)).toMatchObject({ differences: [] });
    expect(compareScores(SHALLOW, DEEP).caveat).toBeUndefined();
  });

  it("is refused for two probes, for two axes, and for a metric that one of them lacks", () => {
    const previous = scoresOf("previous", [[0, 1]], { probe: "previous-token" });
    expect(() => compareScores(SHALLOW, previous)).toThrow(expect.objectContaining({ kind: "mismatch" }));
    const kv = scoresOf("kv", [[0, 1]], { metrics: { induction: { axis: "kvHeads", values: [[1]] } } });
    expect(() => compareScores(SHALLOW, kv)).toThrow(expect.objectContaining({ kind: "mismatch" }));
    const named = scoresOf("named", [[0, 1]], { metrics: { other: { axis: "heads", values: [[0, 1]] } } });
    expect(() => compareScores(SHALLOW, named)).toThrow(expect.objectContaining({ kind: "usage" }));
    for (const top of [0, -1, 1.5])
      expect(() => compareScores(SHALLOW, DEEP, { top })).toThrow(expect.objectContaining({ kind: "usage" }));
  });
});

describe("a comparison as text", () => {
  it("has the finding, the heads side by side, tenths of the depth, and the parameters that differ", () => {
    const other = scoresOf("deep", DEEP.metrics["induction"]!.values, { params: { length: 20, samples: 4 } });
    const text = headComparisonText(compareScores(SHALLOW, other, { top: 2 }));
    expect(text).toContain("The 2 best heads by induction");
    expect(text).toMatch(/1 +1\.0 +0\.50 +0\.900 +1\.0 +0\.25 +0\.800/);
    expect(text).toMatch(/0\.2 to 0\.3 +– +– +0\.800 +0\.450/); // layer 1 of 5, no layer of 3
    expect(text).toMatch(/0\.9 to 1\.0 +0\.700 +0\.600 +0\.200 +0\.100/);
    expect(text).toContain("length 50 and 20");
  });
});
