import { z } from "zod";
import type { Random } from "../../../backend/common/random.ts";
import { COLOURS, PLACES } from "../../../backend/common/texts/haystack.ts";
import { draw, fill, one } from "../../pairs/base.ts";
import { contextTask, questionsParameter } from "../base.ts";
import { largest } from "../draw.ts";
import { endless, haystackCase } from "../needles/haystack.ts";
import { ANIMALS, CITIES, FRUITS, NAMES, THINGS } from "../vocabulary.ts";

const parameters = z.object({
  questions: questionsParameter(8),
  sentences: z.int().min(1).max(32).default(3).describe("sentences of a passage"),
});

/** Form of a sentence with six words that are drawn. */
export const PASSAGE = "the {animal} from {city} hid a {fruit} and a {colour} {thing} behind the {place}.";

/** A sentence that nobody could foretell: six words of it are drawn. */
function sentence(random: Random): string {
  const [animal, fruit, thing] = [one(random, ANIMALS), one(random, FRUITS), one(random, THINGS)];
  const [colour, place, city] = [one(random, COLOURS), one(random, PLACES), one(random, CITIES)];
  return fill(PASSAGE, { animal, fruit, thing, colour, place, city });
}

/** The second occurrence of a passage. */
export const repeatedText = contextTask({
  name: "repeated-text",
  title: "A passage for the second time",
  description:
    "Passages of sentences with random words stand somewhere in a text, each told by someone; at the end one is told again, and the tokens of " +
    "its second occurrence are scored by loss and by the share of them that are the likeliest. What fell out of the context can't be copied.",
  source: "Olsson et al. 2022 (repeated text); Xiao et al. 2024, DuoAttention (copying over long contexts)",
  parameters,
  scoring: "text",
  answerTokens: () => 0,
  draw(room, { questions, sentences }) {
    const { random } = room;
    const passages = draw(random, NAMES, questions).map((name) => {
      const [beginning, text] = [
        `${name} told this story:`,
        ` ${Array.from({ length: sentences }, () => sentence(random)).join(" Then ")}`,
      ];
      return { beginning, text, needle: { text: beginning + text, share: random.uniform() } };
    });
    const haystack = {
      opening: "",
      needles: passages.map(({ needle }) => needle),
      questions: passages.map(({ beginning, text, needle }) => ({
        question: `\n\nAgain ${beginning}`,
        answers: [text],
        needles: [needle.text],
        chance: 0,
      })),
    };
    const filler = endless(random);
    return largest("repeated-text", room, (count) => haystackCase(haystack, filler, count));
  },
});
