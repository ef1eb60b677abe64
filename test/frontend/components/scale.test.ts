import { flushSync, mount } from "svelte";
import { afterEach, describe, expect, it } from "vitest";
import type { Definitions } from "../../../backend/common/api/definitions.ts";
import GridLegend from "../../../frontend/src/components/head-grid/GridLegend.svelte";
import { rank, ranksByName, rankText } from "../../../frontend/src/components/head-grid/grid.ts";
import { metricScale, nothingFound } from "../../../frontend/src/components/head-metrics/scale.ts";
import { figure, isSentence, like } from "../../../frontend/src/format.ts";

const definitions = {
  probes: [{ name: "induction", meanings: { induction: { meaning: "share of attention", range: [0, 1] } } }],
} as unknown as Definitions;
const metric = { probe: "induction", name: "induction" };

afterEach(() => document.body.replaceChildren());

function legendOf(props: { range: readonly [number, number]; chance: number }): HTMLElement {
  const target = document.createElement("div");
  document.body.append(target);
  mount(GridLegend, { target, props });
  flushSync();
  return target;
}

describe("the scale of a metric", () => {
  it("of a share goes from 0 to 1, whatever the highest head has; its own range is asked for", () => {
    const values = [[0.01, 0.045]];
    expect(metricScale(metric, values, { own: false, definitions }).range).toEqual([0, 1]);
    expect(metricScale(metric, values, { own: true, definitions }).range).toEqual([0.01, 0.045]);
    const document = { probe: "other", name: "x", range: [0, 1] as const, chance: 0.02 };
    expect(metricScale(document, values, { own: false, definitions: undefined })).toEqual({
      range: [0, 1],
      chance: 0.02,
    });
  });

  it("is a metric's own where nobody says what its values can be, or one lies outside", () => {
    expect(metricScale({ probe: "mine", name: "norm" }, [[2, 9]], { own: false, definitions }).range).toEqual([2, 9]);
    expect(metricScale(metric, [[0.5, 1.5]], { own: false, definitions }).range).toEqual([0.5, 1.5]);
  });

  it("lets no rounding of a perfect head narrow the colours", () => {
    const values = [[0.2, Math.fround(1 + 2 ** -23)]];
    expect(metricScale(metric, values, { own: false, definitions }).range).toEqual([0, 1]);
  });

  it("says that noise is noise, and nothing of a head that copies", () => {
    expect(nothingFound([[0.013, 0.045]], 0.0133)).toContain("0.045");
    expect(nothingFound([[0.013, 0.881]], 0.0133)).toBeUndefined();
    expect(nothingFound([[0.013, 0.045]], undefined)).toBeUndefined();
  });

  it("marks chance where it lies on the legend", () => {
    const legend = legendOf({ range: [0, 1], chance: 0.25 });
    expect(legend.querySelector<HTMLElement>(".chance")?.style.left).toBe("25%");
    expect(legend.querySelector("[role=img]")?.getAttribute("aria-label")).toContain("chance 0.25");
    expect(legendOf({ range: [0.5, 1], chance: 0.25 }).querySelector(".chance")).toBeNull();
  });
});

describe("ranks", () => {
  it("of equal heads are one, from the first to the last of them", () => {
    const ranked = rank([
      [1, 0.5],
      [1, 0],
    ]);
    expect(ranked.map(rankText)).toEqual(["1 to 2", "1 to 2", "3", "4"]);
    expect(ranksByName(ranked).get("1.0")).toBe("1 to 2");
    expect(rank([[Number.NaN, Number.NaN, 1]]).map(rankText)).toEqual(["1", "2 to 3", "2 to 3"]);
  });
});

describe("numbers in a list", () => {
  it("read in the order of their values", () => {
    const values = [0.9, 0.02, 4e-4, 3.94e-5, 0];
    expect(values.map((value) => like(value, 0.9))).toEqual(["0.900", "0.020", "<0.001", "<0.001", "0"]);
    expect([0.0004, 3.94e-5].map(figure)).toEqual(["4.00e-4", "3.94e-5"]);
  });
});

describe("a message", () => {
  it("that begins with a path or a name keeps its spelling", () => {
    expect(["there is no model", "check the path"].map(isSentence)).toEqual([true, true]);
    expect(["/tmp/model is not inside", "models/tiny is", "config.json lacks", "hf:a/b"].map(isSentence)).toEqual([
      false,
      false,
      false,
      false,
    ]);
  });
});
