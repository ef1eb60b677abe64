import { beforeAll, expect, it } from "vitest";
import { headWeights } from "../../../../backend/circuits/weights/head-weights.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { FAMILIES, loadFamily } from "../../../helpers/models.ts";
import { circuitOracle, farthest } from "../../../helpers/oracles/circuits.ts";

beforeAll(() => initBackend());

/** Norms behind attention and MLP can't be folded into what reads the stream. */
const UNFOLDABLE = ["olmo2"];

it.each(
  FAMILIES.flatMap((name) =>
    UNFOLDABLE.includes(name) ? [[name, "raw"] as const] : [[name, "raw"] as const, [name, "fold_ln"] as const],
  ),
)("heads of %s by their %s weights are what PyTorch says", async (name, process) => {
  const model = await loadFamily(name, process === "fold_ln" ? { process: ["fold_ln"] } : {});
  const expected = circuitOracle(name).heads[process];
  const heads = expected.heads.map(({ head }) => {
    const [layer, h] = head.split(".").map(Number) as [number, number];
    return { layer, head: h };
  });
  const found = await headWeights(model, { heads, tokenPairs: 5 });
  const byEnds = <T extends { from: string; to: string }>(rows: readonly T[]): T[] =>
    rows.toSorted((a, b) => `${a.from} ${a.to}`.localeCompare(`${b.from} ${b.to}`));
  const sorted = { ...found, composition: byEnds(found.composition) };
  const { distance, path } = farthest(sorted, { ...expected, composition: byEnds(expected.composition) });
  expect(distance, path).toBeLessThan(2e-4);
  model.dispose();
});
