import { describe, expect, it } from "vitest";
import { formatHead, groupOf, kvHeadOf, readHead } from "../../../backend/common/heads/head.ts";
import {
  allHeads,
  asKvHeads,
  asQueryHeads,
  inverted,
  picked,
  withGroups,
  withLayers,
} from "../../../frontend/src/components/head-choice/algebra.ts";
import {
  moved,
  rank,
  rectangle,
  share,
  tableExtent,
  valueIn,
} from "../../../frontend/src/components/head-grid/grid.ts";
import { area, gridTemplates, spans } from "../../../frontend/src/components/head-grid/layout.ts";
import { layerEntries, percentile, type Search, search, topCount } from "../../../frontend/src/heads/finder/finder.ts";

const SMOL = { layers: 30, heads: 9, kvHeads: 3 };
const TABLE = [
  [0.1, 0.9, 0.3, 0.2],
  [0.5, 0.9, Number.NaN, 0],
];

describe("ranking of heads", () => {
  it("puts the highest first, ties in the order of layer and head, and what is no number last", () => {
    expect(rank(TABLE).map(({ name }) => name)).toEqual(["0.1", "1.1", "1.0", "0.2", "0.3", "0.0", "1.3", "1.2"]);
    expect(rank(TABLE).map(({ rank: place }) => place)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
  });

  it("gives the first of n the percentile 100 and the last 100 / n", () => {
    expect(percentile(1, 270)).toBe(100);
    expect(percentile(270, 270)).toBeCloseTo(100 / 270);
  });
});

describe("ranges of colours", () => {
  it("spans the finite values, from 0 where the lowest is hardly above it", () => {
    expect(tableExtent(TABLE)).toEqual([0, 0.9]);
    expect(tableExtent([[0.5, 0.9, Infinity]])).toEqual([0.5, 0.9]);
    expect(tableExtent([[0.001, 0.9]])).toEqual([0, 0.9]);
    expect(tableExtent([[Number.NaN]])).toEqual([0, 1]);
  });

  it("is as long on both sides of 0 where it diverges", () => {
    expect(tableExtent([[-0.2, 0.5]], true)).toEqual([-0.5, 0.5]);
  });

  it("places a value in it, the middle where all are the same, the ends for what lies outside", () => {
    expect([share(1, [0, 4]), share(3, [3, 3]), share(9, [0, 4]), share(-1, [0, 4])]).toEqual([0.25, 0.5, 1, 0]);
  });
});

describe("places in the grid", () => {
  it("reads LAYER.HEAD and nothing else", () => {
    expect(readHead("18.6")).toEqual({ layer: 18, head: 6 });
    for (const text of ["18", "18.", ".6", "a.b", "1.2.3", ""]) expect(readHead(text)).toBeUndefined();
    expect(valueIn(TABLE, "1.0")).toBe(0.5);
    expect(valueIn(TABLE, "7.0")).toBeUndefined();
  });

  it("takes the rectangle between two corners, whichever they are", () => {
    const all = ["1.2", "1.3", "2.2", "2.3"];
    expect(rectangle({ layer: 1, head: 2 }, { layer: 2, head: 3 })).toEqual(all);
    expect(rectangle({ layer: 2, head: 2 }, { layer: 1, head: 3 })).toEqual(all);
  });

  it("moves as the eye sees it, whichever way the layers run, and stays at the edges", () => {
    const at = { layer: 0, head: 1 };
    expect(moved(at, "ArrowRight", TABLE, "layers-down")).toEqual({ layer: 0, head: 2 });
    expect(moved(at, "ArrowRight", TABLE, "layers-across")).toEqual({ layer: 1, head: 1 });
    expect(moved(at, "ArrowDown", TABLE, "layers-across")).toEqual({ layer: 0, head: 2 });
    expect(moved(at, "ArrowUp", TABLE, "layers-down")).toEqual(at);
    expect(moved(at, "End", TABLE, "layers-down")).toEqual({ layer: 0, head: 3 });
    expect(moved(at, "PageDown", TABLE, "layers-down")).toEqual({ layer: 1, head: 1 });
    expect(moved(at, "x", TABLE, "layers-down")).toBeUndefined();
  });

  it("never gives two heads one track, and parts the groups that share a KV head", () => {
    for (const down of [true, false]) {
      const layout = { ...SMOL, groups: 3, down };
      const areas = new Set(allHeads(SMOL).map((head) => area(layout, readHead(head)!)));
      expect(areas.size).toBe(270);
      expect(spans(layout, "H").filter(({ kind }) => kind === "group")).toHaveLength(3);
    }
    const { columns } = gridTemplates({ ...SMOL, groups: 3, down: true });
    expect(columns.match(/repeat\(3, /g)).toHaveLength(3);
  });
});

describe("sets of heads", () => {
  it("knows which query heads share a KV head", () => {
    expect(kvHeadOf({ layer: 18, head: 6 }, SMOL)).toEqual({ layer: 18, head: 2 });
    expect(groupOf({ layer: 18, head: 2 }, SMOL).map(formatHead)).toEqual(["18.6", "18.7", "18.8"]);
    expect(asKvHeads(["18.6", "18.8", "17.0"], SMOL)).toEqual(["17.0", "18.2"]);
    expect(asQueryHeads(["18.2"], "kvHeads", SMOL)).toEqual(["18.6", "18.7", "18.8"]);
    expect(asQueryHeads(["18.2"], "heads", SMOL)).toEqual(["18.2"]);
  });

  it("widens to groups and layers, and turns round", () => {
    expect(withGroups(["18.7"], SMOL)).toEqual(["18.6", "18.7", "18.8"]);
    expect(withLayers(["2.1"], SMOL)).toHaveLength(9);
    const rest = inverted(["0.0", "29.8"], SMOL);
    expect(rest).toHaveLength(268);
    expect(inverted(rest, SMOL)).toEqual(["0.0", "29.8"]);
  });

  it("replaces, adds, and takes out what is wholly inside", () => {
    expect(picked(["1.1"], ["2.2"], "replace")).toEqual(["2.2"]);
    expect(picked(["1.1"], ["0.5", "1.1"], "add")).toEqual(["0.5", "1.1"]);
    expect(picked(["1.1"], ["1.1", "2.2"], "toggle")).toEqual(["1.1", "2.2"]);
    expect(picked(["1.1", "2.2"], ["1.1", "2.2"], "toggle")).toEqual([]);
  });
});

describe("finding heads", () => {
  const ranked = rank(TABLE);
  const all: Search = { text: "", layers: [0, 1], least: -Infinity, order: "highest" };
  const names = (some: Partial<Search>): string[] => search(ranked, { ...all, ...some }).map(({ name }) => name);

  it("reads a layer, a head, or a head of every layer", () => {
    expect(names({ text: "1." })).toEqual(["1.1", "1.0", "1.3", "1.2"]);
    expect(names({ text: "1" })).toEqual(names({ text: "L1" }));
    expect(names({ text: "0.2" })).toEqual(["0.2"]);
    expect(names({ text: ".1" })).toEqual(["0.1", "1.1"]);
    expect(names({ text: "0.2, 1.0" })).toEqual(["1.0", "0.2"]);
    expect(names({ text: "copy" })).toEqual([]);
  });

  it("keeps the ranks that heads have among all", () => {
    expect(search(ranked, { ...all, text: "1.0" })[0]!.rank).toBe(3);
  });

  it("filters by layer and by least value, which nothing unmeasured reaches", () => {
    expect(names({ layers: [1, 1], least: 0 })).toEqual(["1.1", "1.0", "1.3"]);
  });

  it("orders lowest first, or by place", () => {
    expect(names({ order: "lowest", least: 0 })[0]).toBe("1.3");
    expect(names({ order: "layer" })).toEqual(allHeads({ layers: 2, heads: 4 }));
  });

  it("folds stretches of layers without hits", () => {
    const found = rank([[0], [0], [1], [0], [0]]).filter(({ value }) => value > 0);
    expect(
      layerEntries(found, 5).map((entry) => (entry.kind === "hits" ? entry.layer : [entry.from, entry.to])),
    ).toEqual([[0, 1], 2, [3, 4]]);
  });

  it("tells a set that is the top N from any other", () => {
    expect(topCount(ranked, ["1.1", "0.1"])).toBe(2);
    expect(topCount(ranked, ["1.1"])).toBe(0);
    expect(topCount(ranked, [])).toBe(0);
  });
});
