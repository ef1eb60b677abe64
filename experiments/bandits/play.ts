import { z } from "zod";
import { Random } from "../../backend/common/random.ts";
import { forward } from "../../backend/models/forward/forward.ts";
import type { Model } from "../../backend/models/model.ts";
import { type Agent, distracted, greedy, thompson, ucb, uniform } from "../../synthetic-tasks/bandits/agents.ts";
import { type Bandit, drawBandit, Episode } from "../../synthetic-tasks/bandits/episode.ts";
import { mean } from "../curves.ts";

/** Streams of a seed that no batch of the training is drawn from: of the bandits, and of what happens in them. */
const [DRAWN, PLAYED] = [0xe5000000, 0xe5000001];
/** Share of random pulls of the agent that explores by chance. */
const EPSILON = 0.1;

/** The task's parameters that decide about an episode. */
export interface EpisodeParams {
  readonly names: number;
  readonly arms_beyond: number;
  readonly rounds: number;
  readonly gap: number;
  readonly alpha: number;
}

/** Agents beside the model, by name. */
export const AGENTS = ["UCB", "Thompson", "epsilon-greedy", "greedy", "random"] as const;
export type AgentName = (typeof AGENTS)[number];

const agentsOf = ({ alpha }: EpisodeParams): Readonly<Record<AgentName, Agent>> => ({
  "UCB": ucb(alpha),
  "Thompson": thompson,
  "epsilon-greedy": distracted(greedy, EPSILON),
  "greedy": greedy,
  "random": uniform,
}); // biome-ignore format: a table

const byRound = z.array(z.number());

/** Schema of cumulative regrets by round, means over episodes: of the model, and by agent. */
export const playedValues = z.object({ model: byRound, agents: z.record(z.enum(AGENTS), byRound) });
export type Played = z.output<typeof playedValues>;

/** Plays the same bandits with a model and with agents. @param arms of each bandit */
export async function play(
  model: Model,
  params: EpisodeParams,
  { seed, arms, episodes }: { seed: number; arms: number; episodes: number },
): Promise<Played> {
  const drawing = new Random(seed, DRAWN);
  const drawn = Array.from({ length: episodes }, () => drawBandit(params, drawing, arms));
  const regrets = (choose: Chooser) => played(drawn, params, choose, new Random(seed, PLAYED));
  const agents: [AgentName, number[]][] = [];
  for (const [name, agent] of Object.entries(agentsOf(params)) as [AgentName, Agent][])
    agents.push([name, await regrets(async (all, random) => all.map(({ counts }) => agent(counts, random)))]);
  return { model: await regrets((all) => pullsOf(model, all)), agents: Object.fromEntries(agents) as Played["agents"] };
}

/** The next arm of every episode, by its place. */
type Chooser = (episodes: readonly Episode[], random: Random) => Promise<number[]>;

/** Cumulative regrets by round, means over bandits. */
async function played(drawn: readonly Bandit[], params: EpisodeParams, choose: Chooser, random: Random): Promise<number[]> {
  const episodes = drawn.map((bandit) => new Episode(bandit, params));
  const regrets: number[] = [];
  for (let round = 0; round < params.rounds; round++) {
    const arms = await choose(episodes, random);
    const lost = mean(episodes.map((episode, i) => episode.pull(arms[i]!, random)));
    regrets.push((regrets.at(-1) ?? 0) + lost);
  }
  return regrets;
} // biome-ignore format: a line a step

/** The likeliest arm of each episode by a model, among its own. */
async function pullsOf(model: Model, episodes: readonly Episode[]): Promise<number[]> {
  const result = forward(model, { tokens: episodes.map(({ tokens }) => [...tokens]), logitsAt: "last" });
  try {
    const logits = (await result.logits!.data()) as Float32Array; // [episodes, 1, names]
    const width = logits.length / episodes.length;
    return episodes.map(({ bandit: { names } }, i) => {
      const own = names.map((name) => logits[i * width + name]!);
      return own.indexOf(Math.max(...own));
    });
  } finally {
    result.dispose();
  }
}
