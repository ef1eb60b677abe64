import { beforeAll, expect, it } from "vitest";
import { attribute } from "../../../../backend/circuits/attribution/direct.ts";
import { lens } from "../../../../backend/circuits/attribution/lens.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { FAMILIES, loadFamily } from "../../../helpers/models.ts";
import { circuitOracle, farthest } from "../../../helpers/oracles/circuits.ts";

beforeAll(() => initBackend());

it.each(FAMILIES)("direct attribution of one pair and of several in %s is that of PyTorch", async (name) => {
  const model = await loadFamily(name);
  const { pairs, attribution } = circuitOracle(name);
  for (const { pairs: chosen, ...expected } of attribution) {
    const found = await attribute(model, { prompts: chosen.map((p) => pairs[p]!) });
    const { distance, path } = farthest(found, expected);
    expect(distance, path).toBeLessThan(2e-4);
  }
  model.dispose();
});

it.each(FAMILIES)("the lens at two positions of %s reads what PyTorch does", async (name) => {
  const model = await loadFamily(name);
  const { pairs, lens: lenses } = circuitOracle(name);
  for (const { position, rows } of lenses) {
    const found = await lens(model, { prompts: [pairs[0]!], position });
    const { distance, path } = farthest(found.rows, rows);
    expect(distance, path).toBeLessThan(2e-4);
  }
  model.dispose();
});
