import type { Tensor } from "@tensorflow/tfjs";
import { beforeAll, describe, expect, it } from "vitest";
import { bucketsOf, HyperAttention } from "../../../../../backend/inference/policies/blocks/hyper.ts";
import { initBackend } from "../../../../../backend/runtime/backend.ts";
import { tf } from "../../../../../backend/runtime/tf.ts";
import { maxDifference, smallConfig } from "../../../../helpers/models.ts";
import { drawnInput, policyDefinitions } from "../../../../helpers/oracles/policies.ts";

beforeAll(async () => void (await initBackend()));
const { seed, sections } = policyDefinitions();
const section = sections["hyperattention"]!;
const drawn = (name: string): number[] => [...drawnInput(section.inputs[name]!, seed)];

describe("hyperattention follows the NumPy program of its definition", () => {
  const { tokens, block, samples, exact } = section.parameters as Record<
    "tokens" | "block" | "samples" | "exact",
    number
  >;
  const planes = (): Tensor => tf.tensor2d(drawn("planes"), section.inputs["planes"]!.shape as [number, number]);
  const head = (name: string): Tensor =>
    tf.tensor3d(drawn(name), [1, ...(section.inputs[name]!.shape as [number, number])]);
  const config = smallConfig({ n_heads: 1, n_key_value_heads: 1, d_head: 8, attn_scale: 1 / Math.sqrt(8) });

  it("in the buckets of queries and keys", () => {
    const { queries, keys } = section["buckets"] as { queries: number[]; keys: number[] };
    expect([...bucketsOf(head("q"), planes())[0]!]).toEqual(queries);
    expect([...bucketsOf(head("k"), planes())[0]!]).toEqual(keys);
  });

  it("in what the queries read, and in the order in which keys are drawn", () => {
    const numbers = drawn("u");
    const view = {
      config,
      layer: 0,
      start: 0,
      tokens,
      side: 64,
      queries: head("q"),
      lastQueries: () => head("q"),
      keys: head("k"),
      values: head("v"),
    };
    const uniform = (): number => numbers.shift()!;
    const attention = new HyperAttention(view, { block, samples, exact, planes: planes(), uniform });
    expect(attention.joined).toEqual(section["joined"]);
    expect(numbers).toEqual([]);
    expect(maxDifference(attention.z, tf.tensor([section["z"] as number[][]]))).toBeLessThan(1e-5);
  });
});
