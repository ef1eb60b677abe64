import { beforeAll, describe, expect, it } from "vitest";
import { generate } from "../../../../../backend/inference/generate.ts";
import type { TokenPolicy } from "../../../../../backend/inference/policies/kinds/tokens.ts";
import { h2o } from "../../../../../backend/inference/policies/tokens/h2o.ts";
import { keydiff } from "../../../../../backend/inference/policies/tokens/keydiff.ts";
import { knorm } from "../../../../../backend/inference/policies/tokens/knorm.ts";
import { tova } from "../../../../../backend/inference/policies/tokens/tova.ts";
import type { Model } from "../../../../../backend/models/model.ts";
import { initBackend } from "../../../../../backend/runtime/backend.ts";
import { randomModel, randomTokens, smallConfig } from "../../../../helpers/models.ts";

const [tokens] = randomTokens(1, 150, 96, 5) as [number[]];
let model: Model;
beforeAll(async () => {
  await initBackend();
  model = randomModel(smallConfig({ n_layers: 2, n_heads: 4, n_key_value_heads: 2, n_ctx: 200 }));
  return () => model.dispose();
});

/** Positions that a policy holds after the prompt and 12 new tokens, one of which goes for each. */
async function kept(policy: unknown): Promise<number[][][]> {
  const policies = [{ name: policy as TokenPolicy, params: { budget: 140, when: "decode" } }];
  const { cache } = await generate(model, { tokens, policies, maxTokens: 12, stop: [] });
  return cache.kept!;
}

/** A policy that is given all keys anew at each token. */
function anew(policy: TokenPolicy): TokenPolicy {
  const { ofKeys, ...rest } = policy;
  return { ...rest, score: (view, params) => policy.score(view, params, ofKeys!(view.keys, params)) };
}

describe("with when=decode a policy keeps the same", () => {
  it.each([tova, h2o].map((policy) => policy as unknown as TokenPolicy))(
    "by the forward's attention as by that of its own queries: $name",
    async (policy) => {
      const looking: TokenPolicy = { ...policy, queries: () => ({ of: policy.name === "tova" ? 1 : "all" }) };
      expect(await kept(policy)).toEqual(await kept(looking));
    },
  );

  it.each([knorm, keydiff].map((policy) => policy as unknown as TokenPolicy))(
    "by numbers that it knows of earlier keys as by those of all keys anew: $name",
    async (policy) => expect(await kept(policy)).toEqual(await kept(anew(policy))),
  );
});
