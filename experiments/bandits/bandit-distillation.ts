import { z } from "zod";
import type { LineFigure } from "../../backend/common/figures/figure.ts";
import { counted } from "../../backend/common/text.ts";
import { type ClaimResult, type ClaimStatement, type Experiment, lastCheckpoint, type MeasurementPlan, seedList, type TrainedRun, type TrainingPlan } from "../base.ts"; // biome-ignore format: one line
import { type Curve, levelLine, mean, meanCaption, meanLine } from "../curves.ts";
import { trainingStage } from "../progress.ts";
import { QUORUM_WORDS, vote } from "../verdicts.ts";
import { AGENTS, type AgentName, type EpisodeParams, type Played, play, playedValues } from "./play.ts";

const NIE = "Nie et al. 2024, EVOLvE: Evaluating and Optimizing LLMs For Exploration";

/** Most of the teacher's regret that a model near it has. */
const NEAR = 1.2;
/** Most of the greedy agent's regret that an agent which explores better has. */
const BELOW = 0.9;
/** Work of playing one model's episodes, in optimiser steps of one layer. */
const PLAYING = 200;

const parameters = z.object({
  seeds: seedList.default([0, 1, 2, 3]).describe("seeds, trained together"),
  steps: z.int().min(100).default(800).describe("optimiser steps"),
  arms_min: z.int().min(2).default(3).describe("fewest arms in training"),
  arms_max: z.int().min(3).default(5).describe("most arms in training"),
  arms_beyond: z.int().min(3).default(7).describe("arms of bandits with more than in training"),
  rounds: z.int().min(10).default(60).describe("pulls of an episode"),
  gap: z.number().min(0.01).max(1).default(0.5).describe("by how much the best arm pays more often"),
  alpha: z.number().positive().default(0.25).describe("the teacher's exploration"),
  n_layers: z.int().min(1).default(3).describe("layers"),
  n_heads: z.int().min(1).default(2).describe("attention heads of a layer"),
  d_model: z.int().min(2).default(64).describe("width of the residual stream"),
  batch: z.int().min(1).default(32).describe("sequences of a step"),
  learning_rate: z.number().positive().default(2e-3).describe("AdamW's largest learning rate"),
  episodes: z.int().min(16).default(256).describe("bandits that are played"),
}); // biome-ignore format: a table
type Params = z.output<typeof parameters>;

const claims: readonly ClaimStatement[] = [
  {
    id: "near-teacher",
    statement: "A model that has learned the teacher's pulls explores as it does.",
    source: NIE,
    check: `Its regret at the end, on bandits with the most arms of training, is at most ${NEAR} of the teacher's, ${QUORUM_WORDS}.`,
  },
  {
    id: "below-greedy",
    statement: "It loses less than an agent that only exploits.",
    source: NIE,
    check:
      `Its regret at the end there is at most ${BELOW} of the greedy agent's, ${QUORUM_WORDS}. A seed where the teacher's is not ` +
      "cannot say.",
  },
  {
    id: "more-arms",
    statement: "It does so with more arms than it was ever trained on.",
    source: NIE,
    check: `The same bound of ${NEAR} on the larger number of arms, ${QUORUM_WORDS}.`,
  },
];

/** Numbers of arms that are played. */
const ARMS = {
  most: ({ arms_max }: Params) => arms_max,
  more: ({ arms_beyond }: Params) => arms_beyond,
} as const;
type ArmsName = keyof typeof ARMS;
const PLAYS = Object.keys(ARMS) as ArmsName[];

/** One seed's model and the agents, by number of arms. */
export type BanditSeed = Readonly<Record<ArmsName, Played>>;

const final = (regrets: readonly number[]): number => regrets.at(-1)!;
const ofTeacher = ({ model, agents }: Played): number => final(model) / final(agents.UCB);
const ofGreedy = (regrets: readonly number[], { agents }: Played): number => final(regrets) / final(agents.greedy);

/** Decides the claims. @param seeds one each */
export function judge(seeds: readonly BanditSeed[]): ClaimResult[] {
  const regretsOf = (arms: ArmsName) => ({
    "regret of the model, mean": mean(seeds.map((seed) => final(seed[arms].model))),
    ...Object.fromEntries(AGENTS.map((name) => [`regret of ${name}, mean`, mean(seeds.map((seed) => final(seed[arms].agents[name])))])),
  });
  const near = (id: string, arms: ArmsName): ClaimResult => ({
    id,
    measured: { "model over teacher, mean": mean(seeds.map((seed) => ofTeacher(seed[arms]))), ...regretsOf(arms) },
    ...vote(seeds.map((seed) => ofTeacher(seed[arms]) <= NEAR), "the model is near the teacher", ""),
  });
  return [
    near("near-teacher", "most"),
    {
      id: "below-greedy",
      measured: {
        "model over greedy, mean": mean(seeds.map(({ most }) => ofGreedy(most.model, most))),
        "teacher over greedy, mean": mean(seeds.map(({ most }) => ofGreedy(most.agents.UCB, most))),
      },
      ...vote(
        seeds.map(({ most }) => (ofGreedy(most.agents.UCB, most) <= BELOW ? ofGreedy(most.model, most) <= BELOW : undefined)),
        "the model loses less than the greedy agent",
        "exploring pays too little in so few rounds",
      ),
    },
    near("more-arms", "more"),
  ];
} // biome-ignore format: a claim a block

