import type { Tensor } from "@tensorflow/tfjs";
import { z } from "zod";
import { parseParameters } from "../../../../common/definitions/definition.ts";
import { tf } from "../../../../runtime/tf.ts";
import { budgetParameters } from "../../kinds/parameters.ts";
import { type TokenPolicy, tokenPolicy } from "../../kinds/tokens.ts";

/**
 * A layer's budget shared by its heads as their scores ask.
 * @param bases policies whose scores it can share by
 */
export function adakv(bases: readonly TokenPolicy[]): TokenPolicy {
  const own = {
    ...budgetParameters,
    base: z
      .enum(bases.map(({ name }) => name) as [string, ...string[]])
      .default("snapkv")
      .describe("policy whose scores are compared; its own parameters stand beside"),
    alpha: z.number().min(0).max(1).default(0.2).describe("share of the even budget that every head has in any case"),
  };
  const beside = bases.flatMap(({ parameters }) => Object.entries(parameters.shape as Record<string, z.ZodType>));
  const optional = beside
    .filter(([name]) => name !== "when" && name !== "rerotate" && !(name in own))
    .map(([name, schema]) => [name, withoutDefault(schema)]);
  const parameters = z.object({ ...own, ...(Object.fromEntries(optional) as Record<never, z.ZodType>) });
  type Parameters = z.output<typeof parameters>;

  const ofBase = ({ base: name, alpha: _, ...rest }: Parameters) => {
    const base = bases.find((each) => each.name === name)!;
    return { base, params: parseParameters(`policy ${name}, the base of adakv`, base.parameters, rest) };
  };

  return tokenPolicy({
    name: "adakv",
    title: "Budgets by head, of any scores",
    description:
      "Compares the scores of `base` across the KV heads of a layer. The layer keeps as many tokens as with even budgets, but a head whose " +
      "scores are high in many places keeps more of them than one that looks at few.",
    source:
      "Feng et al. 2024, Ada-KV: Optimizing KV Cache Eviction by Adaptive Budget Allocation for Efficient LLM Inference",
    parameters,
    complete(given) {
      // Heads that hold different numbers of tokens can't be numbered anew.
      const { rerotate: _, ...base } = ofBase(given).params as Parameters & { rerotate?: boolean };
      return { ...base, ...given };
    },
    least(given) {
      const { base, params } = ofBase(given);
      return base.least?.(params) ?? 1;
    },
    queries(given) {
      const { base, params } = ofBase(given);
      return base.queries?.(params);
    },
    observe(view, state, given) {
      const { base, params } = ofBase(given);
      return base.observe?.(view, state, params);
    },
    ofKeys(keys, given) {
      const { base, params } = ofBase(given);
      return base.ofKeys?.(keys, params);
    },
    score(view, given, state) {
      const { base, params } = ofBase(given);
      return base.score(view, params, state);
    },
    choose: (scores, count, { alpha }) => shared(scores, count, alpha > 0 ? Math.max(1, Math.trunc(count * alpha)) : 0),
  });
}

/** The best of all heads together, after each head's own best. @param safe how many each head has in any case */
function shared(scores: Tensor, count: number, safe: number): number[][] {
  const [kvHeads, held] = scores.shape as [number, number];
  const values = scores.dataSync().slice() as Float32Array;
  if (safe > 0) {
    const best = tf.topk(scores, safe).indices.dataSync();
    best.forEach((place, i) => {
      values[Math.floor(i / safe) * held + place] = Number.POSITIVE_INFINITY;
    });
  }
  const order = [...values.keys()].sort((a, b) => values[b]! - values[a]! || a - b);
  const heads = Array.from({ length: kvHeads }, (): number[] => []);
  for (const place of order.slice(0, kvHeads * count)) heads[Math.floor(place / held)]!.push(place % held);
  return heads;
}

/** A parameter that may be left out. */
function withoutDefault(schema: z.ZodType): z.ZodType {
  const inner = schema instanceof z.ZodDefault ? (schema.unwrap() as z.ZodType) : schema;
  return inner.optional().meta({ ...schema.meta() });
}
