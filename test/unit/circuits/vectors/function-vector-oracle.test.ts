import { beforeAll, expect, it } from "vitest";
import { functionVector } from "../../../../backend/circuits/vectors/function-vector.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { FAMILIES, loadFamily } from "../../../helpers/models.ts";
import { circuitOracle, farthest } from "../../../helpers/oracles/circuits.ts";

beforeAll(() => initBackend());

it.each(FAMILIES)("indirect effects, vector and zero-shot answers of %s are PyTorch's", async (name) => {
  const model = await loadFamily(name);
  const { cases, top, values, heads, vector, perCase, zeroShot } = circuitOracle(name).functionVector;
  const found = await functionVector(model, { cases, top, layers: [0, 1] });
  const effects = values.map((row, l) =>
    row.map((_, h) => found.effects.reduce((sum, table) => sum + table[l]![h]! / cases.length, 0)),
  );
  const { distance, path } = farthest(
    { ...found, effects },
    { effects: values, top: heads, vector, perCase, zeroShot },
  );
  expect(distance, path).toBeLessThan(2e-4);
  model.dispose();
});
