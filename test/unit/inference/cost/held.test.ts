import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { maskFromKvHeads } from "../../../../backend/common/heads/mask.ts";
import { headModel } from "../../../../backend/common/heads/model.ts";
import { footprint } from "../../../../backend/inference/cost/footprint.ts";
import { generate } from "../../../../backend/inference/generate.ts";
import { MOMENTS } from "../../../../backend/inference/policies/base.ts";
import { choosePolicies, type PolicyChoice } from "../../../../backend/inference/policies/choice.ts";
import { policies } from "../../../../backend/inference/policies/index.ts";
import { PAGE } from "../../../../backend/models/cache/head-cache.ts";
import { loadModel } from "../../../../backend/models/load.ts";
import type { Model } from "../../../../backend/models/model.ts";
import { fixture } from "../../../helpers/fixtures.ts";
import { kernelsHere } from "../../../helpers/kernels/here.ts";

/** KV heads of all layers, and bytes of a head's key and value in float32. */
const [HEADS, ROW] = [6, 2 * 16 * 4];
/** Tokens of the prompt: more than a page of 128. */
const TOKENS = 300;
const NEW = 9;

let model: Model;
beforeAll(async () => {
  await kernelsHere();
  model = await loadModel(fixture("policies/llama"));
});
afterAll(() => model.dispose());

async function bytesOf(choice: Partial<PolicyChoice>, options: object) {
  const tokens = Array.from({ length: TOKENS }, (_, i) => 3 + ((i * 29) % 90));
  const { cache } = await generate(model, { tokens, maxTokens: NEW, stop: [], ...options });
  const size = { tokens: TOKENS, newTokens: NEW, cache: "f32" as const };
  return [footprint(choice, model.config, size).bytes, cache.bytes];
}

describe("bytes that are predicted are those that are allocated", () => {
  it("by full attention", async () => {
    const [predicted, allocated] = await bytesOf({}, {});
    expect(predicted).toBe(allocated);
  });

  it.each(["masked", "dense"] as const)("by streaming heads, the prompt read %s", async (prefill) => {
    const mask = maskFromKvHeads(headModel(model), [{ layer: 1, head: 0 }], { sink: 4, recent: 100 });
    const [predicted, allocated] = await bytesOf({ heads: { mask, prefill, once: false } }, { mask, prefill });
    expect(predicted).toBe(allocated);
  });

  const named = policies.list().filter(({ chooses }) => chooses === "tokens" || chooses === "reads");
  const cases = named.flatMap((policy) => {
    const moments = "when" in policy.parameters.shape ? MOMENTS : [undefined];
    return moments.map((when) => ({ policy, when, title: when ? `${policy.name}, when=${when}` : policy.name }));
  });
  it.each(cases)("by $title, at a budget of 150 tokens", async ({ policy, when }) => {
    const requests = [{ name: policy.name, params: { budget: 150, ...(when && { when }) } }];
    const [predicted, allocated] = await bytesOf(await choosePolicies(requests), { policies: requests });
    // Heads that share their tokens by what they score round to pages in other places.
    const rounding = "choose" in policy && policy.chooses === "tokens" ? HEADS * PAGE * ROW : 0;
    expect(Math.abs(predicted! - allocated!)).toBeLessThanOrEqual(rounding);
  });
});
