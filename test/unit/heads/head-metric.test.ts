import { expect, it } from "vitest";
import { headMetricName, parseHeadMetric } from "../../../backend/common/heads/head-metric.ts";

it("a head's measurement is told by its name, and no other is taken for one", () => {
  const name = headMetricName("previous-token", "previous-token", 1, 12);
  expect(name).toBe("previous-token.previous-token[1.12]");
  const measured = { probe: "previous-token", metric: "previous-token", measure: "previous-token.previous-token" };
  expect(parseHeadMetric(name)).toEqual({ ...measured, layer: 1, head: 12 });
  expect(parseHeadMetric("attention-sink.importance[0.3]")).toMatchObject({
    probe: "attention-sink",
    metric: "importance",
  });
  for (const other of ["loss", "in-context.accuracy", "induction[1.3]"]) expect(parseHeadMetric(other)).toBeUndefined();
});
