import { describe, expect, it } from "vitest";
import { evaluationFigures, tradeoffs } from "../../../../backend/common/evaluation/figures.ts";
import { costOf, paretoFront, qualityOf } from "../../../../backend/common/evaluation/tradeoffs.ts";
import { Random } from "../../../../backend/common/random.ts";
import { evaluatedPoint } from "../../../helpers/formats/evaluations.ts";

describe("the front of cost and quality", () => {
  it("holds just the points that no other one dominates", () => {
    const random = new Random(1);
    const points = Array.from({ length: 60 }, () => ({ cost: random.integer(0, 12), quality: random.integer(0, 12) }));
    const dominated = ({ cost, quality }: (typeof points)[number]) =>
      points.some((other) => other.cost <= cost && other.quality >= quality && (other.cost < cost || other.quality > quality)); // biome-ignore format: one line
    const front = paretoFront(points);
    expect(new Set(front)).toEqual(new Set(points.filter((point) => !dominated(point))));
    expect(front.map(({ cost }) => cost)).toEqual(front.map(({ cost }) => cost).toSorted((a, b) => a - b));
  });

  it("leaves out what was not measured", () => {
    const sound = { cost: 2, quality: 1 };
    expect(paretoFront([{ cost: Number.NaN, quality: 5 }, sound, { cost: 1, quality: Number.NaN }])).toEqual([sound]);
  });
});

describe("an evaluated point", () => {
  const point = evaluatedPoint({ bytes: 25, bytesFull: 100, prefillMs: 7, decodeMsPerToken: null });

  it("costs a share of full attention's bytes, and milliseconds where they were measured", () => {
    expect([costOf(point, "bytes"), costOf(point, "prefill"), costOf(point, "decode")]).toEqual([0.25, 7, Number.NaN]);
  });

  it("is as good as its score, of text that is scored as its loss is small", () => {
    expect(qualityOf(evaluatedPoint({ score: 0.4 }))).toBe(0.4);
    expect(qualityOf(evaluatedPoint({ score: 0.4, loss: 2, scoring: "text" }))).toBe(-2);
  });
});

describe("figures of an evaluation", () => {
  const points = [
    evaluatedPoint({ label: "full", budget: null, task: "a", score: 1 }),
    evaluatedPoint({ label: "full", budget: null, task: "b", score: 0.5 }),
    evaluatedPoint({ label: "knorm", budget: 0.25, task: "a", score: 0.25, bytes: 30 }),
    evaluatedPoint({ label: "knorm", budget: 0.25, task: "b", score: 0.75, bytes: 20 }),
  ];

  it("take the mean over the tasks of a length", () => {
    expect(tradeoffs(points, "bytes")).toMatchObject([
      { label: "full", budget: null, cost: 1, value: 0.75, quality: 0.75 },
      { label: "knorm", budget: 0.25, cost: 0.25, value: 0.5, quality: 0.5 },
    ]);
  });

  it("add up the tasks' intervals in squares: of means of independent numbers the variances add up", () => {
    const [full] = tradeoffs(points, "bytes");
    expect(full!.low).toBeCloseTo(0.75 - Math.hypot(1, 0.5) / 2, 12);
    expect(full!.high).toBeCloseTo(0.75 + Math.hypot(0, 0.5) / 2, 12);
  });

  it("have no interval where a task has one case", () => {
    const single = { ...evaluatedPoint({ task: "b" }), score: { value: 1, low: null, high: null } };
    expect(tradeoffs([evaluatedPoint({ task: "a" }), single], "bytes")).toMatchObject([{ low: null, high: null }]);
  });

  it("of the loss hold the lower one better", () => {
    const losses = [
      evaluatedPoint({ loss: 0.5 }),
      evaluatedPoint({ label: "knorm", budget: 0.5, loss: 2, bytes: 50 }),
      evaluatedPoint({ label: "random", budget: 0.5, loss: 3, bytes: 50 }),
    ];
    expect(tradeoffs(losses, "bytes", "loss").map(({ value, quality }) => [value, quality])).toEqual([
      [0.5, -0.5],
      [2, -2],
      [3, -3],
    ]);
    const figure = evaluationFigures(losses).find(({ name }) => name === "loss-bytes-512")!;
    expect(figure.lines.map(({ name }) => name)).toEqual(["full", "knorm", "random", "front"]);
    expect(figure.lines.at(-1)).toMatchObject({ x: [0.5, 1], y: [2, 0.5] });
    expect(figure.lines[0]!.whiskers).toEqual({ low: [0.25], high: [1] });
  });

  it("are one for each length and each cost that was measured, and one of the loss", () => {
    const other = evaluatedPoint({ length: 2048, decodeMsPerToken: null });
    const names = evaluationFigures([...points, other]).map(({ name }) => name);
    expect(names).toEqual([
      ...["bytes-512", "loss-bytes-512", "prefill-512", "decode-512"],
      ...["bytes-2048", "loss-bytes-2048", "prefill-2048"],
    ]);
  });

  it("have the front beside the policies", () => {
    const [bytes] = evaluationFigures(points);
    expect(bytes!.lines.map(({ name }) => name)).toEqual(["full", "knorm", "front"]);
    expect(bytes!.lines.at(-1)).toMatchObject({ x: [0.25, 1], y: [0.5, 0.75] });
  });
});
