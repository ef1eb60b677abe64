import type { Tensor } from "@tensorflow/tfjs";
import { z } from "zod";
import type { GatesFile } from "../../../../heads/gate-files.ts";
import { foretoldLogits } from "../../../../heads/retaining-head.ts";
import { tf } from "../../../../runtime/tf.ts";
import { firstOf, withLast } from "../../attention.ts";
import { budgetParameters } from "../../kinds/parameters.ts";
import { type LayerView, tokenPolicy } from "../../kinds/tokens.ts";
import { inUnit } from "../../kinds/units.ts";
import { checkGates, gatesParameter, gateTensor, trainedGates } from "./gate-file.ts";

/** Keys that trained heads foretell to be looked at. */
export const locret = tokenPolicy({
  name: "locret",
  title: "Keys that a trained head foretells",
  description:
    "A small network a layer, trained once for the model, foretells from each token's query, key and value the largest attention logit that its key will receive. " +
    "The prompt is read in parts; behind each of them every KV head keeps the keys of the highest, and the last `stabilizers`, so that later parts see no others.",
  source: "Huang et al. 2024, Locret: Enhancing Eviction in Long-Context LLM Inference with Trained Retaining Heads",
  parameters: z.object({
    ...budgetParameters,
    heads: gatesParameter,
    stabilizers: inUnit(
      "tokens",
      z.int().min(0).default(64).describe("last tokens of each part that always stay (Locret: 2500)"),
    ),
    part: inUnit(
      "tokens",
      z
        .int()
        .min(1)
        .default(256)
        .describe(
          "tokens of the parts in which the prompt is read (Locret: 3072); from its length on it is cut once, at its end",
        ),
    ),
  }),
  whole: true,
  prepare: ({ heads }) => trainedGates(heads, "locret", "heads"),
  check(model, _, prepared) {
    const gates = prepared as GatesFile;
    const hidden = gates.tensors.get("blocks.0.fc1")?.shape[0] ?? 1;
    checkGates(gates, model, ({ n_heads: H, n_key_value_heads: G, d_head: D }) => ({
      fc1: [hidden, (H + 2 * G) * D],
      fc2: [G, hidden],
    }));
  },
  least: ({ stabilizers }) => stabilizers + 1,
  part: ({ part }) => part,
  queries: () => ({ of: "all", unrotated: true }),
  observe(view, state) {
    const own = foretold(view);
    return state ? tf.concat([state, own], 1) : own;
  },
  score: (view, { stabilizers }, state) => withLast(firstOf(state!, view.held - stabilizers), stabilizers),
});

/** The numbers that the retaining head gives the tokens of a view's queries [KV heads, queries]. */
function foretold({ layer, queries, plainKeys, values, kvHeads, held, prepared, config }: LayerView): Tensor {
  const count = queries.shape[1]!;
  const byToken = (t: Tensor): Tensor => tf.transpose(t, [1, 0, 2]);
  const own = (t: Tensor): Tensor => byToken(tf.slice(t, [0, held - count, 0], [kvHeads, count, config.d_head]));
  const gates = prepared as GatesFile;
  const head = { fc1: gateTensor(gates, layer, "fc1"), fc2: gateTensor(gates, layer, "fc2") };
  return tf.transpose(foretoldLogits(head, { q: byToken(queries), k: own(plainKeys), v: own(values) }));
}
