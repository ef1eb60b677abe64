import type { Tensor } from "@tensorflow/tfjs";
import { beforeAll, describe, expect, it } from "vitest";
import type { LayerView, TokenPolicy } from "../../../../backend/inference/policies/kinds/tokens.ts";
import { h2o } from "../../../../backend/inference/policies/tokens/h2o.ts";
import { keyformerWith } from "../../../../backend/inference/policies/tokens/keyformer.ts";
import { lookM } from "../../../../backend/inference/policies/tokens/look-m.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { maxDifference, smallConfig } from "../../../helpers/models.ts";
import { drawnInput, type PolicyDefinition, policyDefinitions } from "../../../helpers/oracles/policies.ts";

beforeAll(async () => void (await initBackend()));
const { seed, sections } = policyDefinitions();

interface Decoding extends PolicyDefinition {
  parameters: { tokens: number; steps: number; budget: number; recent?: number };
  prefill: number[][];
  kept: number[][][];
}

function drawn({ inputs }: PolicyDefinition, name: string): Tensor {
  return tf.tensor([...drawnInput(inputs[name]!, seed)], inputs[name]!.shape);
}

/** What a policy keeps of one layer: after the prompt, then after each new token. @returns [moment][KV head][positions] */
function kept(section: Decoding, policy: TokenPolicy, params: Record<string, unknown>): number[][][] {
  const { tokens, steps, budget } = section.parameters;
  const [q, k] = [drawn(section, "q"), drawn(section, "k")];
  const [heads, , width] = q.shape as [number, number, number];
  const kvHeads = k.shape[0]!;
  const config = smallConfig({ n_heads: heads, n_key_value_heads: kvHeads, d_head: width });
  let positions = Array.from({ length: kvHeads }, () => Array.from({ length: tokens }, (_, p) => p));
  let state: Tensor | undefined;
  return Array.from({ length: steps + 1 }, (_, step) => {
    const length = tokens + step;
    if (step > 0) positions = positions.map((list) => [...list, length - 1]);
    const held = positions[0]!.length;
    const places = tf.tensor2d(positions, undefined, "int32");
    const [first, count] = step === 0 ? [0, tokens] : [length - 1, 1];
    const view: LayerView = {
      ...{ config, layer: 0, prompt: tokens, length, kvHeads, held, step, steps },
      keys: tf.gather(k, places, 1, 1),
      plainKeys: tf.gather(k, places, 1, 1),
      prepared: undefined,
      stream: tf.zeros([0, width]),
      values: tf.gather(drawn(section, "v"), places, 1, 1),
      positions: tf.cast(places, "float32"),
      queries: tf.slice(q, [0, first, 0], [heads, count, width]),
    };
    state = policy.observe!(view, state, params);
    const scores = policy.score(view, params, state);
    const best = (tf.topk(scores, budget).indices.arraySync() as number[][]).map((list) => list.sort((a, b) => a - b));
    state = tf.gather(state!, tf.tensor2d(best, undefined, "int32"), 1, 1);
    positions = best.map((list, g) => list.map((place) => positions[g]![place]!));
    return positions;
  });
}

describe("policies keep what a NumPy program of their definition keeps, at the end of the prompt and after each new token", () => {
  it("h2o", () => {
    const section = sections["h2o"] as Decoding;
    const { budget } = section.parameters;
    expect(kept(section, h2o as unknown as TokenPolicy, { budget, when: "decode" })).toEqual([
      section.prefill,
      ...section.kept,
    ]);
  });

  it("keyformer, with the program's noise", () => {
    const section = sections["keyformer"] as Decoding;
    const { budget, tokens } = section.parameters;
    const gumbel = (uniform: Tensor): Tensor => tf.neg(tf.log(tf.neg(tf.log(uniform))));
    const policy = keyformerWith(({ step, positions, queries, kvHeads, held }) => {
      if (step === 0) return gumbel(drawn(section, "u_prompt"));
      const [heads] = queries.shape as [number];
      const all = tf.slice(drawn(section, "u"), [0, step - 1, 0], [heads, 1, -1]); // [heads, 1, positions]
      const own = tf.reshape(tf.tile(tf.expandDims(positions, 1), [1, heads / kvHeads, 1]), [heads, 1, held]);
      return gumbel(
        tf
          .gather(tf.reshape(all, [heads, -1]), tf.cast(tf.reshape(own, [heads, held]), "int32"), 1, 1)
          .reshape([heads, 1, held]),
      );
    });
    const params = { budget, when: "decode", recent: 0.3, seed: 0 };
    expect(tokens).toBe(24);
    expect(kept(section, policy as unknown as TokenPolicy, params)).toEqual([section.prefill, ...section.kept]);
  });

  it.each(["averaged", "pivotal", "weighted"] as const)(
    "look-m, and what it makes of the rows that stay (%s)",
    (merge) => {
      const section = sections["look-m"] as unknown as PolicyDefinition & {
        parameters: { tokens: number; budget: number };
        kept: number[][];
        keys: Record<string, number[][][]>;
        values: Record<string, number[][][]>;
      };
      const { tokens, budget } = section.parameters;
      const [queries, keys, values] = ["q", "k", "v"].map((name) => drawn(section, name)) as [Tensor, Tensor, Tensor];
      const [heads, , width] = queries.shape as [number, number, number];
      const kvHeads = keys.shape[0]!;
      const config = smallConfig({
        n_heads: heads,
        n_key_value_heads: kvHeads,
        d_head: width,
        attn_scale: width ** -0.5,
      });
      const view: LayerView = {
        ...{ config, layer: 0, prompt: tokens, length: tokens, kvHeads, held: tokens, step: 0, steps: 1 },
        ...{ plainKeys: keys, prepared: undefined, stream: tf.zeros([0, width]) },
        ...{ keys, values, queries, positions: tf.tile(tf.expandDims(tf.range(0, tokens), 0), [kvHeads, 1]) },
      };
      const params = { budget, merge };
      const sums = lookM.observe!(view, undefined, params);
      const scores = lookM.score(view, params, sums);
      const stay = (tf.topk(scores, budget).indices.arraySync() as number[][]).map((list) =>
        list.sort((a, b) => a - b),
      );
      expect(stay).toEqual(section.kept);
      const merged = lookM.merge!(view, stay, params);
      for (const part of ["keys", "values"] as const)
        expect(maxDifference(merged[part], tf.tensor(section[part][merge]!))).toBeLessThan(1e-5);
    },
  );
});
