import { z } from "zod";
import { draw } from "../../pairs/base.ts";
import { amongChance, contextTask, questionsParameter } from "../base.ts";
import { largest } from "../draw.ts";
import { NAMES } from "../vocabulary.ts";
import { endless, haystackCase } from "./haystack.ts";

/** Things that go from hand to hand: what is said of the first who has it, and of each who passes it on. */
const KINDS = [
  { thing: "ball", first: "The ball was thrown to", on: "threw the ball to" },
  { thing: "parcel", first: "The parcel was sent to", on: "sent the parcel to" },
  { thing: "violin", first: "The violin was lent to", on: "lent the violin to" },
  { thing: "ring", first: "The ring was sold to", on: "sold the ring to" },
] as const;

const parameters = z.object({
  questions: questionsParameter(KINDS.length),
  hops: z.int().min(0).max(8).default(2).describe("times that a thing is passed on"),
});

/** Chains of who has something from whom. */
export const variableTracking = contextTask({
  name: "variable-tracking",
  title: "Variable tracking",
  description:
    "A thing is passed on: 'The ball was thrown to Anna.', 'Anna threw the ball to Tom.' and so on stand in this order scattered over a text, " +
    "as assignments of a variable to the next. A question asks for all who had it; each further one is about another thing. The score is the " +
    "share that is named.",
  source: "Hsieh et al. 2024, RULER (variable tracking), in words",
  parameters,
  scoring: "answers",
  answerTokens: ({ hops }) => 10 * (hops + 1),
  draw(room, { questions, hops }) {
    const { random } = room;
    const names = draw(random, NAMES, questions * (hops + 1));
    const chains = draw(random, KINDS, questions).map(({ thing, first, on }, q) => {
      const own = names.slice(q * (hops + 1), (q + 1) * (hops + 1));
      const shares = own.map(() => random.uniform()).sort((a, b) => a - b);
      const texts = own.map((name, hop) => `${hop === 0 ? first : `${own[hop - 1]} ${on}`} ${name}.`);
      return { thing, first, own, needles: texts.map((text, hop) => ({ text, share: shares[hop]! })) };
    });
    const haystack = {
      opening: "Read the following text carefully.",
      needles: chains.flatMap(({ needles }) => needles),
      questions: chains.map(({ thing, first, own, needles }) => ({
        question: `Who had the ${thing}? Name all, one after the other.`,
        lead: first,
        answers: own,
        needles: needles.map(({ text }) => text),
        chance: amongChance(own.length, own.length, NAMES.length),
      })),
    };
    const sentence = endless(random);
    return largest("variable-tracking", room, (sentences) => haystackCase(haystack, sentence, sentences));
  },
});
