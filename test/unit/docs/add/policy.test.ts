import { beforeAll, expect, it } from "vitest";
import { generate } from "../../../../backend/inference/generate.ts";
import type { TokenPolicy } from "../../../../backend/inference/policies/kinds/tokens.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { loadAsFile, typescriptOf } from "../../../helpers/docs.ts";
import { refused } from "../../../helpers/errors.ts";
import { randomModel, randomTokens, smallConfig } from "../../../helpers/models.ts";

beforeAll(async () => void (await initBackend()));

it("the policy of docs/add-a-policy.md keeps the keys furthest from the one before, as it stands there", async () => {
  const { novelty } = await loadAsFile<{ novelty: TokenPolicy }>(typescriptOf("docs/add-a-policy.md"));
  const model = randomModel(smallConfig());
  const run = (tokens: number[], params: Record<string, unknown>) =>
    generate(model, { tokens, policies: [{ name: novelty, params }], maxTokens: 1 });
  // In the first layer the keys of a repeated token differ by the rotation alone.
  const repeated = [...new Array<number>(20).fill(3), 7, ...new Array<number>(20).fill(3)];
  const { cache, policies } = await run(repeated, { budget: 3, order: "2" });
  expect(policies).toEqual([{ name: "novelty", params: { budget: 3, order: 2 } }]);
  for (const positions of cache.kept![0]!) expect(positions).toEqual([20, 21, 40]);
  const random = randomTokens(1, 30, 96)[0]!;
  expect((await run(random, {})).cache.kept!.flat().map((positions) => positions.length)).toEqual(
    new Array(6).fill(15),
  );
  await expect(run(random, { order: 0 })).rejects.toEqual(refused("usage", { field: "order" }));
});
