import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll, expect, it } from "vitest";
import { initBackend } from "../../../backend/runtime/backend.ts";
import type { Probe } from "../../../probes/base.ts";
import { probe } from "../../../probes/index.ts";
import { randomModel, smallConfig } from "../../helpers/models.ts";

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));

beforeAll(async () => void (await initBackend()));

it("the probe of docs/add-a-probe.md scores a model as it stands there, and its chance is that of even attention", async () => {
  const code = /```ts\n([\s\S]*?)```/.exec(readFileSync(join(ROOT, "docs/add-a-probe.md"), "utf8"))![1]!;
  const folder = mkdtempSync(join(ROOT, "test/.docs-"));
  try {
    const path = join(folder, "self.ts");
    writeFileSync(path, code.replaceAll('"../backend', '"../../backend').replace('"./base', '"../../probes/base'));
    const { self } = (await import(path)) as { self: Probe };
    const { self: metric } = (await probe(randomModel(smallConfig()), self, { tokens: "2" })).metrics;
    expect(metric).toMatchObject({ range: [0, 1], chance: (1 + 1 / 2) / 2 });
    for (const value of metric!.values.flat()) expect(value).toBeGreaterThanOrEqual(0.5);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
