import type { Tensor } from "@tensorflow/tfjs";
import { z } from "zod";
import { PREFILLS } from "../../../../common/words.ts";
import { gateProjections, gateScores } from "../../../../heads/attention-gate.ts";
import type { GatesFile } from "../../../../heads/gate-files.ts";
import { tf } from "../../../../runtime/tf.ts";
import { firstOf, withLast } from "../../attention.ts";
import { budgetParameters } from "../../kinds/parameters.ts";
import { tokenPolicy } from "../../kinds/tokens.ts";
import { checkGates, gatesParameter, gateTensor, trainedGates } from "./gate-file.ts";

const THRESHOLD = 0.5;

/** Tokens that a trained gate flags to stay. */
export const attentionGate = tokenPolicy({
  name: "attention-gate",
  title: "Tokens that a trained gate flags",
  description:
    "In front of each layer a small attention over the whole prompt, trained once for the model, gives every token a number for each KV head. From the threshold on it stays, " +
    "so that the gates say how much goes; with a ratio or a budget the best stay instead. What goes is unseen by later tokens of the prompt too. Its last token always stays.",
  source: "Zeng et al. 2024, In-context KV-Cache Eviction for LLMs via Attention-Gate",
  parameters: z.object({
    ...budgetParameters,
    ratio: budgetParameters.ratio.describe("share of the prompt's tokens that goes, instead of the gates' own"),
    gates: gatesParameter,
    threshold: z.number().gt(0).lt(1).default(THRESHOLD).describe("value of a gate from which on a token stays"),
    prefill: z
      .enum(PREFILLS)
      .default("masked")
      .describe("whether what goes is unseen by later tokens of the prompt too, or only by those behind it"),
  }),
  whole: true,
  decides: () => true,
  prepare: ({ gates }) => trainedGates(gates, "attention-gate", "gates"),
  check(model, _, prepared) {
    const gates = prepared as GatesFile;
    const width = gates.tensors.get("blocks.0.out")?.shape[1] ?? 1;
    checkGates(gates, model, ({ n_key_value_heads: G, d_model }) => ({
      project: [3 * width, d_model],
      out: [G, width],
      bias: [G],
    }));
  },
  inPrompt: ({ prefill }) => prefill === "masked",
  queries: () => ({ of: "all", stream: true }),
  /** Queries, keys and values of the gate's own attention [tokens, 3 width]. */
  observe({ layer, stream, prepared }, state) {
    const own = gateProjections({ project: gateTensor(prepared as GatesFile, layer, "project") }, stream);
    return state ? tf.concat([state, own], 0) : own;
  },
  score({ layer, held, prepared }, _, state) {
    const gates = prepared as GatesFile;
    const gate = { out: gateTensor(gates, layer, "out"), bias: gateTensor(gates, layer, "bias") };
    return withLast(firstOf(tf.transpose(gateScores(gate, state!)), held - 1), 1);
  },
  choose(scores, count, { ratio, budget, threshold }) {
    if (ratio !== undefined || budget !== undefined) return tf.topk(scores, count).indices.arraySync() as number[][];
    const least = Math.log(threshold / (1 - threshold)); // before the sigmoid
    return flagged(scores, least);
  },
});

/** Places of the scores that reach a value, and of the last one. */
function flagged(scores: Tensor, least: number): number[][] {
  const rows = scores.arraySync() as number[][];
  return rows.map((row) => row.flatMap((score, i) => (score >= least || i === row.length - 1 ? [i] : [])));
}
