import { z } from "zod";
import { maskFromScores } from "../../../common/heads/mask.ts";
import { DEFAULT_RECENT, DEFAULT_SINK } from "../../../common/heads/window.ts";
import type { HeadPolicy } from "../kinds/heads.ts";
import { halfToEven } from "../kinds/parameters.ts";
import { inUnit } from "../kinds/units.ts";
import { momentsOfHeads, onceOrSliding } from "./moments.ts";
import { neededScores, scoresParameter } from "./score-file.ts";

const parameters = z.object({
  scores: scoresParameter,
  metric: z.string().optional().describe("metric of the score file, default its main one"),
  ratio: z
    .number()
    .min(0)
    .max(1)
    .default(0.5)
    .describe("share of the KV heads that stream: those of the lowest scores"),
  sinks: inUnit("tokens", z.int().min(0).default(DEFAULT_SINK).describe("first tokens of streaming heads")),
  recent: inUnit("tokens", z.int().min(1).default(DEFAULT_RECENT).describe("last tokens of streaming heads")),
  ...momentsOfHeads,
});

/** Heads that retrieve keep everything. */
export const retrievalHeads: HeadPolicy<typeof parameters> = {
  name: "retrieval-heads",
  title: "Heads of the highest retrieval scores whole",
  description:
    "KV heads whose query heads copy from far back keep every token; the others keep the first `sinks` and the last `recent`. Scores are " +
    "those of probe retrieval, or of a file of Retrieval_Head; a KV head has the highest of its query heads.",
  source: "Wu et al. 2024, Retrieval Head Mechanistically Explains Long-Context Factuality",
  chooses: "heads",
  parameters,
  async choose({ scores: path, metric, ratio, sinks, recent, ...moments }) {
    const scores = await neededScores(path, "retrieval-heads");
    const all = scores.model.layers * scores.model.kvHeads;
    const window = { sink: sinks, recent };
    const mask = maskFromScores(scores, { top: all - halfToEven(all * ratio), metric, scoresFile: path, ...window });
    return { mask, ...onceOrSliding(moments) };
  },
};
