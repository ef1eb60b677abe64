import type { Random } from "../../backend/common/random.ts";
import { CITIES, NAMES } from "../contexts/vocabulary.ts";
import { draw, one } from "../pairs/base.ts";
import { type ChoiceItem, listed, withDemonstrations } from "./base.ts";

/** Answers to "… True, False or Unknown?": entailment, contradiction, neutral. */
export const TRUTHS: readonly string[] = ["True", "False", "Unknown"];

/** A premise and a hypothesis. */
export type Pairing = readonly [premise: string, hypothesis: string];

/** A fragment of logic: a pairing of each of `TRUTHS`. */
export interface Fragment {
  readonly name: string;
  /** @param names different names @param cities different cities @returns by place in `TRUTHS` */
  pairings(random: Random, names: readonly string[], cities: readonly string[]): readonly [Pairing, Pairing, Pairing];
}

/** Kinds and what they are kinds of, in the plural. */
export const KINDS: readonly (readonly [string, string])[] = [
  ["dogs", "animals"], ["roses", "flowers"], ["hammers", "tools"], ["eagles", "birds"], ["oaks", "trees"], ["apples", "fruits"],
  ["nurses", "people"], ["chairs", "furniture items"], ["cars", "vehicles"], ["violins", "instruments"],
]; // biome-ignore format: a table
/** Fates of kinds. */
export const FATES = ["were sold", "were found", "were seen", "were counted", "were painted", "were moved"] as const;
/** Comparatives. */
export const DEGREES = ["taller", "older", "richer", "stronger", "faster", "heavier"] as const;

const has = (who: string, where: string): string => `${who} has visited ${where}.`;
const hasNot = (who: string, where: string): string => `${who} has not visited ${where}.`;

/** Inference that needs no logic but to read who has been where, for comparison: what ordinary benchmarks hold most of. */
export const PLAIN: Fragment = {
  name: "plain",
  pairings: (_, [a, b, c], [p, q]) => {
    const premise = `${has(a!, p!)} ${hasNot(b!, q!)}`;
    return [
      [premise, has(a!, p!)],
      [premise, has(b!, q!)],
      [premise, has(c!, p!)],
    ];
  },
};

/** The fragments, after Richardson et al.; monotonicity is their simple one. */
export const FRAGMENTS: readonly Fragment[] = [
  {
    name: "negation",
    pairings: (_, [a, b, c], [p, q]) => {
      const premise = `${a} has only visited ${p}, ${b} has only visited ${q}.`;
      return [
        [premise, hasNot(a!, q!)],
        [premise, hasNot(b!, q!)],
        [premise, hasNot(c!, p!)],
      ];
    },
  },
  {
    name: "boolean",
    pairings: (random, names, [p, q]) => {
      const some = names.slice(0, 3);
      const premise = `${listed(some)} have only visited ${p}.`;
      return [
        [premise, hasNot(one(random, some), q!)],
        [premise, has(one(random, some), q!)],
        [premise, has(names[3]!, p!)],
      ];
    },
  },
  {
    name: "quantifier",
    pairings: (_, [a], [p]) => [
      [`Everyone has visited ${p}.`, has(a!, p!)],
      [`No one has visited ${p}.`, has(a!, p!)],
      [`Someone has visited ${p}.`, has(a!, p!)],
    ],
  },
  {
    name: "counting",
    pairings: (_, [a], cities) => {
      const premise = has(a!, listed(cities.slice(0, 4)));
      return [
        [premise, `${a} has visited more than two cities.`],
        [premise, `${a} has visited fewer than three cities.`],
        [premise, `${a} has visited more than six cities.`],
      ];
    },
  },
  {
    name: "conditional",
    pairings: (_, [a, b], [p, q]) => {
      const rule = `if ${a} has visited ${p} then ${b} has visited ${q}.`;
      return [
        [`${a} has visited ${p}, and ${rule}`, has(b!, q!)],
        [`${a} has visited ${p}, and ${rule}`, hasNot(b!, q!)],
        [`${a} has not visited ${p}, and ${rule}`, has(b!, q!)],
      ];
    },
  },
  {
    name: "comparative",
    pairings: (random, [a, b, c]) => {
      const degree = one(random, DEGREES);
      const than = (x: string, y: string): string => `${x} is ${degree} than ${y}`;
      const chain = `${than(a!, b!)}, and ${than(b!, c!)}.`;
      return [
        [chain, `${than(a!, c!)}.`],
        [chain, `${than(c!, a!)}.`],
        [`${than(a!, b!)}, and ${than(a!, c!)}.`, `${than(b!, c!)}.`],
      ];
    },
  },
  {
    name: "monotonicity",
    pairings: (random) => {
      const [[kind, whole], fate] = [one(random, KINDS), one(random, FATES)];
      const ways: readonly (readonly [Pairing, Pairing, Pairing])[] = [
        [
          [`All ${whole} ${fate}.`, `All ${kind} ${fate}.`],
          [`All ${whole} ${fate}.`, `No ${kind} ${fate}.`],
          [`All ${kind} ${fate}.`, `All ${whole} ${fate}.`],
        ],
        [
          [`Some ${kind} ${fate}.`, `Some ${whole} ${fate}.`],
          [`Some ${kind} ${fate}.`, `No ${whole} ${fate}.`],
          [`Some ${whole} ${fate}.`, `Some ${kind} ${fate}.`],
        ],
        [
          [`No ${whole} ${fate}.`, `No ${kind} ${fate}.`],
          [`No ${whole} ${fate}.`, `Some ${kind} ${fate}.`],
          [`No ${kind} ${fate}.`, `No ${whole} ${fate}.`],
        ],
      ];
      return one(random, ways);
    },
  },
]; // biome-ignore format: a pairing a line

/**
 * Draws questions of a fragment, each truth equally often, in a random order.
 * @param shape.count questions, a multiple of 3 @param shape.shots demonstrations before each, of the same fragment, alike
 * @see Richardson et al. 2020, Probing Natural Language Inference Models through Semantic Fragments
 */
export function drawFragment(
  fragment: Fragment,
  { count, shots }: { count: number; shots: number },
  random: Random,
): ChoiceItem[] {
  const balanced = (items: number): ChoiceItem[] =>
    random.permutation(items).map((place) => question(fragment, place % TRUTHS.length, random));
  return balanced(count).map((item) => withDemonstrations(balanced(shots), item));
}

function question(fragment: Fragment, truth: number, random: Random): ChoiceItem {
  const [premise, hypothesis] = drawPairing(fragment, truth, random);
  return {
    prompt: `${premise}\nQuestion: ${hypothesis} True, False or Unknown?\nAnswer:`,
    choices: TRUTHS,
    answer: truth,
  };
}

/** Draws a premise and a hypothesis of a fragment. @param truth place in `TRUTHS` of the answer */
export function drawPairing({ pairings }: Fragment, truth: number, random: Random): Pairing {
  const [names, cities] = [draw(random, NAMES, 4), draw(random, CITIES, 4)];
  return pairings(random, names, cities)[truth]!;
}
