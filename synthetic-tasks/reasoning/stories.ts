import type { Random } from "../../backend/common/random.ts";
import { NAMES, THINGS } from "../contexts/vocabulary.ts";
import { draw, one } from "../pairs/base.ts";
import { type ChoiceItem, withDemonstrations } from "./base.ts";

/** Deeds with things: past and base form. */
export const DEEDS: readonly (readonly [string, string])[] = [
  ["bought", "buy"], ["sold", "sell"], ["found", "find"], ["lost", "lose"], ["broke", "break"], ["painted", "paint"],
  ["cleaned", "clean"], ["stole", "steal"],
]; // biome-ignore format: a table
/** Deeds between people, none of which goes both ways by itself. */
const DEALINGS: readonly (readonly [string, string])[] = [
  ["paid", "pay"], ["called", "call"], ["helped", "help"], ["followed", "follow"], ["thanked", "thank"], ["visited", "visit"],
  ["blamed", "blame"], ["trusted", "trust"],
]; // biome-ignore format: a table

/** Things that are answers: the words that tokenizers leave whole. */
const WHOLE_THINGS = THINGS.filter((thing) => thing !== "suitcase");

/** Answers to questions of yes and no. */
export const POLAR: readonly string[] = ["yes", "no", "unknown"];
const [YES, NO, UNKNOWN] = [0, 1, 2] as const;

/** Sentences of a story. */
const SENTENCES = 3;

/** Ways in which a story is asked about, or changed before it is asked about. */
export const STORY_QUESTIONS = [
  "true", "false", "deleted", "negated", "which", "which-deleted", "which-negated", "straight", "other", "swapped",
] as const; // biome-ignore format: a list
/** One of `STORY_QUESTIONS`. */
export type StoryQuestion = (typeof STORY_QUESTIONS)[number];

/** Questions about one story and its changes, each with demonstrations of its kind. */
export type StoryItems = Readonly<Record<StoryQuestion, ChoiceItem>>;

/** A sentence of a story. */
interface Event {
  readonly who: string;
  /** Past and base form. */
  readonly deed: readonly [string, string];
  readonly what: string;
}

/** A form in which events are told and asked about. */
interface Telling {
  /** Names the thing or person in a sentence. */
  object(what: string): string;
}

const WITH_THINGS: Telling = { object: (what) => `the ${what}` };
const WITH_PEOPLE: Telling = { object: (what) => what };

/**
 * Draws a story of three sentences and what is asked about it: "did Anna buy the lamp?" and "what did Anna buy?" of the story as it is,
 * without the sentence that says so, and with its negation; "did Tom pay Anna?" of a story where Anna paid Tom.
 * @see Chaturvedi et al. 2024, Analyzing Semantic Faithfulness of Language Models via Input Intervention
 */
export function drawStory(random: Random): StoryItems {
  const [first, second, third, fourth, own] = Array.from({ length: 5 }, () => eventsWithThings(random)) as [Event[], Event[], Event[], Event[], Event[]]; // biome-ignore format: one line
  const outsider = outsiderOf(third, random);
  const shown = random.permutation(SENTENCES);
  const [a, b] = [shown[0]!, shown[1]!];
  const polarShots = [
    polar(first, { of: first[a]!, answer: YES }),
    polar(second, { of: { ...second[b]!, what: second[a]!.what }, answer: NO }),
    polar(third, { of: { ...third[a]!, who: outsider }, answer: UNKNOWN }),
    polar(fourth, { of: fourth[b]!, answer: NO, negated: b }),
  ];
  const order = random.permutation(polarShots.length);
  const polarWith = (item: ChoiceItem): ChoiceItem => withDemonstrations(order.map((i) => polarShots[i]!), item); // biome-ignore format: one line
  const whichShots = [which(first, a), which(second, b), which(third, a, "negated")];
  const whichOrder = random.permutation(whichShots.length);
  const whichWith = (item: ChoiceItem): ChoiceItem => withDemonstrations(whichOrder.map((i) => whichShots[i]!), item); // biome-ignore format: one line
  const place = random.integer(0, SENTENCES);
  const elsewhere = (place + 1 + random.integer(0, SENTENCES - 1)) % SENTENCES;
  const asked = own[place]!;
  return {
    true: polarWith(polar(own, { of: asked, answer: YES })),
    false: polarWith(polar(own, { of: { ...asked, what: own[elsewhere]!.what }, answer: NO })),
    deleted: polarWith(polar(own, { of: asked, answer: UNKNOWN, deleted: place })),
    negated: polarWith(polar(own, { of: asked, answer: NO, negated: place })),
    which: whichWith(which(own, place)),
    "which-deleted": whichWith(which(own, place, "deleted")),
    "which-negated": whichWith(which(own, place, "negated")),
    ...roles(random),
  };
}

