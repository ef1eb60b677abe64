import { describe, expect, it } from "vitest";
import { Random } from "../../../../backend/common/random.ts";
import { distracted, greedy, thompson, ucb } from "../../../../synthetic-tasks/bandits/agents.ts";
import { bandits as task } from "../../../../synthetic-tasks/bandits/bandits.ts";
import { drawBandit, Episode } from "../../../../synthetic-tasks/bandits/episode.ts";
import { tasks } from "../../../../synthetic-tasks/index.ts";
import { unevenness } from "../../../helpers/statistics.ts";

type Params = Parameters<typeof task.sample>[1];
const make = (raw: Record<string, unknown> = {}): Params => tasks.parse(task.name, raw) as Params;
const NAMES = 10;

/** Rows of a batch, read back from their tokens alone. */
function read(params: Params, count: number, split?: string) {
  const random = new Random(1, 2);
  const batch = split
    ? task.evaluations[split]!.sample(null, params, random, count)
    : task.sample(null, params, random, count);
  const positions = params.arms_beyond + params.rounds;
  return Array.from({ length: count }, (_, r) => {
    const row = [...batch.tokens!.subarray(r * positions, (r + 1) * positions)];
    const start = row.indexOf(1);
    const arms = row.slice(0, start).filter((token) => token !== 0);
    const pulls = row.slice(start + 1).map((token) => ({
      arm: arms.indexOf(2 + ((token - 2 - NAMES) >> 1)),
      reward: (token - 2 - NAMES) % 2,
    }));
    const targets = [...batch.classes!.subarray(r * positions + start, (r + 1) * positions)];
    const best = batch.layout![r * (NAMES + 1)]!;
    return { start, arms: arms.map((token) => token - 2), pulls, targets, best, weights: batch.weights.subarray(r * positions, (r + 1) * positions) }; // biome-ignore format: one line
  });
}

describe("a row of bandits", () => {
  it("names its arms, and asks after the names and each pull for what the bounds say", () => {
    const params = make();
    for (const { start, arms, pulls, targets, weights } of read(params, 50)) {
      expect(start).toBe(params.arms_beyond);
      expect(new Set(arms).size).toBe(arms.length);
      expect([...weights].map((w, t) => w - (t >= start ? 1 : 0)).every((x) => x === 0)).toBe(true);
      const n = arms.map(() => 0);
      const sums = arms.map(() => 0);
      targets.forEach((target, t) => {
        const bounds = arms.map((_, a) =>
          n[a] === 0 ? 1e9 - a : sums[a]! / n[a]! + Math.sqrt((0.25 * Math.log(Math.max(1, t))) / n[a]!),
        );
        expect(target).toBe(arms[bounds.indexOf(Math.max(...bounds))]);
        if (t === pulls.length) return;
        n[pulls[t]!.arm]!++;
        sums[pulls[t]!.arm]! += pulls[t]!.reward;
      });
    }
  });

  it("follows the teacher but for the share of random pulls, and always in the splits", () => {
    const followed = (rows: ReturnType<typeof read>) => {
      const all = rows.flatMap(({ arms, pulls, targets }) => pulls.map(({ arm }, t) => (arms[arm] === targets[t] ? 1 : 0)));
      return all.reduce<number>((sum, x) => sum + x, 0) / all.length;
    }; // biome-ignore format: one line
    const five = make({ arms_min: 5 });
    const [share, count] = [followed(read(five, 400)), 400 * 59];
    const expected = 1 - 0.1 * (1 - 1 / 5);
    expect(Math.abs(share - expected)).toBeLessThan(4 * Math.sqrt((expected * (1 - expected)) / count));
    expect(followed(read(five, 50, "in-context"))).toBe(1);
    expect(followed(read(five, 50, "more-arms"))).toBe(1);
  });

  it("has the numbers of arms of its split, names and best arms that are equally frequent, and rewards as the gap says", () => {
    const rows = read(make(), 4000);
    expect(unevenness(rows.map(({ arms }) => arms.length - 3), 3)).toBeLessThan(1); // biome-ignore format: one line
    expect(unevenness(rows.map(({ arms }) => arms[0]!), NAMES)).toBeLessThan(1); // biome-ignore format: one line
    const three = read(make({ arms_max: 3, explore: 1 }), 3000);
    expect(unevenness(three.map(({ best }) => best), 3)).toBeLessThan(1); // biome-ignore format: one line
    for (const [own, mean] of [[true, 0.75], [false, 0.25]] as const) {
      const rewards = three.flatMap(({ pulls, best }) => pulls.filter(({ arm }) => (arm === best) === own).map(({ reward }) => reward));
      const got = rewards.reduce((sum, x) => sum + x, 0) / rewards.length;
      expect(Math.abs(got - mean)).toBeLessThan(4 * Math.sqrt((mean * (1 - mean)) / rewards.length));
    } // biome-ignore format: one line
    expect(read(make(), 5, "in-context").every(({ arms }) => arms.length === 5)).toBe(true);
    expect(read(make(), 5, "more-arms").every(({ arms }) => arms.length === 7)).toBe(true);
  });

  it("reads as text", () => {
    const params = make({ rounds: 4, arms_min: 3, arms_max: 3, arms_beyond: 3 });
    const batch = task.sample(null, params, new Random(4), 1);
    expect(task.describe(null, params, batch, 0)).toMatch(
      /^arm \d arm \d arm \d \| \d (pays|fails), .* -> arm \d\narm \d pays most often$/s,
    );
  });
});

