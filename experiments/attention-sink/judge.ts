import type { ClaimResult, ClaimStatement } from "../base.ts";
import { type Curve, comesFirst, crossing, finalValue, mean, rise, spread } from "../curves.ts";
import { QUORUM_WORDS, TOO_CLOSE, type Vote, vote } from "../verdicts.ts";
import type { Arm } from "./arms.ts";
import type { SinkCurves } from "./measure.ts";

/** Least difference of two importances that counts. */
const MORE = 0.05;
/** Most by which a loss may lie above another that it equals, in nats. */
const EQUAL_LOSS = 0.05;

const GU = "Gu et al. 2025, When Attention Sink Emerges in Language Models";
const SINK = "a head's mean attention to it exceeds epsilon";
const SILENT = "A seed whose base setting has no sink cannot say.";

/** The paper's claims as they are checked here; "ends" is the mean of the last three measurements. */
export const sinkClaims: readonly ClaimStatement[] = [
  {
    id: "after-loss",
    statement:
      "Sinks emerge after effective optimisation: attention to the first token rises after the loss has fallen.",
    source: `${GU}, section 4`,
    check:
      "In the base setting the loss makes half of its fall at an earlier step than the strongest head's attention to the first token " +
      `half of its rise, with at least two measurements between, ${QUORUM_WORDS}. A seed without a sink, or where they come closer ` +
      "together, cannot say.",
  },
  {
    id: "low-learning-rate",
    statement: "A low learning rate delays sinks and makes them weaker.",
    source: `${GU}, section 4, table 9`,
    check: `The strongest head's attention to the first token ends at least ${MORE} lower and passes epsilon later or never, ${QUORUM_WORDS}. ${SILENT}`,
  },
  {
    id: "little-data",
    statement: "Too little training data gives no sinks.",
    source: `${GU}, section 5`,
    check: `With few unique sequences no head's attention to the first token ends above epsilon, ${QUORUM_WORDS}. ${SILENT}`,
  },
  {
    id: "weight-decay",
    statement: "Weight decay encourages sinks.",
    source: `${GU}, section 6, table 2`,
    check: `With more of it the strongest head's attention to the first token ends at least ${MORE} higher, ${QUORUM_WORDS}.`,
  },
  {
    id: "moved",
    statement: "A fixed token elsewhere moves the sink to its place.",
    source: `${GU}, section 5, table 10`,
    check: `The fixed token's place is a sink at the end (${SINK}) and the first place is none, ${QUORUM_WORDS}. ${SILENT}`,
  },
  {
    id: "first-token",
    statement: "Without any fixed token the first token of a sequence becomes a sink.",
    source: `${GU}, section 3`,
    check:
      `Without a fixed token the first place is a sink at the end (${SINK}), ${QUORUM_WORDS}. The paper's models have ten layers and see ` +
      "5 billion tokens: a negative finding at this size says nothing about theirs; the full preset is nearer.",
  },
  {
    id: "sigmoid",
    statement: "Sigmoid attention without normalisation has no sinks at equal loss.",
    source: `${GU}, section 7.4, table 6`,
    check:
      `No head's share of attention to the first token (proxy scores) ends above epsilon, ${QUORUM_WORDS}. A seed whose loss ends more ` +
      `than ${EQUAL_LOSS} nats above the base setting's, or whose base setting has no sink, cannot say.`,
  },
  {
    id: "sigmoid-normalised",
    statement: "Normalised sigmoids bring the sinks back.",
    source: `${GU}, section 7.4, table 6`,
    check: `A head's attention to the first token ends above epsilon, ${QUORUM_WORDS}. ${SILENT}`,
  },
  {
    id: "key-bias",
    statement: "A learned key with value 0 takes the sink from the first token.",
    source: `${GU}, section 7.3, table 4`,
    check: `No head's attention to the first token ends above epsilon, and a head's weight of the learned key does, ${QUORUM_WORDS}. ${SILENT}`,
  },
];

const NO_SINK = "the base setting has no sink";

