import type { LabelledTexts } from "./base.ts";

const THINGS = [
  "film", "meal", "hotel", "book", "concert", "phone", "game", "service", "trip", "show", "music", "room", "party", "play", "food",
  "lesson", "garden", "coffee", "view", "story",
]; // biome-ignore format: a table
const PEOPLE = [
  "my sister",
  "my friend",
  "the guest",
  "our teacher",
  "my father",
  "the writer",
  "my wife",
  "the critic",
];

const COMMON = { thing: THINGS, person: PEOPLE };

/** Short reviews, positive or negative. */
export const sentiment: LabelledTexts = {
  name: "sentiment",
  description: "Short reviews such as 'the meal was wonderful', positive or negative.",
  labels: ["positive", "negative"],
  templates: [
    "the {thing} was {quality}",
    "{person} {feeling} the {thing}",
    "it was a {quality} {thing}",
    "the {thing} felt {quality} and {quality}",
    "{person} called the {thing} {quality}",
  ],
  slots: [
    {
      ...COMMON,
      quality: ["wonderful", "great", "excellent", "lovely", "perfect", "brilliant", "amazing", "beautiful", "delightful", "superb"],
      feeling: ["loved", "enjoyed", "praised", "admired", "adored", "recommended"],
    },
    {
      ...COMMON,
      quality: ["terrible", "awful", "horrible", "bad", "poor", "boring", "dreadful", "disappointing", "disgusting", "ugly"],
      feeling: ["hated", "disliked", "regretted", "despised", "criticized", "rejected"],
    },
  ], // biome-ignore format: a table
};
