import { describe, expect, it } from "vitest";
import { Random } from "../../../../backend/common/random.ts";
import { tasks } from "../../../../synthetic-tasks/index.ts";
import { returns, ambiguousRooms as task } from "../../../../synthetic-tasks/rooms/ambiguous-rooms.ts";
import { predictWalk } from "../../../../synthetic-tasks/rooms/bayes.ts";
import { drawRoom, drawWalk, MOVES, placeAfter, walkTokens } from "../../../../synthetic-tasks/rooms/grid.ts";
import { refused } from "../../../helpers/errors.ts";

type Params = Parameters<typeof task.sample>[1];
const make = (raw: Record<string, unknown> = {}): Params => tasks.parse(task.name, raw) as Params;
const GRID = { width: 3, height: 2 };

describe("a room", () => {
  it("has walls against which a move leads nowhere, and moves that undo each other elsewhere", () => {
    // 0 1 2
    // 3 4 5
    expect(MOVES.map((_, move) => placeAfter(GRID, 0, move))).toEqual([0, 1, 3, 0]);
    expect(MOVES.map((_, move) => placeAfter(GRID, 4, move))).toEqual([1, 5, 4, 3]);
    for (let place = 0; place < 6; place++)
      for (let move = 0; move < 4; move++) {
        const next = placeAfter(GRID, place, move);
        if (next !== place) expect(placeAfter(GRID, next, (move + 2) % 4)).toBe(place);
      }
  });

  it("has uniform observations, and walks uniform places and moves", () => {
    const random = new Random(4);
    const seen = new Float64Array(5);
    for (let i = 0; i < 2000; i++) for (const o of drawRoom(GRID, 5, random)) seen[o]! += 1 / 12_000;
    for (const share of seen) expect(Math.abs(share - 0.2)).toBeLessThan(4 * Math.sqrt((0.2 * 0.8) / 12_000));
    const places = new Float64Array(6);
    const moves = new Float64Array(4);
    for (let i = 0; i < 2000; i++) {
      const walk = drawWalk(GRID, 6, random);
      // A grid whose walls turn moves into rests keeps the uniform law of places.
      places[walk.places[6]!]! += 1 / 2000;
      for (const move of walk.moves) moves[move]! += 1 / 12_000;
    }
    for (const share of places) expect(Math.abs(share - 1 / 6)).toBeLessThan(4 * Math.sqrt(((1 / 6) * (5 / 6)) / 2000));
    for (const share of moves) expect(Math.abs(share - 0.25)).toBeLessThan(4 * Math.sqrt((0.25 * 0.75) / 12_000));
  });
});

describe("a batch of ambiguous-rooms", () => {
  const params = make({ width: 4, height: 3, observations: 5, moves: 20 });
  const world = task.world(params, 3);

  it("is read as observations and moves of the run's room, and asks after every move for what is seen next", () => {
    const { tokens, classes, weights, layout } = task.sample(world, params, new Random(3, 1), 30);
    const [room] = world.rooms;
    for (let r = 0; r < 30; r++) {
      const own = tokens!.subarray(40 * r, 40 * (r + 1));
      const places = layout!.subarray(21 * r, 21 * (r + 1));
      for (let t = 0; t < 20; t++) {
        expect(own[2 * t]).toBe(room![places[t]!]);
        const move = own[2 * t + 1]! - 5;
        expect(placeAfter(params, places[t]!, move)).toBe(places[t + 1]);
        expect(classes![40 * r + 2 * t + 1]).toBe(room![places[t + 1]!]);
        expect([weights[40 * r + 2 * t], weights[40 * r + 2 * t + 1]]).toEqual([0, 1]);
      }
    }
  });

  it("has one room for each seed, as many as asked, or a new one for every walk", () => {
    expect(task.world(params, 3)).toEqual(world);
    expect(task.world(params, 4)).not.toEqual(world);
    expect(task.world({ ...params, rooms: 7 }, 3).rooms).toHaveLength(7);
    const fresh = { ...params, rooms: 0 };
    const { tokens, layout } = task.sample(task.world(fresh, 3), fresh, new Random(3, 1), 200);
    const at = (place: number) =>
      new Set(
        Array.from({ length: 200 }, (_, r) => (layout![21 * r] === place ? tokens![40 * r]! : -1)).filter(
          (o) => o >= 0,
        ),
      );
    expect(at(0).size).toBe(5);
  });

  it("measures returns: moves of the second half to places where the walk has been", () => {
    const places = Int32Array.from([0, 1, 0, 1, 2, 3, 2, 9, 2]);
    expect(Array.from({ length: 8 }, (_, move) => returns(places, move))).toEqual([
      false,
      false,
      false,
      false,
      false,
      true,
      false,
      true,
    ]);
    for (const split of Object.values(task.evaluations)) {
      const { weights, layout } = split.sample(world, params, new Random(3, 2), 50);
      weights.forEach((weight, i) => {
        const [row, position] = [Math.floor(i / 40), i % 40];
        const own = layout!.subarray(21 * row, 21 * (row + 1));
        expect(weight).toBe(position % 2 === 1 && returns(own, (position - 1) / 2) ? 1 : 0);
      });
    }
  });

  it("is refused where no two places need look alike", () => {
    const error = refused("usage", { field: ["observations", "width", "height"] });
    expect(() => task.check(make({ width: 2, height: 2, observations: 4 }))).toThrow(error);
  });
});

