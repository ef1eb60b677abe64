import { z } from "zod";
import { fileParameter } from "../../../common/definitions/parameters.ts";
import { HeadscopeError } from "../../../common/errors.ts";
import { maskFromKvHeads } from "../../../common/heads/mask.ts";
import { kvTable, mainMetric } from "../../../common/heads/metric.ts";
import { checkModel } from "../../../common/heads/model.ts";
import type { HeadScores } from "../../../common/heads/scores.ts";
import { choose } from "../../../common/heads/select.ts";
import type { HeadPolicy } from "../kinds/heads.ts";
import { inUnit } from "../kinds/units.ts";
import { neededScores, probeCommand } from "./score-file.ts";

/** Probes of both kinds of heads, each with a metric of its name. */
const INDUCTION = "induction";
const ECHO = "duplicate-token";
/** The probe, with options, whose score file has both metrics. */
const BOTH = "induction --param echo=true";

const parameters = z.object({
  scores: fileParameter("scores", "score file of probe induction with echo=true, which has both scores").optional(),
  induction: fileParameter("scores", "score file of probe induction, beside one of echo scores").optional(),
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
  sinks: inUnit("tokens", z.int().min(0).default(4).describe("first tokens of the other heads")),
  least: inUnit(
    "tokens",
    z
      .int()
      .min(1)
      .optional()
      .describe(
        "fewest last tokens of the other heads; a 32nd of the model's context unless told otherwise, as 4,000 is of 128k tokens",
      ),
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
  async choose({ inductionShare, echoShare, sinks, least, part, compensation, ...files }) {
    const { model, tables } = await scoresOf(files);
    const all = model.layers * model.kvHeads;
    const counts = [Math.round(all * inductionShare), Math.max(1, Math.round(all * echoShare))];
    const full = tables.flatMap((table, i) =>
      choose(table, { top: Math.min(all, counts[i]!) }).flatMap((row, layer) =>
        row.flatMap((yes, head) => (yes ? [{ layer, head }] : [])),
      ),
    );
    const source = { probe: "razor-attention", metric: "echo and induction", rule: "top", value: full.length } as const;
    const mask = maskFromKvHeads(model, full, { sink: sinks, recent: least ?? 1, source });
    return { mask, prefill: "dense", once: true, slides: { least, part, compensation } };
  },
};

/**
 * Induction and echo scores of the KV heads, of one file or of two.
 * @throws HeadscopeError (usage) for files that are missing or too many, (mismatch) for two of different models
 */
async function scoresOf({
  scores,
  induction,
  echo,
}: Pick<z.output<typeof parameters>, "scores" | "induction" | "echo">) {
  const refuse = (what: string, field: string | string[]): HeadscopeError =>
    new HeadscopeError("usage", `razor-attention ${what}`, {
      remedy: `make one file of both with ${probeCommand(BOTH)}, and give scores=FILE; or one of each, and give induction=FILE and echo=FILE`,
      field,
    });
  const own = { induction, echo };
  const given = (["induction", "echo"] as const).filter((name) => own[name] !== undefined);
  if (scores !== undefined && given.length > 0)
    throw refuse("has scores of both kinds, and others beside them", ["scores", ...given]);
  if (scores === undefined && given.length < 2)
    throw refuse("needs induction and echo scores of heads", given[0] === "induction" ? "echo" : given.length > 0 ? "induction" : "scores"); // biome-ignore format: one line
  if (scores !== undefined) {
    const both = await neededScores(scores, "razor-attention", { probe: BOTH });
    const lacks = [INDUCTION, ECHO].find((name) => both.metrics[name] === undefined);
    if (lacks) throw refuse(`needs induction and echo scores of heads, and ${scores} has no metric ${lacks}`, "scores");
    return { model: both.model, tables: [tableOf(both, INDUCTION), tableOf(both, ECHO)] };
  }
  const first = await neededScores(induction, "razor-attention", { field: "induction", probe: INDUCTION });
  const second = await neededScores(echo, "razor-attention", { field: "echo", probe: ECHO });
  checkModel(second, first.model, "the echo scores");
  return { model: first.model, tables: [tableOf(first, INDUCTION), tableOf(second, ECHO)] };
}

/** A file's metric of that name, else its main one, over KV heads. */
function tableOf(scores: HeadScores, metric: string): number[][] {
  return kvTable(scores, mainMetric(scores, metric in scores.metrics ? metric : undefined));
}
