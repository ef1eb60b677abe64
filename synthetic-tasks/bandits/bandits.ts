import { z } from "zod";
import type { Random } from "../../backend/common/random.ts";
import { wrapped } from "../../backend/common/text.ts";
import { type Batch, type Evaluation, rowOf } from "../../backend/training/task.ts";
import { impossible, task } from "../base.ts";
import { type Agent, distracted, ucb } from "./agents.ts";
import { type Bandit, drawBandit, Episode } from "./episode.ts";

const parameters = z.object({
  names: z.int().min(2).max(512).default(10).describe("names that arms can have; each episode draws its arms' names"),
  arms_min: z.int().min(2).default(3).describe("fewest arms of a training episode"),
  arms_max: z.int().min(2).default(5).describe("most arms of a training episode"),
  arms_beyond: z.int().min(2).default(7).describe("arms of the episodes that have more than those of training"),
  rounds: z.int().min(2).max(2048).default(60).describe("pulls of an episode"),
  gap: z.number().min(0.01).max(1).default(0.5).describe("the best arm pays with probability (1 + gap) / 2, the others with (1 - gap) / 2"),
  alpha: z.number().min(0).default(0.25).describe("exploration of the teacher: it pulls the arm with the largest mean + sqrt(alpha ln t / pulls)"),
  explore: z.number().min(0).max(1).default(0.1).describe("share of random pulls in training histories; the teacher says what it would pull all the same"),
}); // biome-ignore format: a table
type Params = z.output<typeof parameters>;

/** Histories under an agent; the targets are what the teacher would pull. */
function batch(
  params: Params,
  random: Random,
  rows: number,
  { bandit, agent }: { bandit: () => Bandit; agent: Agent },
): Batch {
  const { rounds, arms_beyond, names } = params;
  const teacher = ucb(params.alpha);
  const positions = arms_beyond + rounds;
  const tokens = new Int32Array(rows * positions);
  const classes = new Int32Array(rows * positions);
  const weights = new Float32Array(rows * positions);
  const layout = new Int32Array(rows * (names + 1));
  for (let r = 0; r < rows; r++) {
    const drawn = bandit();
    const episode = new Episode(drawn, params);
    for (let t = 0; t < rounds; t++) {
      const at = r * positions + arms_beyond + t;
      classes[at] = drawn.names[teacher(episode.counts, random)]!;
      weights[at] = 1;
      if (t < rounds - 1) episode.pull(agent(episode.counts, random), random);
    }
    tokens.set(episode.tokens, r * positions);
    layout.set([drawn.best, ...drawn.names], r * (names + 1));
    layout.fill(-1, r * (names + 1) + 1 + drawn.names.length, (r + 1) * (names + 1));
  }
  return { rows, tokens, classes, weights, layout };
}

function evaluation(title: string, arms: (params: Params) => number): Evaluation<Params, null> {
  return {
    title,
    chance: (params) => ({ accuracy: 1 / arms(params), loss: Math.log(arms(params)) }),
    sample: (_, params, random, rows) =>
      batch(params, random, rows, {
        bandit: () => drawBandit(params, random, arms(params)),
        agent: ucb(params.alpha),
      }),
  };
}

/** Bandits whose arms have names that are drawn anew: the next pull of a teacher that explores by confidence bounds. */
export const bandits = task({
  name: "bandits",
  title: "Pulls of a bandit's teacher",
  description:
    "The names of a bandit's arms, then its history: which arm was pulled and whether it paid. After every pull the target is the arm " +
    "that upper confidence bounds would pull next. One arm pays more often than the others. Names are drawn anew for every episode, so that " +
    "only the history tells what they are worth.",
  source:
    "Nie et al. 2024, EVOLvE: Evaluating and Optimizing LLMs For Exploration (Bernoulli bandits, algorithm distillation)",
  parameters,
  shape: ({ names, arms_beyond, rounds }) => ({
    input: { kind: "tokens", vocabulary: Episode.vocabulary(names) },
    output: { kind: "classes", count: names },
    positions: arms_beyond + rounds,
    scored: "all",
  }),
  check({ names, arms_min, arms_max, arms_beyond }) {
    const refuse = (field: readonly string[], constraint: string, remedy: string) =>
      impossible("bandits", field, constraint, remedy);
    if (arms_min > arms_max)
      throw refuse(["arms_min", "arms_max"], `arms_min ${arms_min} is more than arms_max ${arms_max}`, "exchange them");
    if (arms_beyond < arms_max)
      throw refuse(
        ["arms_beyond", "arms_max"],
        `arms_beyond ${arms_beyond} is less than arms_max ${arms_max}: there is no place for so many arms`,
        `give arms_beyond ${arms_max} or more`,
      );
    if (arms_beyond > names)
      throw refuse(
        ["arms_beyond", "names"],
        `arms_beyond ${arms_beyond} is more than the ${names} names`,
        `give names ${arms_beyond} or more`,
      );
  },
  world: () => null,
  sample(_, params, random, rows) {
    const { arms_min, arms_max, alpha, explore } = params;
    return batch(params, random, rows, {
      bandit: () => drawBandit(params, random, random.integer(arms_min, arms_max + 1)),
      agent: distracted(ucb(alpha), explore),
    });
  },
  evaluations: {
    "in-context": evaluation(
      "the teacher's own histories, with as many arms as the largest of training",
      (p) => p.arms_max,
    ),
    "more-arms": evaluation("the teacher's own histories, with more arms than in training", (p) => p.arms_beyond),
  },
  describe(_, { names }, drawn, row) {
    const { tokens, classes, layout } = rowOf(drawn, row);
    const [best, ...arms] = layout!;
    const words = Array.from(tokens!, (token) => Episode.word(token, names)).filter((word) => word !== "");
    return `${wrapped([...words, "->", `arm ${classes!.at(-1)}`])}\narm ${arms[best!]} pays most often`;
  },
  defaults: {
    model: { n_layers: 3, n_heads: 2, d_model: 64, attn_only: false, positional_embedding_type: "rotary" },
    training: { steps: 2000, learning_rate: 2e-3, schedule: "cosine", warmup: 100, batch: 64 },
  },
});