describe("Bayes' predictor", () => {
  const grid = { width: 2, height: 2 };
  const OBSERVATIONS = 2;
  const ROOMS = Array.from({ length: 16 }, (_, bits) => Int32Array.from([0, 1, 2, 3], (place) => (bits >> place) & 1));

  /** The same by counting: every room of a list and every beginning as likely, those that saw something else are struck out. */
  function byCounting(rooms: readonly Int32Array[], seen: number[], moves: number[]): number[] {
    return moves.flatMap((_, t) => {
      const counts = new Array<number>(OBSERVATIONS).fill(0);
      for (const room of rooms)
        for (let start = 0; start < 4; start++) {
          const places = [start];
          for (const move of moves.slice(0, t + 1)) places.push(placeAfter(grid, places.at(-1)!, move));
          if (seen.slice(0, t + 1).every((o, i) => room[places[i]!] === o)) counts[room[places.at(-1)!]!]!++;
        }
      const total = counts.reduce((a, b) => a + b, 0);
      return counts.map((count) => (total > 0 ? count / total : 1 / OBSERVATIONS));
    });
  }

  it.each([
    ["among three rooms", [ROOMS[3]!, ROOMS[6]!, ROOMS[9]!], [ROOMS[3]!, ROOMS[6]!, ROOMS[9]!]],
    ["in a room of its own, which is any of all", [], ROOMS],
  ] as const)("is what counting gives %s", (_, known, all) => {
    const random = new Random(8);
    for (let i = 0; i < 40; i++) {
      const room = all[random.integer(0, all.length)]!;
      const walk = drawWalk(grid, 7, random);
      const seen = [...walk.places.subarray(0, 7)].map((place) => room[place]!);
      const found = predictWalk(grid, OBSERVATIONS, known, { seen, moves: walk.moves });
      for (const [j, expected] of byCounting(all, seen, [...walk.moves]).entries()) expect(found[j]).toBeCloseTo(expected, 12);
    }
  });

  it("knows nothing of a room that is none of its own", () => {
    const found = predictWalk(grid, OBSERVATIONS, [ROOMS[0]!], { seen: [1, 1], moves: [0, 1] });
    expect([...found]).toEqual([0.5, 0.5, 0.5, 0.5]);
  });

  it("is the task's reference, as logarithms after every move", () => {
    const params = make({ width: 2, height: 2, observations: 2, moves: 5, rooms: 3 });
    const world = task.world(params, 1);
    const batch = task.sample(world, params, new Random(1, 1), 4);
    const found = task.reference!.predict(world, params, batch);
    for (let r = 0; r < 4; r++) {
      const own = [...batch.tokens!.subarray(10 * r, 10 * (r + 1))];
      const walk = { seen: own.filter((_, i) => i % 2 === 0), moves: own.filter((_, i) => i % 2 === 1).map((token) => token - 2) };
      const expected = predictWalk(params, 2, world.rooms, walk);
      for (let t = 0; t < 5; t++)
        for (let o = 0; o < 2; o++) expect(Math.exp(found[((r * 5 + t) * 2 + 1) * 2 + o]!)).toBeCloseTo(expected[2 * t + o]!, 12);
    }
  });

  it("reads walks from their tokens", () => {
    const room = Int32Array.from([0, 1, 1, 0]);
    expect([...walkTokens(room, { places: Int32Array.from([0, 1, 3]), moves: Int32Array.from([1, 2]) }, 2)]).toEqual([0, 3, 1, 4]);
  });
}); // biome-ignore format: a line a step