/** Somebody whom a story does not name. */
function outsiderOf(events: readonly Event[], random: Random): string {
  return one(random, NAMES.filter((name) => events.every(({ who, what }) => who !== name && what !== name))); // biome-ignore format: one line
}

function eventsWithThings(random: Random): Event[] {
  const [people, deeds, things] = [draw(random, NAMES, SENTENCES), draw(random, DEEDS, SENTENCES), draw(random, WHOLE_THINGS, SENTENCES)]; // biome-ignore format: one line
  return people.map((who, i) => ({ who, deed: deeds[i]!, what: things[i]! }));
}

function eventsWithPeople(random: Random): Event[] {
  const [people, deeds] = [draw(random, NAMES, 2 * SENTENCES), draw(random, DEALINGS, SENTENCES)];
  return deeds.map((deed, i) => ({ who: people[2 * i]!, deed, what: people[2 * i + 1]! }));
}

/** Changes of a story: a sentence that is left out or denied. */
interface Changes {
  readonly deleted?: number;
  readonly negated?: number;
}

function told(events: readonly Event[], { deleted, negated }: Changes, { object }: Telling): string {
  return events
    .map(({ who, deed: [past, base], what }, i) =>
      i === negated ? `${who} did not ${base} ${object(what)}.` : `${who} ${past} ${object(what)}.`,
    )
    .filter((_, i) => i !== deleted)
    .join(" ");
}

function polar(
  events: readonly Event[],
  { of: { who, deed, what }, answer, ...changes }: Changes & { of: Event; answer: number },
  telling: Telling = WITH_THINGS,
): ChoiceItem {
  const question = `Did ${who} ${deed[1]} ${telling.object(what)}?`;
  return { prompt: `${told(events, changes, telling)}\nQuestion: ${question}\nAnswer:`, choices: POLAR, answer };
}

/** The answers are the things of the story and "nothing", which is right where the sentence is denied or gone. */
function which(events: readonly Event[], place: number, change?: "deleted" | "negated"): ChoiceItem {
  const { who, deed } = events[place]!;
  const changes: Changes = change === undefined ? {} : { [change]: place };
  return {
    prompt: `${told(events, changes, WITH_THINGS)}\nQuestion: What did ${who} ${deed[1]}?\nAnswer:`,
    choices: [...events.map(({ what }) => what), "nothing"],
    answer: change === undefined ? place : events.length,
  };
}

/** Questions about who did it to whom; the demonstrations have none with the two exchanged. */
function roles(random: Random): Pick<StoryItems, "straight" | "other" | "swapped"> {
  const [first, second, third, own] = [0, 1, 2, 3].map(() => eventsWithPeople(random)) as [Event[], Event[], Event[], Event[]]; // biome-ignore format: one line
  const [a, b, c] = random.permutation(SENTENCES) as [number, number, number];
  const outsider = outsiderOf(third, random);
  const shots = [
    polar(first, { of: first[a]!, answer: YES }, WITH_PEOPLE),
    polar(second, { of: { ...second[b]!, what: second[a]!.what }, answer: NO }, WITH_PEOPLE),
    polar(third, { of: { ...third[c]!, who: outsider }, answer: UNKNOWN }, WITH_PEOPLE),
  ];
  const order = random.permutation(shots.length);
  const place = random.integer(0, SENTENCES);
  const asked = own[place]!;
  const ask = (event: Event, answer: number): ChoiceItem =>
    withDemonstrations(order.map((i) => shots[i]!), polar(own, { of: event, answer }, WITH_PEOPLE)); // biome-ignore format: one line
  return {
    straight: ask(asked, YES),
    other: ask({ ...asked, what: own[(place + 1) % SENTENCES]!.what }, NO),
    swapped: ask({ ...asked, who: asked.what, what: asked.who }, NO),
  };
}
