import { beforeAll, expect, it } from "vitest";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import type { Probe } from "../../../../probes/base.ts";
import { probe } from "../../../../probes/index.ts";
import { loadAsFile, typescriptOf } from "../../../helpers/docs.ts";
import { randomModel, smallConfig } from "../../../helpers/models.ts";

beforeAll(async () => void (await initBackend()));

it("the probe of docs/add-a-probe.md scores a model as it stands there, and its chance is that of even attention", async () => {
  const { self } = await loadAsFile<{ self: Probe }>(typescriptOf("docs/add-a-probe.md"));
  const { self: metric } = (await probe(randomModel(smallConfig()), self, { tokens: "2" })).metrics;
  expect(metric).toMatchObject({ range: [0, 1], chance: (1 + 1 / 2) / 2 });
  for (const value of metric!.values.flat()) expect(value).toBeGreaterThanOrEqual(0.5);
});
