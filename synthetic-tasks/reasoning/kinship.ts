import type { Random } from "../../backend/common/random.ts";
import { draw, MEN, one, WOMEN } from "../pairs/base.ts";
import type { ChoiceItem } from "./base.ts";

/** A composition of relations: x is `first` of y, and y is `second` of z, so x is `whole` of z. */
interface Rule {
  readonly first: string;
  readonly second: string;
  readonly whole: string;
}

/** Compositions by first relation, each with the second ones that it may have. */
const RULES: readonly (readonly [string, readonly string[], string])[] = [
  ["mother", ["mother", "father"], "grandmother"],
  ["father", ["mother", "father"], "grandfather"],
  ["sister", ["mother", "father"], "aunt"],
  ["brother", ["mother", "father"], "uncle"],
  ["son", ["sister", "brother"], "nephew"],
];

/** Relations whose bearers are women. */
const FEMALE = new Set(["mother", "sister"]);

/** Letters that stand for relations; none is a word, nor one of the rules' x, y and z. */
const SYMBOLS = [..."BCDFGHJKLMNPQRSTVW"];

/** Rules of a question, of which one applies. */
const RULES_SHOWN = 3;

/** The words that relations have: their own, letters, or their own with the conclusions exchanged. */
export const RELATION_WORDS = ["semantic", "symbolic", "counter"] as const;
/** One of `RELATION_WORDS`. */
export type RelationWords = (typeof RELATION_WORDS)[number];

/** Kinds of reasoning: from rule and facts to the conclusion, from examples to the rule, from rule and conclusion to a premise. */
export const REASONING = ["deduction", "induction", "abduction"] as const;
/** One of `REASONING`. */
export type Reasoning = (typeof REASONING)[number];

/** A question of every kind, in every wording: the same rules, people and order, told in other words. */
export interface KinshipQuestion {
  readonly items: Readonly<Record<Reasoning, Readonly<Record<RelationWords, ChoiceItem>>>>;
  /** Deduction in the relations' own words, without any rule. */
  readonly withoutRules: ChoiceItem;
}

/** x, y and z of a rule's instance. */
type People = readonly [string, string, string];

/**
 * Draws a question about relations of relatives: three rules with different relations, of which one is asked for.
 * @see Tang et al. 2023, Large Language Models are In-Context Semantic Reasoners rather than Symbolic Reasoners
 */
export function drawKinship(random: Random): KinshipQuestion {
  const rules = draw(random, RULES, RULES_SHOWN).map(([first, seconds, whole]): Rule => ({ first, second: one(random, seconds), whole })); // biome-ignore format: one line
  const asked = random.integer(0, RULES_SHOWN);
  const people = peopleOf(rules, random);
  const order = random.permutation(2 * RULES_SHOWN);
  const words: Record<RelationWords, readonly Rule[]> = {
    semantic: rules,
    symbolic: symbolic(rules, random),
    counter: exchanged(rules, random),
  };
  const inWords = (item: (worded: readonly Rule[]) => ChoiceItem): Record<RelationWords, ChoiceItem> => ({
    semantic: item(words.semantic),
    symbolic: item(words.symbolic),
    counter: item(words.counter),
  });
  const query = people.at(-1)![asked]!;
  return {
    items: {
      deduction: inWords((worded) => deduction(worded, asked, query)),
      induction: inWords((worded) => induction(worded, asked, { people, order })),
      abduction: inWords((worded) => abduction(worded, asked, query)),
    },
    withoutRules: deduction(rules, asked, query, false),
  };
}

/** People for three instances of every rule: two examples and a question [instance][rule]. */
function peopleOf(rules: readonly Rule[], random: Random): People[][] {
  const bearers = (relation: string): readonly string[] => (FEMALE.has(relation) ? WOMEN : MEN);
  return [0, 1, 2].map(() =>
    rules.map(({ first, second }): People => {
      const x = one(random, bearers(first));
      const y = one(random, bearers(second).filter((name) => name !== x)); // biome-ignore format: one line
      return [x, y, one(random, [...WOMEN, ...MEN].filter((name) => name !== x && name !== y))]; // biome-ignore format: one line
    }),
  );
}

/** The rules with a letter for every relation. */
function symbolic(rules: readonly Rule[], random: Random): Rule[] {
  const relations = [...new Set(rules.flatMap(({ first, second, whole }) => [first, second, whole]))];
  const letters = draw(random, SYMBOLS, relations.length);
  const letter = (relation: string): string => letters[relations.indexOf(relation)]!;
  return rules.map(({ first, second, whole }) => ({ first: letter(first), second: letter(second), whole: letter(whole) })); // biome-ignore format: one line
}

/** The rules with each other's conclusions. */
function exchanged(rules: readonly Rule[], random: Random): Rule[] {
  const other = random.derangement(rules.length);
  return rules.map((rule, r) => ({ ...rule, whole: rules[other[r]!]!.whole }));
}

/** "Anna is the sister of Tom" */
function fact(x: string, relation: string, y: string): string {
  return `${x} is the ${relation} of ${y}`;
}

/** "If x is the sister of y and y is the mother of z, then x is the" @param start "If", or what it begins with instead */
function ruleHead({ first, second }: Rule, start = "If"): string {
  return `${start} ${fact("x", first, "y")} and ${fact("y", second, "z")}, then x is the`;
}

function rulesText(rules: readonly Rule[]): string {
  return rules.map((rule) => `${ruleHead(rule)} ${rule.whole} of z.\n`).join("");
}

function deduction(rules: readonly Rule[], asked: number, [x, y, z]: People, shown = true): ChoiceItem {
  const { first, second } = rules[asked]!;
  return {
    prompt: `${shown ? rulesText(rules) : ""}${fact(x, first, y)}. ${fact(y, second, z)}.\nSo for ${z}, ${x} is the`,
    choices: rules.map(({ whole }) => whole),
    answer: asked,
  };
}

function induction(
  rules: readonly Rule[],
  asked: number,
  { people, order }: { people: readonly (readonly People[])[]; order: readonly number[] },
): ChoiceItem {
  const examples = order.map((place) => {
    const { first, second, whole } = rules[place % rules.length]!;
    const [x, y, z] = people[Math.floor(place / rules.length)]![place % rules.length]!;
    return `${fact(x, first, y)}. ${fact(y, second, z)}. ${fact(x, whole, z)}.\n`;
  });
  return {
    prompt: `${examples.join("")}${ruleHead(rules[asked]!, "So if")}`,
    choices: rules.map(({ whole }) => whole),
    answer: asked,
  };
}

function abduction(rules: readonly Rule[], asked: number, [x, y, z]: People): ChoiceItem {
  const { second, whole } = rules[asked]!;
  return {
    prompt: `${rulesText(rules)}${fact(x, whole, z)}. ${fact(y, second, z)}.\nSo for ${y}, ${x} is the`,
    choices: rules.map(({ first }) => first),
    answer: asked,
  };
}