const TRAINING = "the teacher's pupil";
const PLAYED = "bandits";

function planOf(params: Params): TrainingPlan {
  const { arms_min, arms_max, arms_beyond, rounds, gap, alpha, steps, batch, learning_rate, n_layers, n_heads, d_model } = params;
  const bandit = { arms_min, arms_max, arms_beyond, rounds, gap, alpha, names: 2 * arms_beyond };
  const training = { steps, batch, learning_rate, schedule: "cosine", warmup: 100, clip: 1, points: 12, checkpoints: 2 };
  return { task: "bandits", params: { ...bandit, n_layers, n_heads, d_model, attn_only: false, ...training }, label: TRAINING };
} // biome-ignore format: one line

function plansOf(run: TrainedRun, params: Params): MeasurementPlan<typeof playedValues>[] {
  const { episodes } = params;
  const episode = run.taskParams as unknown as EpisodeParams;
  return PLAYS.map((name) => {
    const arms = ARMS[name](params);
    return {
      name: "regret",
      label: PLAYED,
      model: lastCheckpoint(run),
      settings: { taskParams: run.taskParams, seed: run.seed, arms, episodes, revision: 1 },
      values: playedValues,
      measure: (model) => play(model, episode, { seed: run.seed, arms, episodes }),
    };
  });
}

function regretFigure(name: ArmsName, arms: number, seeds: readonly BanditSeed[]): LineFigure {
  const rounds = seeds[0]![name].model.map((_, round) => round + 1);
  const curves = (of: (seed: Played) => readonly number[]) =>
    seeds.map((seed): Curve => ({ steps: rounds, values: of(seed[name]) }));
  const agent = (of: AgentName) => {
    const { band: _, ...line } = meanLine(of === "random" ? "random (chance)" : of, curves(({ agents }) => agents[of]));
    return { ...line, dashed: true };
  };
  return {
    kind: "lines",
    name: `regret-${name}`,
    title: `Regret on bandits of ${counted(arms, "arm")}`,
    caption: `${meanCaption(seeds.length)} UCB is the teacher. Nobody loses less than 0 (ceiling).`,
    x: { title: "pulls", whole: true },
    y: { title: "cumulative regret" },
    lines: [meanLine("model", curves(({ model }) => model)), ...AGENTS.map(agent), levelLine("best arm (ceiling)", rounds, 0)],
  };
} // biome-ignore format: a line of the figure a line

/** A model that learns a bandit algorithm's pulls, and then plays. */
export const banditDistillation: Experiment<typeof parameters> = {
  name: "bandit-distillation",
  title: "A bandit algorithm distilled into context",
  description:
    "Transformers learn from histories of Bernoulli bandits what upper confidence bounds would pull next. Then they play themselves: their regret beside " +
    "the teacher's, Thompson sampling, and agents that explore by chance or not at all, with as many arms as in training and with more.",
  source: NIE,
  trials:
    "The agents alone were compared before the thresholds were written: the setting is one where exploring pays. " +
    "One seed (7) was then trained for 500 steps of 1,500; as it was near its teacher, the preset was cut to 800. " +
    "No threshold was changed.",
  parameters,
  presets: {
    quick: {},
    full: { steps: 20_000, arms_max: 10, arms_beyond: 20, rounds: 200, n_layers: 6, n_heads: 4, d_model: 128, episodes: 1024 },
  },
  claims,
  stages: (params) => [
    trainingStage(planOf(params), params.seeds),
    { label: PLAYED, work: PLAYING * params.seeds.length },
  ],
  async run(params, context) {
    const runs = await context.train(planOf(params), params.seeds);
    const values = await context.measure(runs.flatMap((run) => plansOf(run, params)));
    const seeds = runs.map((_, s) =>
      Object.fromEntries(PLAYS.map((name, i) => [name, values[s * PLAYS.length + i]!])) as BanditSeed);
    return {
      claims: judge(seeds),
      figures: PLAYS.map((name) => regretFigure(name, ARMS[name](params), seeds)),
    };
  },
}; // biome-ignore format: a line a step
