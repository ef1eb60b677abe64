import { expect, it } from "vitest";
import { gradient } from "../../../../backend/circuits/gradients/gradient.ts";
import { hookNames } from "../../../../backend/models/transformer/hook-points.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { randomModel, randomTokens, smallConfig } from "../../../helpers/models.ts";
import { derivativeAlong, innerProduct, normals, relativeError } from "../../../helpers/oracles/differences.ts";

const metric = { name: "log-probability", answers: [[3, 5]] } as const;

it("without the native binding gradients are the same, op by op", async () => {
  process.env["HEADSCOPE_BACKEND"] = "wasm";
  const { name: backend } = await initBackend();
  expect(backend).toBe("wasm");
  const model = randomModel(smallConfig({ n_layers: 2 }));
  const tokens = randomTokens(1, 6, 96);
  const { gradients } = gradient(model, { tokens }, metric, () => true);
  expect(gradients.names).toEqual(hookNames(model));
  for (const name of gradients.names.filter((each) => !each.startsWith("blocks.1."))) {
    const direction = normals(gradients.get(name).shape);
    const expected = derivativeAlong({ model, input: { tokens }, metric }, name, direction);
    expect(relativeError(expected, innerProduct(gradients.get(name), direction)), name).toBeLessThan(4e-3);
    direction.dispose();
  }
  const before = tf.memory().numTensors;
  gradients.dispose();
  const again = gradient(model, { tokens }, metric, ["hook_embed"]);
  again.gradients.dispose();
  expect(tf.memory().numTensors).toBe(before - hookNames(model).length);
  model.dispose();
});
