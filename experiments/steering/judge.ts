import type { ClaimResult, ClaimStatement } from "../base.ts";
import { mean } from "../curves.ts";
import { differenceText, meanText } from "../intervals.ts";
import { QUORUM_WORDS, vote } from "../verdicts.ts";
import type { DialValues, SteeringValues } from "./measure.ts";

/** Least change over the whole dial, by vector. */
const TURNED = { style: 0.2, labelling: 0.1 } as const;
/** Largest share of it that a random vector may make. */
const RANDOM = 0.5;
/** Least change that is worth its price, and the most that it may cost on neutral text, in nats. */
const WORTH = 0.1;
const PRICE = 0.1;

/** A vector that is a dial: of a style, or of a task. */
export type Steering = keyof typeof TURNED;

const LIU = "Liu et al. 2023, In-context Vectors";
const TODD = "Todd et al. 2024, Function Vectors in Large Language Models";

const SOURCES: Readonly<Record<Steering, string>> = { style: LIU, labelling: TODD };
const NAMES: Readonly<Record<Steering, string>> = { style: "In-context vectors", labelling: "Function vectors" };

/** The behaviour that a dial turns, in words. */
export const BEHAVIOUR: Readonly<Record<Steering, string>> = {
  style: "share of positive words among positive and negative ones",
  labelling: "probability of the right label",
};

/** The claims on a dial, as they are checked. */
export const claimsOf = (steering: Steering): ClaimStatement[] => [
  {
    id: `${steering}-dial`,
    statement: `${NAMES[steering]} are a dial: more of them, more of the behaviour.`,
    source: SOURCES[steering],
    check: `The mean ${BEHAVIOUR[steering]} rises at every step of the dial, by at least ${TURNED[steering]} over all of it, ${QUORUM_WORDS}.`,
  },
  {
    id: `${steering}-direction`,
    statement: `${NAMES[steering]} do it by their direction.`,
    source: `Expected of ${SOURCES[steering]}`,
    check: `Random vectors of the same lengths at the same places change it by less than ${RANDOM} as much over the dial, either way, ${QUORUM_WORDS}. A seed whose own change is less than ${TURNED[steering]} cannot say.`,
  },
  {
    id: `${steering}-cost`,
    statement: `${NAMES[steering]} cost little on neutral text.`,
    source: `Expected of ${SOURCES[steering]}`,
    check: `At the first place of the dial that raises it by ${WORTH} above none, the loss on neutral text is at most ${PRICE} nats above that without, ${QUORUM_WORDS}. A seed without such a place cannot say.`,
  },
]; // biome-ignore format: a claim's parts a line

/** The claim on in-context vectors beside their examples in the prompt, as it is checked. */
export const demonstrationsClaim: ClaimStatement = {
  id: "style-demonstrations",
  statement: "In-context vectors do at least as much as their examples in the prompt.",
  source: LIU,
  check: `At the dial's end the mean ${BEHAVIOUR.style} is at least that behind the examples' targets, a line each, ${QUORUM_WORDS}.`,
};

/** Mean behaviour by place of the dial. */
export function byPlace({ behaviour }: DialValues): number[] {
  return behaviour.map(mean);
}

function change(values: DialValues): number {
  const means = byPlace(values);
  return means.at(-1)! - means[0]!;
}

/** Decides the claims on a dial. @param seeds one each @param dial its places, 0 among them */
export function judgeDial(steering: Steering, seeds: readonly SteeringValues[], dial: readonly number[]): ClaimResult[] {
  const zero = dial.indexOf(0);
  const at = (place: number) => meanText(seeds.flatMap(({ own }) => own.behaviour[place]!));
  const costs = seeds.map(({ own }) => {
    const means = byPlace(own);
    const place = means.findIndex((value, i) => i > zero && value >= means[zero]! + WORTH);
    return place < 0 ? undefined : { place: dial[place]!, nats: own.loss[place]! - own.loss[zero]! };
  });
  const present = costs.filter((cost) => cost !== undefined);
  const rises = (values: DialValues) => byPlace(values).every((value, i, all) => i === 0 || value > all[i - 1]!);
  const changes = (which: "own" | "random") =>
    differenceText(seeds.flatMap(({ [which]: { behaviour } }) => behaviour.at(-1)!.map((value, p) => value - behaviour[0]![p]!)));
  return [
    {
      id: `${steering}-dial`,
      measured: {
        "at the dial's start": at(0),
        "without": at(zero),
        "at its end": at(dial.length - 1),
        "change over the dial": changes("own"),
        "largest step down": Math.max(0, ...seeds.flatMap(({ own }) => byPlace(own).map((value, i, all) => (i === 0 ? 0 : all[i - 1]! - value)))),
      },
      ...vote(
        seeds.map(({ own }) => rises(own) && change(own) >= TURNED[steering]),
        "it rises at every step, by that much",
        "",
      ),
    },
    {
      id: `${steering}-direction`,
      measured: { "change over the dial": changes("own"), "the same, random vectors": changes("random") },
      ...vote(
        seeds.map(({ own, random }) =>
          change(own) >= TURNED[steering] ? Math.abs(change(random)) < RANDOM * change(own) : undefined,
        ),
        "random vectors do less than half as much",
        "the vector itself does too little",
      ),
    },
    {
      id: `${steering}-cost`,
      measured: {
        "places of the dial": [...new Set(present.map(({ place }) => place))].sort((a, b) => a - b).join(", ") || null,
        "loss above that without, in nats": present.length > 0 ? mean(present.map(({ nats }) => nats)) : null,
        "the same at the dial's end": mean(seeds.map(({ own }) => own.loss.at(-1)! - own.loss[zero]!)),
        "at the dial's end, random vectors": mean(seeds.map(({ random }) => random.loss.at(-1)! - random.loss[zero]!)),
        "loss without": mean(seeds.map(({ own }) => own.loss[zero]!)),
      },
      ...vote(
        costs.map((cost) => (cost === undefined ? undefined : cost.nats <= PRICE)),
        "it costs no more",
        "no place of the dial does enough",
      ),
    },
  ];
} // biome-ignore format: a value a line

/** Decides the claim on the examples in the prompt. @param seeds one each */
export function judgeDemonstrations(seeds: readonly SteeringValues[]): ClaimResult {
  return {
    id: "style-demonstrations",
    measured: {
      "at the dial's end": meanText(seeds.flatMap(({ own }) => own.behaviour.at(-1)!)),
      "behind the examples": meanText(seeds.flatMap((seed) => seed.demonstrations)),
    },
    ...vote(
      seeds.map(({ own, demonstrations: shown }) => byPlace(own).at(-1)! >= mean(shown)),
      "the vectors do as much",
      "",
    ),
  };
}