describe("an agent", () => {
  const random = new Random(3);

  it("pulls each arm first, then the one with the largest bound, ties to the first", () => {
    expect(ucb(1)({ pulls: [1, 0, 0], rewards: [1, 0, 0] }, random)).toBe(1);
    // 0.5 + sqrt(ln 6 / 4) = 1.17 against 0 + sqrt(ln 6 / 2) = 0.95, and with alpha 4 1.84 against 1.89
    expect(ucb(1)({ pulls: [4, 2], rewards: [2, 0] }, random)).toBe(0);
    expect(ucb(4)({ pulls: [4, 2], rewards: [2, 0] }, random)).toBe(1);
    expect(greedy({ pulls: [2, 2, 1], rewards: [1, 1, 0] }, random)).toBe(0);
  });

  it("samples from the posterior as Thompson does: as often as one arm's Beta law is above the other's", () => {
    // P(Beta(2, 1) > Beta(1, 2)) = 5/6
    const count = 20_000;
    const first = Array.from({ length: count }, () => thompson({ pulls: [1, 1], rewards: [1, 0] }, random));
    const share = first.filter((arm) => arm === 0).length / count;
    expect(Math.abs(share - 5 / 6)).toBeLessThan(4 * Math.sqrt(5 / 36 / count));
  });

  it("pulls any arm in its share of distractions", () => {
    const own = distracted(() => 0, 0.4);
    const share = Array.from({ length: 10_000 }, () => own({ pulls: [0, 0], rewards: [0, 0] }, random)).filter((arm) => arm === 1).length / 10_000; // biome-ignore format: one line
    expect(Math.abs(share - 0.2)).toBeLessThan(0.016);
  });
});

describe("an episode", () => {
  it("loses the gap with every pull of another arm", () => {
    const random = new Random(5);
    const bandit = drawBandit({ names: 6, gap: 0.3 }, random, 4);
    const episode = new Episode(bandit, { names: 6, arms_beyond: 5 });
    expect(episode.pull(bandit.best, random)).toBe(0);
    expect(episode.pull((bandit.best + 1) % 4, random)).toBeCloseTo(0.3, 12);
    expect(episode.tokens).toHaveLength(5 + 1 + 2);
    expect(episode.counts.pulls.reduce((a, b) => a + b)).toBe(2);
  });
});
