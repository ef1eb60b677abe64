import { describe, expect, it } from "vitest";
import { gradient } from "../../../../backend/circuits/gradients/gradient.ts";
import { pairMetric } from "../../../../backend/circuits/metrics/measure.ts";
import type { MetricName } from "../../../../backend/common/metrics.ts";
import { forward } from "../../../../backend/models/forward/forward.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { circuitOracle, FAMILIES, loadFamily, summary } from "../../../helpers/oracles/circuits.ts";

await initBackend();
const TOLERANCE = 2e-4;

describe.each(FAMILIES)("gradients in %s", (name) => {
  it("equal PyTorch's autograd at every hook point, for every metric, and leave no tensors behind", async () => {
    const before = tf.memory().numTensors;
    const model = await loadFamily(name);
    const { gradients, pairs } = circuitOracle(name);
    const pair = pairs[0]!;
    const clean = forward(model, { tokens: [pair.clean], logitsAt: "last" });
    for (const [metric, { prompt, value, points }] of Object.entries(gradients)) {
      const names = Object.keys(points);
      const asked = pairMetric(metric as MetricName, [pair], clean.logits);
      const found = gradient(model, { tokens: [pair[prompt]] }, asked, names);
      expect(Math.abs(found.values[0]! - value), metric).toBeLessThan(TOLERANCE);
      for (const [point, { norm, dot, last }] of Object.entries(points)) {
        const t = found.gradients.get(point);
        const own = summary(t.dataSync());
        const bound = TOLERANCE * Math.max(1, norm);
        expect(Math.abs(own.norm - norm), `${metric}, ${point}`).toBeLessThan(bound);
        expect(Math.abs(own.dot - dot), `${metric}, ${point}`).toBeLessThan(bound);
        if (!last) continue;
        const end = found.gradients.slice(point, { row: 0, position: -1 });
        const values = [...end.dataSync()].slice(0, last.length);
        end.dispose();
        values.forEach((u, i) => {
          expect(Math.abs(u - last[i]!), `${metric}, ${point}, ${i}`).toBeLessThan(bound);
        });
      }
      found.gradients.dispose();
    }
    clean.dispose();
    model.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });
});
