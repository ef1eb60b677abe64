import { z } from "zod";
import { fileParameter } from "../../../common/definitions/parameters.ts";
import { maskFromKvHeads } from "../../../common/heads/mask.ts";
import { kvTable, mainMetric } from "../../../common/heads/metric.ts";
import { checkModel } from "../../../common/heads/model.ts";
import { choose } from "../../../common/heads/select.ts";
import type { HeadPolicy } from "../kinds/heads.ts";
import { neededScores } from "./score-file.ts";

const parameters = z.object({
  induction: fileParameter("scores", "score file of probe induction").optional(),
  echo: fileParameter("scores", "score file of probe duplicate-token: attention to the earlier same token").optional(),
  inductionShare: z
    .number()
    .min(0)
    .max(1)
    .default(0.14)
    .describe("share of the KV heads that keep everything for their induction score"),
  echoShare: z
    .number()
    .min(0)
    .max(1)
    .default(0.01)
    .describe("share that keeps everything for its echo score; at least one head"),
  sinks: z.int().min(0).default(4).describe("first tokens of the other heads"),
  least: z
    .int()
    .min(1)
    .optional()
    .describe(
      "fewest last tokens of the other heads; a 32nd of the model's context unless told otherwise, as 4,000 is of 128k tokens",
    ),
  part: z.number().gt(0).max(1).default(0.2).describe("share of the prompt that is their window, where that is more"),
  compensation: z
    .boolean()
    .default(true)
    .describe("whether one row stands for the tokens that go: their means, by their number"),
});

/** Echo and induction heads keep everything, the others a window and one row for what goes. */
export const razorAttention: HeadPolicy<typeof parameters> = {
  name: "razor-attention",
  title: "A row that stands for what goes",
  description:
    "KV heads whose query heads attend to the earlier same token, or to what followed it, keep every token. The others keep the first " +
    "tokens and a window at the end of the prompt, which then slides; the means of the keys and values that go stand in one row, which " +
    "counts in the softmax as often as tokens have gone.",
  source: "Tang et al. 2024, RazorAttention: Efficient KV Cache Compression Through Retrieval Heads",
  chooses: "heads",
  parameters,
  async choose({ induction, echo, inductionShare, echoShare, sinks, least, part, compensation }) {
    const first = await neededScores(induction, "razor-attention", { field: "induction", probe: "induction" });
    const second = await neededScores(echo, "razor-attention", { field: "echo", probe: "duplicate-token" });
    checkModel(second, first.model, "the echo scores");
    const all = first.model.layers * first.model.kvHeads;
    const best = (scores: typeof first, top: number): boolean[][] =>
      choose(kvTable(scores, mainMetric(scores)), { top: Math.min(all, top) });
    const chosen = [
      best(first, Math.round(all * inductionShare)),
      best(second, Math.max(1, Math.round(all * echoShare))),
    ];
    const full = chosen.flatMap((table) =>
      table.flatMap((row, layer) => row.flatMap((yes, head) => (yes ? [{ layer, head }] : []))),
    );
    const source = { probe: "razor-attention", metric: "echo and induction", rule: "top", value: full.length } as const;
    const mask = maskFromKvHeads(first.model, full, { sink: sinks, recent: least ?? 1, source });
    return { mask, prefill: "dense", once: true, slides: { least, part, compensation } };
  },
};
