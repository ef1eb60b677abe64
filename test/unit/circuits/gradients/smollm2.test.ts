import { expect, it } from "vitest";
import { gradient } from "../../../../backend/circuits/gradients/gradient.ts";
import { pairMetric } from "../../../../backend/circuits/metrics/measure.ts";
import { circuitOracle, summary } from "../../../helpers/oracles/circuits.ts";
import { havePulled, loadSmollm2, onSmolLm2 } from "../../../helpers/smollm2.ts";

const TOLERANCE = 1e-4;

it.skipIf(!havePulled)(onSmolLm2("gradients in SmolLM2 equal PyTorch's autograd"), async () => {
  const model = await loadSmollm2();
  const { gradients, pairs } = circuitOracle("smollm2");
  const pair = pairs[0]!;
  const { prompt, value, points } = gradients["logit-diff"];
  const names = Object.keys(points);
  const found = gradient(model, { tokens: [pair[prompt]] }, pairMetric("logit-diff", [pair]), names);
  expect(Math.abs(found.values[0]! - value)).toBeLessThan(TOLERANCE);
  for (const name of names) {
    const { norm, dot } = points[name]!;
    const own = summary(found.gradients.get(name).dataSync());
    const bound = TOLERANCE * Math.max(1, norm);
    expect(Math.abs(own.norm - norm), name).toBeLessThan(bound);
    expect(Math.abs(own.dot - dot), name).toBeLessThan(bound);
  }
  found.gradients.dispose();
  model.dispose();
});
