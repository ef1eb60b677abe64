import { z } from "zod";
import { chosen, draw, fill, MEN, one, pairTask, templateParameter, WOMEN } from "./base.ts";

/** {A} and {B} are introduced, {S} is the one of them who gives. */
const TEMPLATES = [
  "When {A} and {B} went to the {place}, {S} gave a {thing} to",
  "After {A} and {B} had a long talk at the {place}, {S} handed a {thing} to",
  "Then, {A} and {B} were working at the {place}. {S} decided to give a {thing} to",
  "While {A} and {B} were walking to the {place}, {S} sold a {thing} to",
  "Then, {A} and {B} had a lot of fun at the {place}. {S} gave a {thing} to",
  "When {A} and {B} found a {thing} at the {place}, {S} offered it to",
] as const;

const PLACES = ["store", "garden", "restaurant", "school", "hospital", "office", "house", "station", "park", "beach"];
const THINGS = ["ring", "kiss", "book", "basketball", "computer", "necklace", "drink", "snack", "letter", "gift"];

const parameters = z.object({
  order: z
    .enum(["both", "ABBA", "BABA"])
    .default("both")
    .describe("whether the giver was named second (ABBA), first (BABA), or each half of the time"),
  template: templateParameter(TEMPLATES.length),
});

/** Indirect object identification: to whom something is given. */
export const ioi = pairTask({
  name: "ioi",
  title: "Indirect object identification",
  description:
    "Two people are named, one of them gives: 'When Mary and John went to the store, John gave a drink to' calls for Mary. " +
    "In the corrupt prompt the other one gives, so that the answers change places.",
  source: "Wang et al. 2023, Interpretability in the Wild: a Circuit for Indirect Object Identification in GPT-2 small",
  parameters,
  kinds({ order, template }, vocabulary) {
    const names = vocabulary.single([...WOMEN, ...MEN], "names");
    const places = vocabulary.single(PLACES, "places", 1);
    const things = vocabulary.single(THINGS, "things", 1);
    const orders = (["ABBA", "BABA"] as const).filter((kind) => order === "both" || order === kind);
    return chosen(TEMPLATES, template).flatMap(([number, text]) =>
      orders.map((kind) => ({
        name: `${kind}, template ${number}`,
        draw(random) {
          const [A, B] = draw(random, names, 2) as [string, string];
          const [place, thing] = [one(random, places), one(random, things)];
          const [giver, receiver] = kind === "ABBA" ? [B, A] : [A, B];
          const prompt = (S: string): string => fill(text, { A, B, S, place, thing });
          return { clean: prompt(giver), corrupt: prompt(receiver), answer: ` ${receiver}`, wrong: ` ${giver}` };
        },
      })),
    );
  },
});
