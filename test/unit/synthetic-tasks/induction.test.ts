import { describe, expect, it } from "vitest";
import { Random } from "../../../backend/common/random.ts";
import { tasks } from "../../../synthetic-tasks/index.ts";
import { induction } from "../../../synthetic-tasks/induction.ts";
import { unevenness } from "../../helpers/statistics.ts";

type Params = Parameters<typeof induction.sample>[1];
const ROWS = 20_000;
const make = (raw: Record<string, unknown> = {}): Params => tasks.parse("induction", raw) as Params;

/** A batch's rows with where their segments stand. */
function drawn(params: Params, evaluation: "in-context" | "first-copy" = "in-context", count = ROWS) {
  const batch = induction.evaluations[evaluation]!.sample(null, params, new Random(2, 1), count);
  const { tokens, classes, weights, layout } = batch;
  const T = params.context;
  return Array.from({ length: count }, (_, r) => ({
    tokens: [...tokens!.subarray(r * T, (r + 1) * T)],
    classes: [...classes!.subarray(r * T, (r + 1) * T)],
    weights: [...weights.subarray(r * T, (r + 1) * T)],
    start: layout![3 * r]!,
    copy: layout![3 * r + 1]!,
    length: layout![3 * r + 2]!,
  }));
}

describe("a row of the induction task", () => {
  const params = make();
  const rows = drawn(params);

  it("holds one segment twice, and BOS at its start only", () => {
    for (const { tokens, start, copy, length } of rows.slice(0, 500)) {
      expect(tokens.slice(copy, copy + length)).toEqual(tokens.slice(start, start + length));
      expect(start).toBeGreaterThanOrEqual(1);
      expect(copy).toBeGreaterThanOrEqual(start + length);
      expect(copy + length).toBeLessThanOrEqual(params.context);
      expect(tokens.map((id) => id === 0)).toEqual(tokens.map((_, t) => t === 0));
    }
  });

  it("counts the copy from its second token on, and targets are the next tokens", () => {
    for (const { tokens, classes, weights, copy, length } of rows.slice(0, 500)) {
      expect(classes.slice(0, -1)).toEqual(tokens.slice(1));
      expect(weights).toEqual(tokens.map((_, t) => (t >= copy && t < copy + length - 1 ? 1 : 0)));
    }
  });

  it("has segments of every length, gaps of every size and starts at every place, equally often", () => {
    const { segment_min, segment_max, gap_max, context } = params;
    const lengths = rows.map(({ length }) => length - segment_min);
    expect(unevenness(lengths, segment_max - segment_min + 1)).toBeLessThan(1);
    const gaps = rows.map(({ start, copy, length }) => copy - start - length);
    expect(unevenness(gaps, gap_max + 1)).toBeLessThan(1);
    // Places that are open depend on length and gap: rows of one room together.
    const room = 12;
    const alike = rows.filter(({ copy, start, length }) => context - 1 - length - (copy - start) === room);
    expect(alike.length).toBeGreaterThan(200);
    const starts = alike.map(({ start }) => start - 1);
    expect(unevenness(starts, room + 1)).toBeLessThan(1);
  });

  it("has tokens that are equally frequent", () => {
    const ids = rows.map(({ tokens }) => tokens[3]! - 1); // one token a row: independent
    expect(unevenness(ids, params.vocabulary - 1)).toBeLessThan(1);
  });

  it("is not solved by looking back a fixed distance, nor by what stands at a fixed position", () => {
    const { context, vocabulary } = params;
    const some = rows.slice(0, 4000);
    const counted = some.reduce((sum, { weights }) => sum + weights.filter((w) => w === 1).length, 0);
    const score = (source: (t: number) => number): number => {
      let right = 0;
      for (const { tokens, weights } of some)
        for (let t = 0; t < context - 1; t++) if (weights[t] === 1 && tokens[source(t)] === tokens[t + 1]) right++;
      return right / counted;
    };
    // Tokens of a row stand or fall together, so that the sample's size is its rows. The distance has 32 values and none is likelier than one in 16: length decides 16 gaps at most.
    const limit = 1 / 16 + 1 / (vocabulary - 1) + 4 * Math.sqrt(0.07 / some.length);
    for (let back = 0; back < context; back++) expect(score((t) => t - back)).toBeLessThan(limit);
    for (let at = 1; at < context; at++) expect(score(() => at)).toBeLessThan(limit);
  });

  it("is solved by what followed the present token before", () => {
    let [right, all] = [0, 0];
    for (const { tokens, weights, copy } of rows.slice(0, 2000))
      tokens.forEach((id, t) => {
        if (weights[t] === 0) return;
        all++;
        const earlier = tokens.slice(0, t).flatMap((other, i) => (other === id ? [i] : []));
        expect(copy).toBeLessThanOrEqual(t);
        right += earlier.filter((i) => tokens[i + 1] === tokens[t + 1]).length / earlier.length;
      });
    expect(right / all).toBeGreaterThan(0.7); // other occurrences of the same token by chance keep it from 1
  });
});

it("counts no token of the repetition in the contrast of the first copy", () => {
  for (const { weights, start, copy, length } of drawn(make(), "first-copy", 500)) {
    expect(weights).toEqual(weights.map((_, t) => (t >= start && t < start + length - 1 ? 1 : 0)));
    expect(weights.slice(copy)).toEqual(weights.slice(copy).map(() => 0));
  }
});

it("trains on every next token, or on those that the context determines", () => {
  const sample = (loss: string) => induction.sample(null, make({ loss }), new Random(0), 50);
  const all = sample("all");
  const copies = sample("copies");
  expect(all.tokens).toEqual(copies.tokens);
  expect(all.weights.every((w, i) => w === (i % 64 === 63 ? 0 : 1))).toBe(true);
  expect(copies.weights).toEqual(induction.evaluations["in-context"]!.sample(null, make(), new Random(0), 50).weights);
});

it("fills a context to its end without BOS", () => {
  const params = make({ context: 10, vocabulary: 5, bos: false, segment_min: 5, segment_max: 5, gap_max: 0 });
  induction.check(params);
  for (const { tokens, start, copy } of drawn(params, "in-context", 200)) {
    expect([start, copy]).toEqual([0, 5]);
    expect(tokens.slice(5)).toEqual(tokens.slice(0, 5));
  }
});
