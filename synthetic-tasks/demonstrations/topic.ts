import type { LabelledTexts } from "./base.ts";

const WHEN = ["today", "again", "last week", "in May", "on Monday", "at last"];

/** Short news of four topics. */
export const topic: LabelledTexts = {
  name: "topic",
  description: "Short news such as 'the striker scored in the match', of sports, business, science or music.",
  labels: ["sports", "business", "science", "music"],
  templates: ["the {agent} {did} {matter} {when}", "{matter} for the {agent} {when}", "the {agent} and {matter}"],
  slots: [
    {
      when: WHEN,
      agent: ["striker", "goalkeeper", "coach", "runner", "champion", "boxer", "swimmer", "tennis player"],
      did: ["won", "lost", "watched", "missed"],
      matter: ["the match", "the race", "the final", "the tournament", "the penalty", "the league title"],
    },
    {
      when: WHEN,
      agent: ["bank", "company", "investor", "shareholder", "firm", "manager", "trader", "retailer"],
      did: ["reported", "sold", "doubled", "discussed"],
      matter: ["the profits", "the shares", "the merger", "the loan", "the quarterly earnings", "the market"],
    },
    {
      when: WHEN,
      agent: ["physicist", "biologist", "astronomer", "chemist", "laboratory", "geologist", "researcher", "telescope"],
      did: ["measured", "discovered", "studied", "explained"],
      matter: ["the particle", "the galaxy", "the molecule", "the experiment", "the genome", "the planet"],
    },
    {
      when: WHEN,
      agent: ["pianist", "singer", "orchestra", "guitarist", "composer", "violinist", "band", "choir"],
      did: ["played", "recorded", "rehearsed", "performed"],
      matter: ["the song", "the symphony", "the album", "the melody", "the concerto", "the opera"],
    },
  ],
};
