import { z } from "zod";
import { tf } from "../../../runtime/tf.ts";
import { readParameters } from "../kinds/parameters.ts";
import { type ReadView, readPolicy } from "../kinds/reads.ts";
import { inUnit } from "../kinds/units.ts";
import { placesOf, single, stretchesOf } from "../work/stretches.ts";
import { grouped, scoresOver } from "./attention-over.ts";

/** The last token that attended to everything. */
interface FullStep {
  readonly [name: string]: unknown;
  /** Tokens since then. */
  readonly age: number;
  /** Keys that were held. */
  readonly held: number;
  /** By KV head, the places that received most attention. */
  readonly places: readonly (readonly number[])[];
}

/** Keys that got most attention when everything was read last. */
export const recycledAttention = readPolicy({
  name: "recycled-attention",
  title: "What the last full step attended to",
  description:
    "Every few new tokens one reads everything. Those between read the keys that got most of its attention, by the largest weight in " +
    "the KV head's group, and what has come since.",
  source: "Xu et al. 2024, Recycled Attention: Efficient Inference for Long-Context Language Models",
  parameters: z.object({
    ...readParameters,
    stride: inUnit("tokens", z.int().min(1).default(50).describe("new tokens of which the first reads everything")),
  }),
  learn(view: ReadView, before: FullStep | undefined, { stride }): FullStep {
    if (before && before.age + 1 < stride) return { ...before, age: before.age + 1 };
    const { held, kvHeads, budget } = view;
    const weights = grouped(tf.softmax(scoresOver(view, view.queries, view.keysOf(0, held))), kvHeads);
    return { age: 0, held, places: placesOf(tf.max(weights, 1), budget) };
  },
  choose({ held }, full: FullStep) {
    if (full.age === 0) return undefined;
    return full.places.map((places) => stretchesOf([...single(places), [full.held, held]]));
  },
});
