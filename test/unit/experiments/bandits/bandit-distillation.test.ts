import { describe, expect, it } from "vitest";
import { type BanditSeed, judge } from "../../../../experiments/bandits/bandit-distillation.ts";
import { AGENTS, type Played, play } from "../../../../experiments/bandits/play.ts";
import { Episode } from "../../../../synthetic-tasks/bandits/episode.ts";
import { kernelsHere } from "../../../helpers/kernels/here.ts";
import { randomModel, smallConfig } from "../../../helpers/models.ts";

await kernelsHere();

const PARAMS = { names: 10, arms_beyond: 7, rounds: 30, gap: 0.5, alpha: 0.25 };

/** Regrets that end at the given numbers. */
function played(model: number, ucb = 7, greedy = 10): Played {
  const ends = { "UCB": ucb, "Thompson": 9, "epsilon-greedy": 9, "greedy": greedy, "random": 20 };
  return {
    model: [0, model],
    agents: Object.fromEntries(AGENTS.map((name) => [name, [0, ends[name]]])) as Played["agents"],
  };
} // biome-ignore format: a table

const seeds = (most: Played, more: Played): BanditSeed[] => Array.from({ length: 4 }, () => ({ most, more }));
const verdicts = (all: BanditSeed[]) => judge(all).map(({ verdict }) => verdict);

describe("the claims of bandit-distillation", () => {
  it("are borne out by a model as good as its teacher", () => {
    expect(verdicts(seeds(played(7.2), played(8)))).toEqual(["reproduced", "reproduced", "reproduced"]);
  });

  it("are refuted by one that loses as much as the greedy agent, or that fails with more arms", () => {
    expect(verdicts(seeds(played(9.5), played(14)))).toEqual(["not reproduced", "not reproduced", "not reproduced"]);
  });

  it("cannot say that exploring pays where the teacher's does not", () => {
    expect(verdicts(seeds(played(9.6, 9.5), played(8)))[1]).toBe("inconclusive at this scale");
  });
});

describe("episodes that are played", () => {
  it("give every agent the same bandits, random pulls the mean gap, and nobody less than nothing", async () => {
    const model = randomModel(smallConfig({ d_vocab: Episode.vocabulary(10), d_vocab_out: 10, tie_word_embeddings: false }));
    const { agents, model: own } = await play(model, PARAMS, { seed: 2, arms: 4, episodes: 200 });
    model.dispose();
    // A random pull of four arms loses three quarters of the gap on average.
    const expected = 30 * 0.5 * 0.75;
    expect(Math.abs(agents.random.at(-1)! - expected)).toBeLessThan(4 * 30 * 0.5 * Math.sqrt((0.75 * 0.25) / (30 * 200)));
    for (const regrets of [own, ...Object.values(agents)]) {
      expect(regrets).toHaveLength(30);
      expect(regrets.every((value, i) => value >= (regrets[i - 1] ?? 0))).toBe(true);
    }
    expect(agents.UCB.at(-1)!).toBeLessThan(agents.random.at(-1)!);
    // UCB and the greedy agent begin alike, with a pull of each arm, of which one is the best.
    for (const name of ["UCB", "greedy"] as const) expect(agents[name][3]).toBeCloseTo(3 * 0.5, 12);
  });
}); // biome-ignore format: a line a step
