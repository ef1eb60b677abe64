import { z } from "zod";
import { fileParameter } from "../../../common/definitions/parameters.ts";
import { HeadscopeError } from "../../../common/errors.ts";
import { maskFromScores } from "../../../common/heads/mask.ts";
import { kvTable, mainMetric } from "../../../common/heads/metric.ts";
import { DEFAULT_RECENT, DEFAULT_SINK } from "../../../common/heads/window.ts";
import { counted } from "../../../common/text.ts";
import { readMask, readScores } from "../../../heads/files.ts";
import type { HeadChoice, HeadPolicy } from "../kinds/heads.ts";
import { halfToEven } from "../kinds/parameters.ts";
import { inUnit } from "../kinds/units.ts";
import { momentsOfHeads, onceOrSliding } from "./moments.ts";

const parameters = z.object({
  mask: fileParameter("mask", "mask file: which KV heads keep everything, and what the others keep").optional(),
  gates: fileParameter("scores", "score file of the KV heads' gates, instead of a mask").optional(),
  metric: z.string().optional().describe("metric of the score file, default its main one"),
  ratio: z.number().min(0).max(1).optional().describe("share of the KV heads that stream: those of the lowest gates"),
  threshold: z.number().optional().describe("gate from which on a head keeps everything, instead of a ratio"),
  sinks: inUnit(
    "tokens",
    z.int().min(0).optional().describe(`first tokens of streaming heads, ${DEFAULT_SINK} with gates`),
  ),
  recent: inUnit(
    "tokens",
    z.int().min(1).optional().describe(`last tokens of streaming heads, ${DEFAULT_RECENT} with gates`),
  ),
  ...momentsOfHeads,
});
type Parameters = z.output<typeof parameters>;

/** Retrieval heads keep everything, the others first and recent tokens. */
export const duoAttention: HeadPolicy<typeof parameters> = {
  name: "duo-attention",
  title: "Retrieval heads whole, streaming heads windowed",
  description:
    "KV heads that retrieve keep every token; the others keep the first `sinks` and the last `recent`. Which they are a mask file says, or " +
    "a score file of gates with a ratio or a threshold.",
  source: "Xiao et al. 2024, DuoAttention: Efficient Long-Context LLM Inference with Retrieval and Streaming Heads",
  chooses: "heads",
  parameters,
  at: (budget, { mask, ratio, threshold }) =>
    budget < 1 && [mask, ratio, threshold].every((given) => given === undefined) ? { ratio: 1 - budget } : undefined,
  async choose(params): Promise<HeadChoice> {
    return { mask: await maskOf(params), ...onceOrSliding(params) };
  },
};

async function maskOf({ mask, gates, metric, ratio, threshold, sinks, recent }: Parameters) {
  const refuse = (what: string, remedy: string, field: string[]) =>
    new HeadscopeError("usage", `duo-attention ${what}`, { remedy, field });
  if ((mask === undefined) === (gates === undefined))
    throw refuse("needs either a mask or gates", "give mask=FILE, or gates=FILE with ratio or threshold", [
      "mask",
      "gates",
    ]);
  if (mask !== undefined) {
    const idle = Object.entries({ metric, ratio, threshold }).filter(([, value]) => value !== undefined);
    if (idle.length > 0)
      throw refuse("with a mask chooses no heads itself", "leave these out, or give gates", idle.map(([name]) => name)); // biome-ignore format: one line
    const read = await readMask(mask);
    return { ...read, sink: sinks ?? read.sink, recent: recent ?? read.recent };
  }
  const scores = await readScores(gates!);
  const window = { sink: sinks ?? DEFAULT_SINK, recent: recent ?? DEFAULT_RECENT };
  if ((ratio === undefined) === (threshold === undefined))
    throw refuse("with gates needs either a ratio or a threshold", "give one of them", ["ratio", "threshold"]);
  if (threshold !== undefined) checkThreshold(threshold, kvTable(scores, mainMetric(scores, metric)).flat());
  const { layers, kvHeads } = scores.model;
  const top = ratio === undefined ? undefined : layers * kvHeads - halfToEven(layers * kvHeads * ratio);
  return maskFromScores(scores, { top, threshold, metric, scoresFile: gates, ...window });
}

/** @throws HeadscopeError (usage) for a threshold on one side of all gates, which tells no head from another */
function checkThreshold(threshold: number, gates: readonly number[]): void {
  const [lowest, highest] = [Math.min(...gates), Math.max(...gates)];
  if (threshold > lowest && threshold <= highest) return;
  const streams = threshold > highest;
  throw new HeadscopeError(
    "usage",
    `the threshold ${threshold} of duo-attention has all of ${counted(gates.length, "KV head")} ${streams ? "stream" : "keep everything"}: their gates go from ${lowest} to ${highest}`,
    {
      remedy: `give a threshold between these, or ratio=${streams ? "1, where all are to stream" : "0, which is full attention"}`,
      field: "threshold",
    },
  );
}
