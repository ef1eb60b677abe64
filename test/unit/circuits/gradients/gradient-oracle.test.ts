import { beforeAll, expect, it } from "vitest";
import { gradient } from "../../../../backend/circuits/gradients/gradient.ts";
import { pairMetric } from "../../../../backend/circuits/metrics/measure.ts";
import { forward } from "../../../../backend/models/forward/forward.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { FAMILIES, loadFamily } from "../../../helpers/models.ts";
import { circuitOracle, farthest, summary } from "../../../helpers/oracles/circuits.ts";

beforeAll(() => initBackend());

it.each(FAMILIES)("gradients of four metrics at every hook point of %s are those of PyTorch", async (name) => {
  const model = await loadFamily(name);
  const { pairs, gradients } = circuitOracle(name);
  const pair = pairs[0]!;
  const clean = forward(model, { tokens: [pair.clean], logitsAt: "last" });
  for (const [metric, { prompt, value, points }] of Object.entries(gradients)) {
    const options = pairMetric(metric as keyof typeof gradients, [pair], clean.logits!);
    const found = gradient(model, { tokens: [pair[prompt]] }, options, Object.keys(points));
    expect(found.values[0]).toBeCloseTo(value, 4);
    for (const [point, expected] of Object.entries(points)) {
      const tensor = found.gradients.get(point);
      const values = tensor.dataSync();
      const width = values.length / tensor.shape[1]!;
      const own = { ...summary(values), ...(expected.last ? { last: [...values.slice(-width).slice(0, 6)] } : {}) };
      // A norm or a sum over a tensor gathers its rounding: by its size, from 1 on.
      const size = Math.max(1, expected.norm);
      const { distance, path } = farthest(own, expected);
      expect({ metric, point, path, near: distance / size < 2e-4, distance }).toMatchObject({ near: true });
    }
    found.gradients.dispose();
  }
  clean.dispose();
  model.dispose();
});
