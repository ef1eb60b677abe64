import { beforeAll, describe, expect, it } from "vitest";
import { patch } from "../../../../backend/circuits/patching/patch.ts";
import { patchPaths } from "../../../../backend/circuits/patching/path.ts";
import type { Model } from "../../../../backend/models/model.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { FAMILIES, loadFamily } from "../../../helpers/models.ts";
import { circuitOracle, farthest } from "../../../helpers/oracles/circuits.ts";

const TOLERANCE = 2e-4;
const PLACES = { z: "head", mlp_out: "layer", resid_pre: "position" } as const;

beforeAll(() => initBackend());

describe.each(FAMILIES)("patching in %s is PyTorch's", (name) => {
  const oracle = circuitOracle(name);
  let model: Model;
  beforeAll(async () => {
    model = await loadFamily(name);
  });

  it.each(["exact", "attribution"] as const)(
    "by the %s method, in both directions, of one pair and of several",
    async (method) => {
      for (const { pairs: chosen, direction, clean, corrupt, ...tables } of oracle.patch) {
        const pairs = chosen.map((p) => oracle.pairs[p]!);
        for (const [node, by] of Object.entries(PLACES) as [keyof typeof PLACES, "head" | "layer" | "position"][]) {
          const expected = tables[node]?.[method];
          if (expected === undefined) continue;
          const found = await patch(model, { pairs, node, by, method, direction });
          const { distance, path } = farthest(found, { clean, corrupt, patched: expected });
          expect(distance, `${direction}, ${node}, pairs ${chosen}: ${path}`).toBeLessThan(TOLERANCE);
        }
      }
    },
  );

  it("along paths: from every head of the first layer into one and two receivers", async () => {
    for (const { pairs: chosen, into, through, kvGroup, direction, mlps, from, values } of oracle.paths) {
      const pairs = chosen.map((p) => oracle.pairs[p]!);
      const found = await patchPaths(model, { pairs, into, through, kvGroup, direction, mlps });
      expect(from).toEqual(found.patched[0]!.map((_, h) => `0.${h}`));
      const { distance, path } = farthest(found.patched[0], values);
      expect(distance, `${into} ${through}, ${mlps}, ${direction}, kvGroup ${kvGroup}: ${path}`).toBeLessThan(
        TOLERANCE,
      );
    }
  });
});