/** Decides the claims. @param arms curves of each setting, by seed */
export function judge(arms: Readonly<Record<Arm, readonly SinkCurves[]>>, epsilon: number): ClaimResult[] {
  const end = ({ strongest }: SinkCurves) => finalValue(strongest);
  const sunk = (seed: SinkCurves) => end(seed) > epsilon;
  /** A vote of each seed of a setting, beside the base of the same seed. @param silent true where a base without a sink can't say */
  const votes = (arm: Arm, says: (own: SinkCurves, base: SinkCurves) => Vote, silent = true): Vote[] =>
    arms[arm].map((own, i) => (silent && !sunk(arms.base[i]!) ? undefined : says(own, arms.base[i]!)));
  const measured = (arm: Arm) => ({
    "attention to the place, strongest head, base": range(arms.base.map(end)),
    "the same, this setting": range(arms[arm].map(end)),
    "share of heads that are sinks, base and this": `${range(arms.base.map((s) => finalValue(s.share)))}; ${range(arms[arm].map((s) => finalValue(s.share)))}`,
    "loss, base and this": `${range(arms.base.map((s) => finalValue(s.loss)))}; ${range(arms[arm].map((s) => finalValue(s.loss)))}`,
  });
  const result = (
    id: string,
    arm: Arm,
    { all, what, missing = NO_SINK }: { all: Vote[]; what: string; missing?: string },
  ): ClaimResult => ({ id, measured: measured(arm), ...vote(all, what, missing) });
  const halves = arms.base.map(({ loss, strongest }) => ({
    loss: halfOfFall(loss),
    sink: rise(strongest).half,
    steps: strongest.steps,
  }));
  return [
    {
      id: "after-loss",
      measured: {
        "step of the half of the loss's fall": spread(halves.map(({ loss }) => loss)),
        "step of the half of the sink's rise": spread(halves.map(({ sink }) => sink)),
        "attention to the first token, strongest head": range(arms.base.map(end)),
      },
      ...vote(
        votes("base", (own) => {
          const half = halves[arms.base.indexOf(own)]!;
          return comesFirst(half.loss, half.sink, half.steps);
        }),
        "the loss falls first",
        `${NO_SINK}, or ${TOO_CLOSE}`,
      ),
    },
    result("low-learning-rate", "slow", {
      all: votes("slow", (own, base) => end(own) <= end(base) - MORE && later(own.strongest, base.strongest, epsilon)),
      what: "the sink is weaker and comes later",
    }),
    result("little-data", "few", { all: votes("few", (own) => !sunk(own)), what: "there is no sink" }),
    result("weight-decay", "decay", {
      all: votes("decay", (own, base) => end(own) >= end(base) + MORE, false),
      what: "the sink is stronger",
    }),
    {
      ...result("moved", "moved", {
        all: votes("moved", (own) => sunk(own) && own.first <= epsilon),
        what: "the sink has moved",
      }),
      measured: { ...measured("moved"), "attention to the first token": range(arms.moved.map(({ first }) => first)) },
    },
    result("first-token", "unmarked", {
      all: votes("unmarked", sunk, false),
      what: "the first token is a sink",
    }),
    result("sigmoid", "sigmoid", {
      all: votes("sigmoid", (own, base) =>
        finalValue(own.loss) <= finalValue(base.loss) + EQUAL_LOSS ? !sunk(own) : undefined,
      ),
      what: "there is no sink",
      missing: `${NO_SINK}, or the loss is higher`,
    }),
    result("sigmoid-normalised", "sigmoid-normalised", {
      all: votes("sigmoid-normalised", sunk),
      what: "there is a sink",
    }),
    {
      ...result("key-bias", "key-bias", {
        all: votes("key-bias", (own) => !sunk(own) && own.beside > epsilon),
        what: "the learned key has the attention, the first token has none",
      }),
      measured: {
        ...measured("key-bias"),
        "weight of the learned key, strongest head": range(arms["key-bias"].map(({ beside }) => beside)),
      },
    },
  ];
}

/** The step at which a loss has made half of its fall. */
export function halfOfFall({ steps, values }: Curve): number | undefined {
  return rise({ steps, values: values.map((value) => -value) }).half;
}

/** True where a curve passes a level later than another, or never. */
function later(own: Curve, other: Curve, level: number): boolean {
  const [first, second] = [crossing(other, level), crossing(own, level)];
  return second === undefined || (first !== undefined && second > first);
}

/** "0.41 (0.35 to 0.46)": the mean of seeds, from the lowest to the highest. */
function range(values: readonly number[]): string {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  return `${mean(values).toFixed(2)} (${low.toFixed(2)} to ${high.toFixed(2)})`;
}
