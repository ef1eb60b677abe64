import { describe, expect, it } from "vitest";
import { Random } from "../../../../backend/common/random.ts";
import { judge, type MapSeed } from "../../../../experiments/maps/cognitive-maps.ts";
import { type MapValues, mapOf, valueOfMap } from "../../../../experiments/maps/measure.ts";
import { drawWalk } from "../../../../synthetic-tasks/rooms/grid.ts";
import { kernelsHere } from "../../../helpers/kernels/here.ts";
import { randomModel, smallConfig } from "../../../helpers/models.ts";

await kernelsHere();

const map = (reached: number, f1: number, ratio: number | null = 1): MapValues => ({
  ...{ nodes: 25, precision: f1, recall: f1, f1, chance: 0.04, reached, ratio, random: 0.05 },
});

function seed({ codes, plain = map(0.3, 0.4), accuracy = 0.99, fresh }: { codes: MapValues; plain?: MapValues; accuracy?: number; fresh?: MapSeed["fresh"] }): MapSeed {
  const maps = { "codes": codes, "inner clusters": plain, "final clusters": map(0.1, 0.1), "observations": map(0.1, 0.1) };
  return { accuracy: { bottleneck: accuracy, plain: 0.99 }, maps, fresh };
} // biome-ignore format: one line

const verdicts = (each: MapSeed) => judge([each, each, each, each]).map(({ verdict }) => verdict);
const [YES, NO, OPEN] = ["reproduced", "not reproduced", "inconclusive at this scale"];

describe("the claims of cognitive-maps", () => {
  it("are borne out by codes that are places, but for new rooms, where nothing was trained", () => {
    expect(verdicts(seed({ codes: map(0.98, 0.97, 1.02) }))).toEqual([YES, YES, YES, YES, OPEN]);
  });

  it("are refuted by a map that is not the room, by long ways, and by clusters that are as good", () => {
    expect(verdicts(seed({ codes: map(0.95, 0.7, 1.3), plain: map(0.9, 0.9) }))).toEqual([YES, NO, NO, NO, OPEN]);
    expect(verdicts(seed({ codes: map(0, 0.95, null) }))).toEqual([YES, YES, NO, OPEN, OPEN]);
  });

  it("say nothing of a model that does not know where it is, but that its bottleneck costs much", () => {
    expect(verdicts(seed({ codes: map(0.5, 0.5), accuracy: 0.6 }))).toEqual([NO, OPEN, OPEN, OPEN, OPEN]);
  });

  it("compare the accuracy in new rooms with Bayes'", () => {
    const of = (model: number) => verdicts(seed({ codes: map(1, 1), fresh: { model, bayes: 0.9 } }))[4];
    expect([of(0.82), of(0.8)]).toEqual([YES, NO]);
  });
});

const GRID = { width: 4, height: 3 };

describe("the map of nodes", () => {
  const random = new Random(2);
  const walks = Array.from({ length: 700 }, () => drawWalk(GRID, 24, random));
  const mapped = 300;
  const value = (node: (place: number, t: number) => number) =>
    valueOfMap(
      { grid: GRID, walks, mapped },
      walks.map(({ places }) => Int32Array.from({ length: 24 }, (_, t) => node(places[t]!, t))),
      0,
    );

  it("that are the places is the room, with shortest paths to every goal", () => {
    const found = value((place) => place);
    expect(found).toMatchObject({ nodes: 12, precision: 1, recall: 1, f1: 1, reached: 1, ratio: 1 });
    expect(found.chance).toBeLessThan(0.3);
    expect(found.random).toBeLessThan(0.4);
  });

  it("is as good where a place has several nodes, and in the first halves of walks anything may stand", () => {
    const found = value((place, t) => (t < 12 ? 5 : place + 12 * (t % 2)));
    expect(found).toMatchObject({ nodes: 24, f1: 1, reached: 1 });
  });

  it("that are rows, of which places can't be told apart, solves few problems", () => {
    const found = value((place) => Math.floor(place / GRID.width));
    expect(found.nodes).toBe(3);
    expect(found.f1).toBeLessThan(0.7);
    expect(found.reached).toBeLessThan(0.5);
  });
});

describe("a model's map", () => {
  const walk = { ...GRID, observations: 5, moves: 16, rooms: 1 };
  const sizes = { seed: 1, walks: 40, problems: 20, clusters: 8 };
  const config = { d_vocab: 9, d_vocab_out: 5, tie_word_embeddings: false } as const;

  it("of codes has as many nodes at most as there are, and is the same again", async () => {
    const model = randomModel(smallConfig({ ...config, bottleneck: { codes: 6, heads: 1 } }));
    const found = await mapOf(model, walk, { ...sizes, kind: "codes" });
    expect(await mapOf(model, walk, { ...sizes, kind: "codes" })).toEqual(found);
    expect(found.nodes).toBeLessThanOrEqual(6);
    model.dispose();
  });

  it.each(["inner clusters", "final clusters", "observations"] as const)("of %s of a plain model", async (kind) => {
    const model = randomModel(smallConfig(config));
    const found = await mapOf(model, walk, { ...sizes, kind });
    if (kind === "observations") expect(found.nodes).toBeLessThanOrEqual(5);
    else expect(found.nodes).toBe(8);
    for (const share of [found.f1, found.reached, found.chance, found.random]) expect(share >= 0 && share <= 1).toBe(true);
    model.dispose();
  });
}); // biome-ignore format: a line a step
